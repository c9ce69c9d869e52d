import io
import subprocess

import pytest

from workbench.sweep import workers
from workbench.sweep.worker import CHIEF_LOST


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


class EndedProcess:
    """A worker process that runs, or has ended with an exit code."""

    def __init__(self, code):
        self.code, self.stdin = code, io.BytesIO()

    def poll(self):
        return self.code

    def wait(self, timeout=None):
        return self.code


@pytest.fixture
def lost_pool(monkeypatch, tmp_path):
    """Return a pool of four workers that have lost the command, and a list of (event, worker) to which it adds."""
    codes = [CHIEF_LOST] * 4
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **options: EndedProcess(codes.pop() if codes else None))
    pool, events = workers.WorkerPool(4, 0, tmp_path), []
    pool.start()
    pool.send_orders(None, "127.0.0.1", 1, lambda worker: events.append(("started", worker)))
    yield pool, events
    pool.stop()


def test_workers_that_lost_a_living_command_are_replaced(lost_pool):
    pool, events = lost_pool
    events.clear()
    pool.watch(lambda worker, reason: events.append(("died", worker)), serves_trials=True)
    names = [f"worker-{number}" for number in range(1, 5)]
    assert events == [(event, name) for name in names for event in ("died", "started")]
    assert not pool.have_all_finished()


def test_workers_that_lost_a_chief_elsewhere_have_finished(lost_pool):
    pool, _ = lost_pool
    pool.watch()
    assert pool.have_all_finished()
