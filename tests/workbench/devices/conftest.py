"""Machines with NVIDIA cards, as their driver describes them."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pynvml
import pytest

GB = 2**30


def make_card(name: str, uuid: str, memory: int, instances: Sequence[SimpleNamespace] | None = None) -> SimpleNamespace:
    """Return a card, or an instance of one; `instances` is None for a card that does not know MIG."""
    return SimpleNamespace(name=name, uuid=uuid, memory=memory, instances=instances)


class FakeNvml:
    """What `workbench.devices.nvidia` asks of NVML. Slots of a divided card that hold no instance raise NotFound."""

    NVML_DEVICE_MIG_ENABLE = pynvml.NVML_DEVICE_MIG_ENABLE
    NVMLError = pynvml.NVMLError
    NVMLError_NotFound = pynvml.NVMLError_NotFound

    def __init__(self, cards: Sequence[SimpleNamespace] | None) -> None:
        self.cards, self.open = cards, 0

    def nvmlInit(self) -> None:
        if self.cards is None:
            raise pynvml.NVMLError_LibraryNotFound
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, number: int) -> SimpleNamespace:
        return self.cards[number]

    def nvmlDeviceGetName(self, card: SimpleNamespace) -> str:
        return card.name

    def nvmlDeviceGetUUID(self, card: SimpleNamespace) -> str:
        return card.uuid

    def nvmlDeviceGetMemoryInfo(self, card: SimpleNamespace) -> SimpleNamespace:
        if card.memory is None:
            raise pynvml.NVMLError_NotSupported
        return SimpleNamespace(total=card.memory)

    def nvmlDeviceGetMigMode(self, card: SimpleNamespace) -> list[int]:
        if card.instances is None:
            raise pynvml.NVMLError_NotSupported
        return [pynvml.NVML_DEVICE_MIG_ENABLE, pynvml.NVML_DEVICE_MIG_ENABLE]

    def nvmlDeviceGetMaxMigDeviceCount(self, card: SimpleNamespace) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, card: SimpleNamespace, number: int) -> SimpleNamespace:
        if number >= len(card.instances):
            raise pynvml.NVMLError_NotFound
        return card.instances[number]

    def nvmlSystemGetDriverVersion(self) -> str:
        return "470.82.01"


LAPTOP = [make_card("NVIDIA GeForce RTX 4060 Laptop GPU", "GPU-5d8e-1", 8188 * 2**20)]
TWO = [make_card("Tesla T4", "GPU-aaaa-1", 15 * GB), make_card("Tesla T4", "GPU-bbbb-2", 15 * GB)]
INSTANCES = [make_card("NVIDIA A100 MIG 3g.20gb", f"MIG-{number}", 20 * GB) for number in "cd"]
MIG = [make_card("NVIDIA A100", "GPU-eeee-3", 40 * GB, INSTANCES), TWO[0]]
EMPTY_MIG = [make_card("NVIDIA A100", "GPU-eeee-3", 40 * GB, [])]


@pytest.fixture
def plug_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that gives this machine NVIDIA cards (None: no driver) and a CUDA_VISIBLE_DEVICES."""

    def plug_in(cards: Sequence[SimpleNamespace] | None, visible: str | None = None) -> None:
        monkeypatch.setattr("workbench.devices.nvidia.pynvml", FakeNvml(cards))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if visible is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    return plug_in
