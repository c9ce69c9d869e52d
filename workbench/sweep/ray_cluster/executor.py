"""Run the trials of a sweep on a Ray cluster: each worker is an actor, and Ray says when one has died."""

import contextlib
import dataclasses
import itertools
import logging
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ActorDiedError, RayError

from workbench.errors import UserError
from workbench.runtime import list_package_folders
from workbench.sweep.config import WorkersConfig
from workbench.sweep.executor import DeathCounter, ServedOracle, WantsWeights
from workbench.sweep.ray_cluster.call_server import CallServer
from workbench.sweep.ray_cluster.mailbox import start_mailbox
from workbench.sweep.ray_cluster.trial_worker import TrialWorker
from workbench.sweep.scheduling.scheduler import Scheduler
from workbench.wording import format_count

_FAREWELL = 3  # seconds that workers have to end by themselves
_LOOK = 5.0  # seconds between two looks at what the cluster has


@dataclasses.dataclass
class _Worker:
    """A worker of the cluster, perhaps one that waits for a machine.

    Attributes:
        name: by which the scheduler knows it; no other one gets the same.
        actor: the Ray actor.
        result: reference to what its `run` returns, once it has orders.
    """

    name: str
    actor: Any
    result: Any = None


class RayExecutor:
    """Keeps a number of actors running: an `Executor`.

    Args:
        workers: how many, and what each of them asks for.
        packages: names of the packages that the trials need, besides what the cluster's nodes have; their code is sent.
    """

    def __init__(self, workers: WorkersConfig, packages: Sequence[str] = ("workbench",)) -> None:
        self._config, self._packages = workers, packages
        self._workers: dict[str, _Worker] = {}
        self._numbers = itertools.count(1)
        self._num_finished, self._deaths = 0, DeathCounter()
        self._wanted, self._looked = 0, 0.0
        self._has_connected = False
        self._task: ray.ObjectRef | None = None
        self._mailbox: Any = None
        self._wants_weights: WantsWeights = lambda trial, result: True

    def start(self) -> None:
        """Connect to the cluster and ask it for actors, which import TensorFlow as soon as they are placed.

        Raises:
            UserError: there is no cluster at the address.
        """
        if not ray.is_initialized():
            self._connect()
        resources = ray.cluster_resources()
        gpus = self._config.worker_gpus
        self._gpus = (1.0 if resources.get("GPU") else 0.0) if gpus is None else gpus
        self._mailbox = start_mailbox()
        self._start_missing()

    def is_usable(self) -> bool:
        """Return True: the nodes of a cluster know their GPUs."""
        return True

    def keep_logs(self, folder: Path) -> None:
        """Do nothing: Ray keeps what its workers print on their nodes."""

    def choose_weights(self, wants_weights: WantsWeights) -> None:
        """Let workers keep the weights of other trials to themselves."""
        self._wants_weights = wants_weights

    def describe_device(self) -> str:
        """Return what Ray gives each worker."""
        cores = format_count(self._config.worker_cpus, "CPU core")
        share = f"{cores} and {self._gpus:g} GPU" if self._gpus else cores
        return f"Ray, {format_count(self.count_workers(), 'worker')} with {share} each"

    def count_workers(self) -> int:
        """Return the number of workers, also of those that wait for a machine."""
        return len(self._workers)

    def computes_like_command(self) -> bool:
        """Return False: the machines of a cluster differ."""
        return False

    def run(self, task: Any, oracle: ServedOracle) -> None:
        """Run trials until the scheduler is complete.

        Args:
            task: (tuner, arguments, keyword arguments) of its `run_trials`; must be picklable.
            oracle: hands out the trials.

        Raises:
            UserError: the workers cannot run, or a disk is full.
        """
        scheduler = oracle.scheduler
        server = CallServer(self._mailbox, task[0], oracle, self._wants_weights)
        self._task = ray.put(ray.cloudpickle.dumps(task))
        self._deaths.follow(scheduler)
        for worker in self._workers.values():
            self._send_orders(worker)
        try:
            while not scheduler.is_complete():
                self._watch(scheduler)
                server.serve(self._workers)
            deadline = time.monotonic() + _FAREWELL
            while self._workers and time.monotonic() < deadline:  # each is answered that it is over
                self._watch(scheduler, replace=False)
                server.serve(self._workers)
        finally:
            server.finish(self._workers)

    def stop(self) -> None:
        """End all workers, and Ray too if it was started for this sweep."""
        actors = [worker.actor for worker in self._workers.values()]
        for actor in [*actors, self._mailbox] if self._mailbox else actors:
            with contextlib.suppress(RayError):
                ray.kill(actor)
        self._workers.clear()
        self._mailbox = None
        if self._has_connected:
            self._has_connected = False
            ray.shutdown()

    def _connect(self) -> None:
        modules = [str(folder) for folder in list_package_folders(self._packages)]
        address = self._config.ray_address
        try:
            with _keep_sigterm_handler():
                ray.init(
                    address,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    runtime_env={"py_modules": modules, "excludes": ["**/__pycache__"]},
                )
        except (ConnectionError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"--ray-address {address or 'auto'}: {reason}") from error
        self._has_connected = True

    def _start_missing(self) -> None:
        """Ask for as many further actors as are wanted."""
        if time.monotonic() - self._looked > _LOOK:
            self._wanted, self._looked = self._count_wanted(), time.monotonic()
        for _ in range(self._wanted - self._num_finished - len(self._workers)):
            worker = _Worker(f"ray-{next(self._numbers)}", self._start_actor())
            self._workers[worker.name] = worker
            if self._task:
                self._send_orders(worker)

    def _count_wanted(self) -> int:
        if self._config.workers != "auto":
            return self._config.workers
        resources = ray.cluster_resources()
        count = resources.get("CPU", 0.0) / self._config.worker_cpus
        if self._gpus:
            count = min(count, resources.get("GPU", 0.0) / self._gpus)
        return max(1, int(count))

    def _start_actor(self) -> Any:
        cores, environment, threads = self._config.worker_cpus, {"TF_CPP_MIN_LOG_LEVEL": "3"}, 0
        if not self._gpus:
            environment |= {"CUDA_VISIBLE_DEVICES": "-1", "OMP_NUM_THREADS": str(cores)}
            threads = cores
        options = {"num_cpus": cores, "num_gpus": self._gpus, "max_restarts": 0, "max_task_retries": 0}
        return ray.remote(TrialWorker).options(**options).remote(environment, threads)

    def _send_orders(self, worker: _Worker) -> None:
        worker.result = worker.actor.run.remote(self._task, self._mailbox, worker.name)

    # The ends of the workers.

    def _watch(self, scheduler: Scheduler, *, replace: bool = True) -> None:
        """Record the workers that have ended, and replace those that ended before the sweep did.

        Without `replace` the sweep has ended, and deaths are no errors.
        """
        workers = {worker.result: worker for worker in self._workers.values()}
        ended = ray.wait(list(workers), num_returns=len(workers), timeout=0)[0] if workers else []
        for result in ended:
            worker = workers[result]
            del self._workers[worker.name]
            self._record_end(worker, scheduler, may_raise=replace)
        if replace:
            self._start_missing()

    def _record_end(self, worker: _Worker, scheduler: Scheduler, *, may_raise: bool) -> None:
        try:
            if ray.get(worker.result):
                self._num_finished += 1
            else:  # it asks for a fresh process
                scheduler.on_worker_ended(worker.name)
        except UserError as error:
            raise UserError(str(getattr(error, "cause", error))) from error
        except RayError as error:
            reason = _find_reason(error)
            if reason is None:
                scheduler.on_worker_ended(worker.name)
            else:
                self._deaths.add()
                scheduler.on_worker_died(worker.name, reason)
                if may_raise and self._deaths.is_full():
                    raise UserError(f"the workers cannot run: {reason}; see the logs of Ray on its nodes") from error
        finally:
            with contextlib.suppress(RayError):
                ray.kill(worker.actor)


@contextlib.contextmanager
def _keep_sigterm_handler() -> Iterator[None]:
    """Let SIGTERM do what it did before this block: Ray sets a handler that ends the process without a message."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _find_reason(error: RayError) -> str | None:
    """Return why a worker's process died; None if its machine is gone, which is not the trial's fault."""
    text = str(error)
    if isinstance(error, ActorDiedError):
        return None if error.preempted or "node has died" in text else " ".join(text.splitlines()[-1].split())[:300]
    if hasattr(error, "cause") and error.cause is not None:  # an exception in the worker
        return f"{type(error.cause).__name__}: {error.cause}"[:300]
    return None
