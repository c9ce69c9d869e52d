import importlib.metadata
import sys
from types import SimpleNamespace

import pytest
import tensorflow as tf

from tests.workbench.devices.conftest import LAPTOP, MIG, TWO, make_card
from workbench.devices import device
from workbench.devices.device import announce_device, describe_cpu, describe_device, describe_gpus, explain_unused_gpus
from workbench.devices.nvidia import list_visible_gpus


@pytest.fixture
def see(monkeypatch):
    """Return a function that lets TensorFlow see GPUs with these names."""

    def see(*names):
        gpus = [SimpleNamespace(device_type="GPU", device_name=name) for name in names]
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus if kind == "GPU" else [])
        monkeypatch.setattr(tf.config.experimental, "get_device_details", vars)

    return see


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx avx2", "2 CPU cores, AVX2"),
        ("avx2 avx512f", "2 CPU cores, AVX-512"),
        ("avx2 avx512f avx512_bf16", "2 CPU cores, AVX-512 bf16"),
        ("avx2 avx512f avx512_bf16 amx_bf16", "2 CPU cores, AMX bf16"),
        (None, "2 CPU cores, arm64"),
    ],
)
def test_a_cpu_is_described_by_its_cores_and_instructions(monkeypatch, tmp_path, flags, expected):
    if flags:
        (tmp_path / "cpuinfo").write_text(f"model name\t: x\nflags\t\t: {flags}\nbugs\t\t: avx9\n")
    monkeypatch.setattr(device, "Path", lambda path: tmp_path / "cpuinfo")
    monkeypatch.setattr(device, "count_cores", lambda: 2)
    monkeypatch.setattr(device.platform, "machine", lambda: "arm64")
    assert describe_cpu() == expected


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        (LAPTOP, "NVIDIA GeForce RTX 4060 Laptop GPU, 8 GB"),
        (TWO, "2 x Tesla T4, 15 GB"),
        (MIG, "2 x NVIDIA A100 MIG 3g.20gb, 20 GB and Tesla T4, 15 GB"),
        ([make_card("NVIDIA Thor", "GPU-1", None)], "NVIDIA Thor"),
    ],
)
def test_gpus_are_described_by_their_names_and_memory(plug_in, cards, expected):
    plug_in(cards)
    assert describe_gpus(list_visible_gpus()) == expected


def test_what_is_described_is_what_tensorflow_uses(plug_in, see, capsys):
    plug_in(TWO)
    see("Tesla T4", "Tesla T4")
    assert describe_device() == "Tesla T4, 15 GB"
    assert describe_device("mirrored") == "2 x Tesla T4, 15 GB"
    announce_device()
    assert capsys.readouterr() == ("device: Tesla T4, 15 GB\n", "")
    plug_in(None)
    see("AMD Instinct MI300X")
    assert describe_device() == "AMD Instinct MI300X"


def test_a_gpu_that_tensorflow_does_not_see_is_a_warning_with_the_command_that_helps(plug_in, capsys):
    plug_in(LAPTOP)
    announce_device(to_stderr=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    said, warning = shown.err.splitlines()
    assert said == f"device: {describe_cpu()}"
    assert warning.startswith("warning: this machine has NVIDIA GeForce RTX 4060 Laptop GPU, 8 GB, but TensorFlow comp")
    assert warning.endswith(" is not installed; to use the GPU: pip install 'tensorflow[and-cuda]'")
    plug_in(LAPTOP, visible="-1")  # hidden on purpose
    announce_device()
    assert capsys.readouterr() == (f"{said}\n", "")


def test_the_warning_fits_what_is_missing(plug_in, monkeypatch):
    plug_in(LAPTOP)
    gpus = list_visible_gpus()
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.0")
    assert explain_unused_gpus(gpus).endswith("so update the NVIDIA driver (now 470.82.01)")
    monkeypatch.setattr(sys, "platform", "win32")
    assert explain_unused_gpus(gpus).endswith("it uses GPUs under Linux only, also in WSL2: install the project there")
