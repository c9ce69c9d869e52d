import errno
import io
import os
import pickle
import subprocess
import time

import pytest

from workbench.errors import UserError
from workbench.sweep import worker, workers
from workbench.sweep.scheduling.grid import GridSource
from workbench.sweep.scheduling.scheduler import Scheduler
from workbench.sweep.scheduling.trial import Parameter
from workbench.sweep.scheduling.trial_files import TrialFiles
from workbench.sweep.worker_allocation import WorkerAllocation


class EndedProcess:
    """A worker process that has ended with an exit code."""

    def __init__(self, code):
        self.code, self.stdin, self.stdout = code, io.BytesIO(), io.BytesIO()

    def poll(self):
        return self.code

    def wait(self, timeout=None):
        return self.code

    def kill(self):
        pass


class Oracle:
    """The part of a command that a pool needs, with a sweep of one trial."""

    def __init__(self, folder):
        source = GridSource([Parameter("seed", (0,))])
        self.scheduler = Scheduler(source, TrialFiles(folder), metric="val_accuracy", direction="max")

    def answer(self, method, *arguments):
        raise PermissionError("the folder cannot be written")


class FullDiskTuner:
    """A tuner whose trials find the disk full."""

    def connect(self, ask, worker):
        pass

    def run_trials(self):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/s/tuner/trial_0/weights.npz")


@pytest.fixture
def start(monkeypatch, tmp_path):
    """Return a function that starts a pool of one worker, whose process is given."""

    def start_one(process):
        monkeypatch.setattr(subprocess, "Popen", lambda *args, **options: process)
        pool = workers.WorkerPool(WorkerAllocation(1), tmp_path)
        pool.start()
        return pool

    return start_one


def test_a_full_disk_ends_the_sweep_and_is_no_death_of_a_worker(tmp_path, start, capsys):
    code = worker._work(None, [], None, pickle.dumps((FullDiskTuner(), (), {})), "worker-1")
    line = capsys.readouterr().err
    assert line.startswith("runs/s/tuner/trial_0/weights.npz: No space left on device; ")

    pool = start(EndedProcess(code))
    (tmp_path / "worker-1.log").write_text(f"other output\n{line}")
    oracle = Oracle(tmp_path / "tuner")
    oracle.scheduler.on_worker_died = lambda name, reason: pytest.fail("a death counts as the trial's fault")
    with pytest.raises(UserError) as error:
        pool.run(None, oracle)
    assert str(error.value) == line.strip()
    pool.stop()


def test_an_error_of_the_command_while_it_answers_ends_the_sweep(tmp_path, start):
    process = EndedProcess(None)
    process.stdout = io.BytesIO(pickle.dumps(("create_trial", "worker-1")))
    pool = start(process)
    with pytest.raises(PermissionError, match="the folder cannot be written"):
        pool.run(None, Oracle(tmp_path / "tuner"))
    pool.stop()


def test_an_error_after_the_last_trial_was_recorded_ends_the_sweep(tmp_path, start):
    process = EndedProcess(None)
    process.stdout = io.BytesIO(pickle.dumps(("end_trial", "0")))
    pool, oracle = start(process), Oracle(tmp_path / "tuner")
    trial = oracle.scheduler.next_trial("worker-1")

    def fail_late(method, *arguments):
        oracle.scheduler.finish(trial.id, {"status": "completed", "val_accuracy": 0.5})
        time.sleep(3 * workers.TICK)  # the pool sees meanwhile that the sweep is complete
        raise PermissionError("trials.csv cannot be written")

    oracle.answer = fail_late
    with pytest.raises(PermissionError, match="cannot be written"):
        pool.run(None, oracle)
    pool.stop()


def test_workers_that_have_all_ended_before_the_sweep_are_replaced(tmp_path):
    oracle, started = Oracle(tmp_path / "tuner"), []

    def start(*args, **options):
        if started:
            trial = oracle.scheduler.next_trial("worker-1")
            oracle.scheduler.finish(trial.id, {"status": "completed", "val_accuracy": 0.5})
        started.append(EndedProcess(0))
        return started[-1]

    pool = workers.WorkerPool(WorkerAllocation(1), tmp_path, start_process=start)
    pool.start()
    pool.run(None, oracle)
    assert len(started) == 2
    pool.stop()
