import errno
import io
import os
import pickle
import subprocess

import pytest

from workbench.errors import UserError
from workbench.sweep import worker, workers
from workbench.sweep.worker import CHIEF_LOST
from workbench.sweep.worker_allocation import WorkerAllocation


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
    pool, events = workers.WorkerPool(WorkerAllocation(4), tmp_path), []
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


class FullDiskTuner:
    """A tuner whose trials find the disk full."""

    def connect(self, host, port, worker):
        return self

    def send_heartbeats(self, on_lost):
        pass

    def run_trials(self):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/s/tuner/trial_0/weights.npz")


def test_a_full_disk_ends_the_sweep_and_is_no_death_of_a_worker(tmp_path, monkeypatch, capsys):
    task = tmp_path / "task.pickle"
    task.write_bytes(pickle.dumps(([], None)) + pickle.dumps((FullDiskTuner(), (), {})))
    code = worker._work(str(task), "127.0.0.1", 1, "worker-1")
    line = capsys.readouterr().err
    assert line.startswith("runs/s/tuner/trial_0/weights.npz: No space left on device; ")

    monkeypatch.setattr(subprocess, "Popen", lambda *args, **options: EndedProcess(code))
    pool = workers.WorkerPool(WorkerAllocation(1), tmp_path)
    pool.start()
    pool.send_orders(None, "127.0.0.1", 1)
    (tmp_path / "worker-1.log").write_text(f"other output\n{line}")
    with pytest.raises(UserError) as error:
        pool.watch(lambda worker, reason: pytest.fail("a death counts as the trial's fault"))
    assert str(error.value) == line.strip()
    pool.stop()
