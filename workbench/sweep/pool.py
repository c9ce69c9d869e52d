"""The worker processes of this machine: started, told what to do, watched, replaced and ended."""

import collections
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from workbench.errors import UserError
from workbench.runtime import count_cores, make_python_path
from workbench.sweep.worker import CHIEF_LOST, REPLACE_ME

MAX_DEATHS = 3  # in a row, of workers that finished nothing in between
_GRACE = 5  # seconds a worker has to end before it is killed


@dataclasses.dataclass
class _Worker:
    number: int
    tuner_id: str
    process: subprocess.Popen
    finished: bool = False


class WorkerPool:
    """Keeps a number of worker processes running.

    Args:
        count: of processes.
        num_gpus: GPUs of this machine; each worker sees one of them, or none where there is none.
        log_folder: where the workers' own output goes.
        prefix: of the workers' ids; must differ between machines.
    """

    def __init__(self, count, num_gpus, log_folder, prefix="worker"):
        self._environments = [worker_environment(number, count, num_gpus) for number in range(count)]
        self._logs, self._prefix = Path(log_folder), prefix
        self._orders, self._workers, self.num_gpus = None, [], num_gpus
        self._deaths = 0

    def start(self):
        """Start the processes; they bring TensorFlow up while they wait for their orders."""
        self._logs.mkdir(parents=True, exist_ok=True)
        self._workers = [self._spawn(number) for number in range(len(self._environments))]

    def order(self, on_start=lambda tuner_id: None, **orders):
        """Tell all workers, and those that will replace them, what to do; see `workbench.sweep.worker`."""
        self._orders, self._on_start = orders, on_start
        for worker in self._workers:
            self._send(worker)

    def watch(self, on_death=lambda tuner_id, reason: None):
        """Replace the workers that ended before the sweep did; call it a few times a second.

        Raises:
            UserError: the workers cannot run; says why, by the last line of their output.
        """
        for index, worker in enumerate(self._workers):
            code = worker.process.poll()
            if code is None or worker.finished:
                continue
            if code in (0, CHIEF_LOST):
                worker.finished = True
                continue
            if code != REPLACE_ME:
                self._deaths += 1
                reason = _reason(code, self._log(worker.number))
                on_death(worker.tuner_id, reason)
                if self._deaths >= MAX_DEATHS:
                    raise UserError(f"the workers cannot run: {reason}; what they said is in {self._logs}")
            self._workers[index] = self._spawn(worker.number)
            self._send(self._workers[index])

    def forget_deaths(self):
        """A trial was finished, so the workers can run."""
        self._deaths = 0

    def all_finished(self):
        """Whether every worker has left for good."""
        return all(worker.finished for worker in self._workers)

    def stop(self):
        """End all workers."""
        processes = [worker.process for worker in self._workers]
        for process in processes:
            process.stdin.close()  # they leave at once
            if not self._orders:
                process.kill()  # it is still starting, and has nothing to lose
        deadline = time.monotonic() + _GRACE
        for process in processes:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def pids(self):
        """Process ids of the workers."""
        return [worker.process.pid for worker in self._workers]

    def _spawn(self, number):
        with open(self._log(number), "a", encoding="utf-8") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "workbench.sweep.worker"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environments[number]},
            )
        return _Worker(number, f"{self._prefix}-{number + 1}", process)

    def _send(self, worker):
        self._on_start(worker.tuner_id)
        line = json.dumps({**self._orders, "worker_id": worker.tuner_id}) + "\n"
        try:
            worker.process.stdin.write(line.encode())
            worker.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has died; `watch` will see that

    def _log(self, number):
        return self._logs / f"{self._prefix}-{number + 1}.log"


def worker_environment(number, count, num_gpus):
    """What makes worker `number` of `count` keep to its share of the machine: one GPU, or some CPU threads."""
    threads = max(1, count_cores() // count)
    environment = {"PYTHONPATH": make_python_path(), "OMP_NUM_THREADS": str(threads), "TF_CPP_MIN_LOG_LEVEL": "3"}
    if num_gpus:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        gpus = visible.split(",") if visible else [str(gpu) for gpu in range(num_gpus)]
        return {**environment, "CUDA_VISIBLE_DEVICES": gpus[number % num_gpus]}
    return {**environment, "CUDA_VISIBLE_DEVICES": "-1", "WORKBENCH_THREADS": str(threads)}


def auto_workers(num_gpus):
    """One worker a GPU, or else one a core, as far as memory goes."""
    import psutil

    if num_gpus:
        return num_gpus
    by_memory = psutil.virtual_memory().total // (3 << 29)  # 1.5 GiB each
    return max(1, min(count_cores(), by_memory))


def count_gpus():
    """GPUs of this machine, found without bringing TensorFlow up."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([gpu for gpu in visible.split(",") if gpu.strip() not in ("", "-1")])
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return 0
    return listed.stdout.count("GPU ")


def _reason(code, log):
    """Why a worker died: the signal, or the last line it wrote."""
    if code < 0:
        hint = " (killed; out of memory?)" if -code == signal.SIGKILL else ""
        return f"signal {signal.Signals(-code).name}{hint}"
    with open(log, encoding="utf-8", errors="replace") as file:
        lines = collections.deque((line.strip() for line in file if line.strip()), maxlen=1)
    return lines[0][:300] if lines else f"exit code {code}"
