"""The worker processes of this machine: start them, give them orders, watch, replace and end them."""

import collections
import contextlib
import dataclasses
import multiprocessing.spawn
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Protocol

from workbench.devices.device import describe_cpu, describe_gpus
from workbench.errors import UserError
from workbench.sweep.executor import TICK, DeathCounter, ServedOracle, WantsWeights
from workbench.sweep.scheduling.scheduler import Scheduler
from workbench.sweep.worker import COMMAND_ENDED, DISK_FULL, REPLACE_ME
from workbench.sweep.worker_allocation import WorkerAllocation, list_usable_gpus

_GRACE = 5  # seconds a worker has to end before it is killed


class WorkerProcess(Protocol):
    """What a pool needs of a process that it has started: a part of `subprocess.Popen`."""

    pid: int
    stdin: IO[bytes] | None
    stdout: IO[bytes] | None

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, and return the exit code."""

    def kill(self) -> None:
        """Send SIGKILL."""


def start_worker_process(log: IO[str], environment: dict[str, str]) -> WorkerProcess:
    """Start a worker.

    Args:
        log: file for what it prints.
        environment: variables that it gets in addition to this process's.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "workbench.sweep.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
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
        server: thread that answers its calls, once it has its orders.
        has_asked: whether it has begun to ask for trials.
        is_answered: whether the command is answering a call of it.
        is_finished: whether it has ended for good.
    """

    number: int
    name: str
    process: WorkerProcess
    server: threading.Thread | None = None
    has_asked: bool = False
    is_answered: bool = False
    is_finished: bool = False


class WorkerPool:
    """Keeps a number of worker processes of this machine running: an `Executor`.

    Each worker asks for trials through a pipe of its own, and a thread of the command answers.

    Args:
        allocation: how many processes, and what each of them may use.
        log_folder: where the workers' own output is written.
        has_temporary_logs: whether to remove the log folder in the end, unless `keep_logs` has been called.
        start_process: starts a worker; takes the file for its output and its environment variables. By default
            `start_worker_process`.
    """

    def __init__(
        self,
        allocation: WorkerAllocation,
        log_folder: Path,
        *,
        has_temporary_logs: bool = False,
        start_process: Callable[[IO[str], dict[str, str]], WorkerProcess] | None = None,
    ) -> None:
        self._has_temporary_logs, self._start_process = has_temporary_logs, start_process or start_worker_process
        self._logs, self.allocation = Path(log_folder), allocation
        self._workers: list[_Worker] = []
        self._orders: dict[str, Any] = {}
        self._error: BaseException | None = None  # in the command, while it answered a worker
        self._deaths = DeathCounter()

    def start(self) -> None:
        """Start the processes. They import TensorFlow while they wait for their orders."""
        self._logs.mkdir(parents=True, exist_ok=True)
        self._workers = [self._spawn(number) for number in range(self.allocation.count)]

    def is_usable(self) -> bool:
        """Return whether TensorFlow sees the GPUs that the workers were started for."""
        return not self.allocation.gpus or bool(list_usable_gpus())

    def keep_logs(self, folder: Path) -> None:
        """Keep the workers' output, also that of the running workers, in another folder of the same disk."""
        folder.mkdir(parents=True, exist_ok=True)
        self._has_temporary_logs = False
        for log in self._logs.glob("*.log"):
            log.replace(folder / log.name)
        with contextlib.suppress(OSError):
            self._logs.rmdir()
        self._logs = folder

    def choose_weights(self, wants_weights: WantsWeights) -> None:
        """Do nothing: the weights are on this machine already."""

    def describe_device(self) -> str:
        """Return the GPUs of the workers, or the CPU."""
        return describe_gpus(self.allocation.gpus) if self.allocation.gpus else describe_cpu()

    def count_workers(self) -> int:
        """Return the number of processes."""
        return len(self._workers)

    def computes_like_command(self) -> bool:
        """Return whether the workers use the CPU; the command's process does not use the GPUs."""
        return not self.allocation.gpus

    def run(self, task: Any, oracle: ServedOracle) -> None:
        """Run trials until the scheduler is complete.

        Args:
            task: (tuner, arguments, keyword arguments) of its `run_trials`; must be picklable, so functions and classes
                must be importable.
            oracle: hands out the trials.

        Raises:
            UserError: the workers cannot run, or a disk is full; quotes the last line of their output.
        """
        self._orders = _make_orders(task)
        self._deaths.follow(oracle.scheduler)
        for worker in self._workers:
            self._serve(worker, oracle)
        while not oracle.scheduler.is_complete():
            self._watch(oracle)
            time.sleep(TICK)
        while any(worker.is_answered for worker in self._workers):  # the last trial may be complete, but not recorded
            time.sleep(TICK)
        if self._error:
            raise self._error

    def stop(self) -> None:
        """End all workers."""
        deadline = time.monotonic() + _GRACE
        for worker in self._workers:
            if not worker.has_asked:
                worker.process.kill()  # it is still starting, and has nothing to lose
            elif worker.process.stdin:
                with contextlib.suppress(OSError):
                    worker.process.stdin.close()  # it ends at once
        for worker in self._workers:
            try:
                worker.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
        if self._has_temporary_logs:
            shutil.rmtree(self._logs, ignore_errors=True)

    def _spawn(self, number: int) -> _Worker:
        with open(self._get_log(number), "a", encoding="utf-8") as log:
            process = self._start_process(log, self.allocation.make_environment(number))
        return _Worker(number, f"worker-{number + 1}", process)

    def _serve(self, worker: _Worker, oracle: ServedOracle) -> None:
        """Send a worker its orders, and answer its calls in a thread until it ends."""
        worker.server = threading.Thread(target=self._answer_calls, args=(worker, oracle), daemon=True)
        worker.server.start()

    def _answer_calls(self, worker: _Worker, oracle: ServedOracle) -> None:
        stdin, stdout = worker.process.stdin, worker.process.stdout
        assert stdin is not None
        assert stdout is not None
        answer: Any = {**self._orders, "worker": worker.name}
        while True:
            try:
                pickle.dump(answer, stdin)
                stdin.flush()
                call = pickle.load(stdout)
                worker.has_asked = True
            except (EOFError, OSError, ValueError, pickle.UnpicklingError):  # it has ended; `_watch` will see that
                return
            worker.is_answered = True
            try:
                answer = oracle.answer(*call)
            except BaseException as error:
                self._error = error
                return
            finally:
                worker.is_answered = False

    def _watch(self, oracle: ServedOracle) -> None:
        """Replace the workers that ended before the sweep did."""
        if self._error:
            raise self._error
        for index, worker in enumerate(self._workers):
            code = worker.process.poll()
            if code is None or worker.is_finished:
                continue
            if code in (0, COMMAND_ENDED):
                worker.is_finished = True
                continue
            if code == DISK_FULL:
                raise UserError(_read_last_line(self._get_log(worker.number)))
            if worker.server:
                worker.server.join(_GRACE)  # what it has said counts
            self._record_end(worker, code, oracle.scheduler)
            self._replace(index, oracle)
        if all(worker.is_finished for worker in self._workers) and not oracle.scheduler.is_complete():
            for index in range(len(self._workers)):
                self._replace(index, oracle)

    def _replace(self, index: int, oracle: ServedOracle) -> None:
        """Start a worker in the place of one that has ended."""
        self._workers[index] = self._spawn(self._workers[index].number)
        self._serve(self._workers[index], oracle)

    def _record_end(self, worker: _Worker, code: int, scheduler: Scheduler) -> None:
        if code == REPLACE_ME:
            scheduler.on_worker_ended(worker.name)
            return
        self._deaths.add()
        reason = _find_reason(code, self._get_log(worker.number))
        scheduler.on_worker_died(worker.name, reason)
        if self._deaths.is_full():
            raise UserError(f"the workers cannot run: {reason}; their output is in {self._logs}")

    def _get_log(self, number: int) -> Path:
        return self._logs / f"worker-{number + 1}.log"


def _make_orders(task: Any) -> dict[str, Any]:
    """Return what a worker process needs to run a task, but for its own name.

    Like `multiprocessing`, it lets a worker import the main script under another name where the task needs it.
    """
    content = pickle.dumps(task)
    script = multiprocessing.spawn.get_preparation_data("worker") if b"__main__" in content else None
    if script:
        del script["authkey"]
    return {"path": sys.path, "script": script, "task": content}


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
