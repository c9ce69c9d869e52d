import subprocess
import sys
from pathlib import Path

import pytest

from tests.workbench.sweep.noop import NoopTuneConfig, tune
from workbench.config import build
from workbench.devices.nvidia import Gpu
from workbench.files import read_json
from workbench.sweep import early_start, worker_allocation
from workbench.sweep.worker_allocation import WorkerAllocation, allocate_workers
from workbench.sweep.workers import WorkerPool

T4 = [Gpu("0", "Tesla T4", 15 << 30), Gpu("MIG-d", "NVIDIA A100 MIG 3g.20gb", 20 << 30)]


@pytest.fixture
def machine(monkeypatch):
    """Return a function that gives this machine GPUs, of which TensorFlow sees some, four cores and enough memory."""

    def set_gpus(visible, seen):
        monkeypatch.setattr(worker_allocation, "list_visible_gpus", lambda: visible)
        monkeypatch.setattr(worker_allocation, "read_gpu_names", lambda: seen)
        monkeypatch.setattr(worker_allocation, "count_cores", lambda: 4)
        monkeypatch.setattr(worker_allocation, "_BYTES_PER_WORKER", 1)

    return set_gpus


def test_each_gpu_gets_a_worker(machine):
    machine(T4, ["Tesla T4", "NVIDIA A100 MIG 3g.20gb"])
    assert allocate_workers("auto") == WorkerAllocation(2, T4)
    allocation = allocate_workers(3)
    assert [allocation.make_environment(number)["CUDA_VISIBLE_DEVICES"] for number in range(3)] == ["0", "MIG-d", "0"]
    assert "WORKBENCH_THREADS" not in allocation.make_environment(0)


def test_without_a_gpu_the_workers_share_the_cores(machine):
    machine([], [])
    assert allocate_workers("auto") == WorkerAllocation(4)
    environment = allocate_workers(2).make_environment(1)
    assert (environment["CUDA_VISIBLE_DEVICES"], environment["WORKBENCH_THREADS"]) == ("-1", "2")


def test_gpus_that_tensorflow_does_not_see_are_not_counted(machine, monkeypatch):
    machine(T4, [])
    assert allocate_workers("auto") == WorkerAllocation(4)
    monkeypatch.delitem(sys.modules, "tensorflow")  # it is not known yet what it sees
    assert allocate_workers("auto") == WorkerAllocation(2, T4)


def test_allocating_workers_does_not_import_tensorflow():
    code = (
        "import sys; from workbench.sweep.worker_allocation import allocate_workers; allocate_workers('auto')\n"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=True)


class StoppedPool(WorkerPool):
    """A pool of workers that were started for GPUs."""

    def __init__(self):
        super().__init__(WorkerAllocation(1, T4[:1]), Path("workers"))
        self.is_stopped = False

    def stop(self):
        self.is_stopped = True


def test_a_sweep_replaces_workers_for_gpus_that_tensorflow_does_not_see(
    machine, monkeypatch, workdir, capsys, forked_workers
):
    machine(T4, [])
    monkeypatch.setattr("workbench.devices.device.list_visible_gpus", lambda: T4[:1])
    pool = StoppedPool()
    monkeypatch.setattr(early_start, "_started", [pool])
    Path("space.yaml").write_text(
        "parameters: {epochs: {values: [1]}, seed: {values: [0, 1]}, batch_size: {values: [9]}}"
    )
    tune(build(NoopTuneConfig, space="space.yaml", name="s", max_trials=1, workers=1, batch_size=9))
    assert pool.is_stopped
    shown = capsys.readouterr()
    device = read_json("runs/s/metrics.json")["device"]
    assert "CPU core" in device
    assert f"device: {device}\n" in shown.out
    assert "warning: this machine has Tesla T4, 15 GB, but TensorFlow computes on the CPU" in shown.err
