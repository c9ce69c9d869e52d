import subprocess

import pytest

from workbench.sweep import workers


@pytest.mark.parametrize(
    ("listed", "count"),
    [
        ("GPU 0: NVIDIA GeForce RTX 4060 Laptop GPU (UUID: GPU-5d8e)\n", 1),
        ("GPU 0: Tesla T4 (UUID: GPU-1)\nGPU 1: Tesla T4 (UUID: GPU-2)\n", 2),
        ("GPU 0: A100 (UUID: GPU-1)\n  MIG 1g.5gb Device 0: (UUID: MIG-GPU-1/1/0)\n", 1),
        ("", 0),
    ],
)
def test_gpus_are_counted_by_their_lines(monkeypatch, listed, count):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: subprocess.CompletedProcess(args, 0, stdout=listed))
    assert workers.count_gpus() == count


def test_visible_gpus_are_counted(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0, 3")
    assert workers.count_gpus() == 2
    assert workers.make_worker_environment(3, 4, 2)["CUDA_VISIBLE_DEVICES"].strip() == "3"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert workers.count_gpus() == 0
