import pytest

from tests.workbench.devices.conftest import EMPTY_MIG, LAPTOP, MIG, TWO
from workbench.devices import nvidia
from workbench.devices.nvidia import list_visible_gpus, read_driver_version


@pytest.mark.parametrize(
    ("cards", "ids"),
    [(None, []), ([], []), (LAPTOP, ["0"]), (TWO, ["0", "1"]), (MIG, ["MIG-c", "MIG-d", "1"]), (EMPTY_MIG, [])],
)
def test_every_card_and_every_mig_instance_is_listed_once(plug_in, cards, ids):
    plug_in(cards)
    assert [gpu.id for gpu in list_visible_gpus()] == ids
    assert nvidia.pynvml.open == 0


def test_a_card_has_a_name_and_memory(plug_in):
    plug_in(LAPTOP)
    (gpu,) = list_visible_gpus()
    assert gpu == nvidia.Gpu("0", "NVIDIA GeForce RTX 4060 Laptop GPU", 8188 * 2**20)
    assert read_driver_version() == "470.82.01"
    plug_in(None)
    assert read_driver_version() is None


@pytest.mark.parametrize(
    ("cards", "visible", "ids"),
    [
        (None, "0", []),
        (TWO, "", []),
        (TWO, "-1", []),
        (TWO, "1", ["1"]),
        (TWO, "1, 0", ["1", "0"]),
        (TWO, "0,-1,1", ["0"]),
        (TWO, "0,3,1", ["0"]),
        (TWO, "GPU-bbbb-2", ["GPU-bbbb-2"]),
        (TWO, "GPU-bb,GPU-aa", ["GPU-bb", "GPU-aa"]),
        (TWO, "GPU-cccc,GPU-aaaa", []),
        (TWO, "NoDevFiles", []),
        (MIG, "0", ["0"]),
        (MIG, "MIG-d,1", ["MIG-d", "1"]),
        (EMPTY_MIG, "0", []),
    ],
)
def test_cuda_visible_devices_chooses(plug_in, cards, visible, ids):
    plug_in(cards, visible)
    assert [gpu.id for gpu in list_visible_gpus()] == ids


def test_a_number_that_names_a_divided_card_is_its_first_instance(plug_in):
    plug_in(MIG, "0,1")
    assert [gpu.name for gpu in list_visible_gpus()] == ["NVIDIA A100 MIG 3g.20gb", "Tesla T4"]
