"""The NVIDIA GPUs of this machine as their driver lists them (NVML). TensorFlow is not needed, nor a GPU."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any

import pynvml

VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclasses.dataclass(frozen=True)
class Gpu:
    """A card, or a part of one that is used like a card (a MIG instance).

    Attributes:
        id: what names it in CUDA_VISIBLE_DEVICES.
        name: such as `NVIDIA GeForce RTX 4060 Laptop GPU`.
        memory: in bytes; None if the driver does not say.
    """

    id: str
    name: str
    memory: int | None


@dataclasses.dataclass(frozen=True)
class _Card:
    """A card, with its UUID and its MIG instances; `instances` is None if it is not divided."""

    gpu: Gpu
    uuid: str
    instances: list[Gpu] | None


def list_visible_gpus() -> list[Gpu]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES lets processes use; without that variable all of the machine.

    The variable names cards by number or UUID, and MIG instances by UUID. It ends at the first name that is not known,
    such as -1: CUDA ignores the rest.
    """
    try:
        with _open_nvml():
            cards = [_read_card(number) for number in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:  # no driver, or one that does not answer
        return []
    words = os.environ.get(VISIBLE)
    if words is None:
        return [gpu for card in cards for gpu in ([card.gpu] if card.instances is None else card.instances)]
    visible: list[Gpu] = []
    for word in map(str.strip, words.split(",")):
        gpu = _find_gpu(word, cards)
        if gpu is None:
            break
        visible.append(dataclasses.replace(gpu, id=word))
    return visible


def read_driver_version() -> str | None:
    """Return the version of the NVIDIA driver, such as `550.54.15`; None if it does not answer."""
    try:
        with _open_nvml():
            return pynvml.nvmlSystemGetDriverVersion()
    except pynvml.NVMLError:
        return None


@contextlib.contextmanager
def _open_nvml() -> Iterator[None]:
    pynvml.nvmlInit()
    try:
        yield
    finally:
        pynvml.nvmlShutdown()


def _read_card(number: int) -> _Card:
    card = pynvml.nvmlDeviceGetHandleByIndex(number)
    return _Card(_read_gpu(card, str(number)), pynvml.nvmlDeviceGetUUID(card), _read_instances(card))


def _read_instances(card: Any) -> list[Gpu] | None:
    """Return the MIG instances of a card; None if it cannot be divided, or is not."""
    try:
        if pynvml.nvmlDeviceGetMigMode(card)[0] != pynvml.NVML_DEVICE_MIG_ENABLE:
            return None
    except pynvml.NVMLError:  # most cards do not support MIG
        return None
    instances = []
    for number in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(card)):
        with contextlib.suppress(pynvml.NVMLError_NotFound):
            instance = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(card, number)
            instances.append(_read_gpu(instance, pynvml.nvmlDeviceGetUUID(instance)))
    return instances


def _read_gpu(handle: Any, gpu_id: str) -> Gpu:
    memory = None
    with contextlib.suppress(pynvml.NVMLError):
        memory = int(pynvml.nvmlDeviceGetMemoryInfo(handle).total)
    return Gpu(gpu_id, pynvml.nvmlDeviceGetName(handle), memory)


def _find_gpu(word: str, cards: Sequence[_Card]) -> Gpu | None:
    """Return the GPU that a word of CUDA_VISIBLE_DEVICES names; UUIDs may be shortened."""
    instances = [gpu for card in cards for gpu in card.instances or []]
    if word.isdigit():
        chosen = [card for number, card in enumerate(cards) if number == int(word)]
    elif word.startswith("GPU-"):
        chosen = [card for card in cards if card.uuid.startswith(word)]
    elif word.startswith("MIG-"):
        return next((gpu for gpu in instances if gpu.id.startswith(word)), None)
    else:
        return None
    if not chosen:
        return None
    card = chosen[0]
    if card.instances is None:
        return card.gpu
    return card.instances[0] if card.instances else None  # CUDA takes the first instance of a divided card
