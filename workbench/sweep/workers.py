"""The worker processes of this machine: start them, give them orders, watch, replace and end them."""

import collections
import contextlib
import dataclasses
import json
import multiprocessing.spawn
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Protocol

from workbench.errors import UserError
from workbench.sweep.worker import CHIEF_LOST, DISK_FULL, REPLACE_ME
from workbench.sweep.worker_allocation import WorkerAllocation

# After so many deaths of workers with no finished trial in between, the sweep ends with an error. One trial that kills
# each of its workers does not cause this: after MAX_ATTEMPTS deaths (scheduling/scheduler.py) it is recorded as failed,
# and the count starts again.
MAX_DEATHS = 3
_GRACE = 5  # seconds a worker has to end before it is killed


class WorkerProcess(Protocol):
    """What a pool needs of a process that it has started: a part of `subprocess.Popen`."""

    pid: int
    stdin: IO[bytes] | None

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, and return the exit code."""

    def kill(self) -> None:
        """Send SIGKILL."""


def start_worker_process(log: IO[str], environment: dict[str, str]) -> WorkerProcess:
    """Start a worker.

    Args:
        log: file for its output.
        environment: variables that it gets in addition to this process's.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "workbench.sweep.worker"],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        env={**os.environ, **environment},
    )


@dataclasses.dataclass
class _Worker:
    """A worker process.

    Attributes:
        number: place in the pool.
        name: by which the scheduler knows it and its successors.
        process: the process.
        is_finished: whether it has ended for good.
    """

    number: int
    name: str
    process: WorkerProcess
    is_finished: bool = False


class WorkerPool:
    """Keeps a number of worker processes running.

    Args:
        allocation: how many processes, and what each of them may use.
        log_folder: where the workers' own output is written.
        prefix: begins the workers' names; must differ between machines.
        has_temporary_logs: whether to remove the log folder in the end, unless `move_logs` has been called.
        start_process: starts a worker; takes the file for its output and its environment variables. By default
            `start_worker_process`.
    """

    def __init__(
        self,
        allocation: WorkerAllocation,
        log_folder: Path,
        prefix: str = "worker",
        *,
        has_temporary_logs: bool = False,
        start_process: Callable[[IO[str], dict[str, str]], WorkerProcess] | None = None,
    ) -> None:
        self._has_temporary_logs, self._start_process = has_temporary_logs, start_process or start_worker_process
        self._logs, self._prefix, self.allocation = Path(log_folder), prefix, allocation
        self._workers: list[_Worker] = []
        self._orders: dict[str, Any] = {}
        self._task: str | None = None  # path of the pickled task
        self._on_start: Callable[[str], None] = lambda worker: None
        self._deaths = 0

    def move_logs(self, folder: Path) -> None:
        """Keep the workers' output, also that of the running workers, in another folder of the same disk."""
        folder.mkdir(parents=True, exist_ok=True)
        self._has_temporary_logs = False
        for log in self._logs.glob("*.log"):
            log.replace(folder / log.name)
        with contextlib.suppress(OSError):
            self._logs.rmdir()
        self._logs = folder

    def start(self) -> None:
        """Start the processes. They import TensorFlow while they wait for their orders."""
        self._logs.mkdir(parents=True, exist_ok=True)
        self._workers = [self._spawn(number) for number in range(self.allocation.count)]

    def send_orders(
        self, task: Any, host: str, port: int, on_start: Callable[[str], None] = lambda worker: None
    ) -> None:
        """Send all workers, and those that will replace them, to a command that serves trials.

        Args:
            task: (tuner, arguments, keyword arguments) of its `run_trials`; must be picklable, so functions and classes
                must be importable.
            host, port: where the command listens.
            on_start: called with the name of each worker whose process is new.
        """
        self._remove_task()
        self._task = _write_task(task)
        self._orders, self._on_start = {"task": self._task, "host": host, "port": port}, on_start
        for worker in self._workers:
            self._send(worker)

    def watch(
        self, on_death: Callable[[str, str], None] = lambda worker, reason: None, *, serves_trials: bool = False
    ) -> None:
        """Replace the workers that ended before the sweep did. Call it a few times a second.

        Args:
            on_death: called with the name of a worker that has died and the reason.
            serves_trials: whether this process is the one that serves the trials. A worker that has lost it is then
                replaced: this process was only stopped for a while (SIGSTOP, a suspended laptop).

        Raises:
            UserError: the workers cannot run, or a disk is full; quotes the last line of their output.
        """
        for index, worker in enumerate(self._workers):
            code = worker.process.poll()
            if code is None or worker.is_finished:
                continue
            is_lost = code == CHIEF_LOST and serves_trials
            if code == 0 or (code == CHIEF_LOST and not is_lost):
                worker.is_finished = True
                continue
            if code == DISK_FULL:
                raise UserError(_read_last_line(self._get_log(worker.number)))
            if is_lost:  # all workers at once, so these deaths do not mean that the workers cannot run
                on_death(worker.name, "no answer from the command")
            elif code != REPLACE_ME:
                self._deaths += 1
                reason = _find_reason(code, self._get_log(worker.number))
                on_death(worker.name, reason)
                if self._deaths >= MAX_DEATHS:
                    raise UserError(f"the workers cannot run: {reason}; their output is in {self._logs}")
            self._workers[index] = self._spawn(worker.number)
            self._send(self._workers[index])

    def forget_deaths(self) -> None:
        """Record that a trial was finished, so the workers can run."""
        self._deaths = 0

    def have_all_finished(self) -> bool:
        """Return whether every worker has ended for good."""
        return all(worker.is_finished for worker in self._workers)

    def stop(self) -> None:
        """End all workers."""
        processes = [worker.process for worker in self._workers]
        for process in processes:
            if process.stdin:
                process.stdin.close()  # they end at once
            if not self._orders:
                process.kill()  # it is still starting, and has nothing to lose
        deadline = time.monotonic() + _GRACE
        for process in processes:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._remove_task()
        if self._has_temporary_logs:
            shutil.rmtree(self._logs, ignore_errors=True)

    def list_pids(self) -> list[int]:
        """Return the process ids of the workers."""
        return [worker.process.pid for worker in self._workers]

    def _spawn(self, number: int) -> _Worker:
        with open(self._get_log(number), "a", encoding="utf-8") as log:
            process = self._start_process(log, self.allocation.make_environment(number))
        return _Worker(number, f"{self._prefix}-{number + 1}", process)

    def _send(self, worker: _Worker) -> None:
        self._on_start(worker.name)
        line = json.dumps({**self._orders, "worker": worker.name}) + "\n"
        assert worker.process.stdin is not None
        try:
            worker.process.stdin.write(line.encode())
            worker.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has died; `watch` will see that

    def _get_log(self, number: int) -> Path:
        return self._logs / f"{self._prefix}-{number + 1}.log"

    def _remove_task(self) -> None:
        if self._task:
            Path(self._task).unlink(missing_ok=True)
            self._task = None


def _write_task(task: Any) -> str:
    """Pickle a task into a file that only this user can read, and return its path.

    Like `multiprocessing`, it lets a worker import the main script under another name where the task needs it.
    """
    content = pickle.dumps(task)
    script = multiprocessing.spawn.get_preparation_data("worker") if b"__main__" in content else None
    if script:
        del script["authkey"]
    with tempfile.NamedTemporaryFile(prefix="sweep-", suffix=".pickle", delete=False) as file:
        pickle.dump((sys.path, script), file)
        file.write(content)
    return file.name


def _find_reason(code: int, log: Path) -> str:
    """Return why a worker died: the signal, or the last line that it wrote."""
    if code < 0:
        hint = " (killed; out of memory?)" if -code == signal.SIGKILL else ""
        return f"signal {signal.Signals(-code).name}{hint}"
    return _read_last_line(log)[:300] or f"exit code {code}"


def _read_last_line(path: Path) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = collections.deque((line.strip() for line in file if line.strip()), maxlen=1)
    return lines[0] if lines else ""
