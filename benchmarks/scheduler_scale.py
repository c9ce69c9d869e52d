"""Run the scheduler of a sweep against thousands of simulated workers, without TensorFlow.

    python -m benchmarks.scheduler_scale [--workers 10000] [--trials 1000000]

Each worker asks for trials, reports an epoch, and gives the trials back, in simulated time. Trials fail, workers'
processes die, and machines vanish with their workers. Only the files of the trials are left out. Every point must be
recorded once. Printed are the scheduler's CPU seconds for a thousand trials and the memory of the process, ten times.
"""

import argparse
import collections
import heapq
import random
import time
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import psutil

from workbench.sweep.scheduling.grid import GridSource
from workbench.sweep.scheduling.pruning import HalvingPruner
from workbench.sweep.scheduling.scheduler import NoTrial, Scheduler
from workbench.sweep.scheduling.trial import Parameter, Trial, Value
from workbench.sweep.scheduling.trial_files import TrialFiles

PARAMETERS = [Parameter(f"p{number}", tuple(range(10))) for number in range(6)]  # a million points
FAILED, DIED, VANISHED = 0.01, 0.005, 0.005  # probabilities for a trial
RETURNS_AFTER = 100.0  # seconds after which a worker is replaced
WAIT = 30.0  # seconds between two questions of a worker for which there is no trial
ROWS = 10


class CountedFiles(TrialFiles):
    """Counts how often each trial is recorded, in place of writing files."""

    def __init__(self) -> None:
        super().__init__(Path())
        self.counts = collections.Counter[str]()

    def load(self) -> list[Trial]:
        """Return no trials: the sweep is new."""
        return []

    def save(self, trial: Trial, attempt: Path | None = None) -> None:
        """Count a trial."""
        self.counts[trial.id] += 1


class Simulation:
    """Simulated workers and the scheduler that they ask.

    Args:
        num_workers: number of workers at the same time.
        num_trials: number of trials.
        seed: of durations, scores and failures.

    Attributes:
        seconds: CPU time that the scheduler has taken.
        events: name -> how often it happened.
    """

    def __init__(self, num_workers: int, num_trials: int, seed: int = 0) -> None:
        self.files, self.rng, self.seconds = CountedFiles(), random.Random(seed), 0.0
        self.events = collections.Counter[str]()
        self.scheduler = Scheduler(
            GridSource(PARAMETERS, num_trials, seed=seed),
            self.files,
            metric="val_accuracy",
            direction="max",
            graph_key=make_graph_key,
            pruner=HalvingPruner("max", max_epochs=4),
            budget=10**9,
        )
        self._next_name = num_workers
        self._queue = [(self.rng.random(), f"worker-{number}") for number in range(num_workers)]
        heapq.heapify(self._queue)

    def step(self) -> bool:
        """Let the worker whose turn it is do what it does; return whether there is one."""
        if not self._queue:
            return False
        now, worker = heapq.heappop(self._queue)
        trial = self.scheduler.running.get(worker)
        if trial is not None and not self._end(now, worker, trial):
            return True
        answer = self._call(self.scheduler.next_trial, worker)
        if answer is NoTrial.WAIT:
            heapq.heappush(self._queue, (now + WAIT, worker))
        elif isinstance(answer, Trial):
            heapq.heappush(self._queue, (now + self.rng.expovariate(1 / 60), worker))
        return True

    def _end(self, now: float, worker: str, trial: Trial) -> bool:
        """End a worker's trial; return whether the worker is alive."""
        chance = self.rng.random()
        if chance < DIED + VANISHED:
            if chance < DIED:
                self._call(self.scheduler.on_worker_died, worker, "signal SIGKILL")
                self.events["died"] += 1
            else:
                self._call(self.scheduler.on_worker_ended, worker)
                self.events["vanished"] += 1
            self._next_name += 1
            heapq.heappush(self._queue, (now + RETURNS_AFTER, f"worker-{self._next_name}"))
            return False
        score = self.rng.random()
        is_pruned = self._call(self.scheduler.report, trial.id, {"val_accuracy": score}, 1)
        status = "failed" if self.rng.random() < FAILED else "pruned" if is_pruned else "completed"
        result = {"status": status, "val_accuracy": score, "seconds": 60.0, "worker": worker}
        self._call(self.scheduler.finish, trial.id, result)
        self.events[status] += 1
        return True

    def _call(self, function: Any, *arguments: Any) -> Any:
        start = time.process_time()
        answer = function(*arguments)
        self.seconds += time.process_time() - start
        return answer


def make_graph_key(values: Mapping[str, Value]) -> Hashable:
    """Return what trials that share a graph have in common: there are a hundred graphs."""
    return values["p0"], values["p1"]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=10_000)
    parser.add_argument("--trials", type=int, default=1_000_000)
    options = parser.parse_args()
    simulation = Simulation(options.workers, options.trials)
    part, printed, seconds = max(1, options.trials // ROWS), 0, 0.0
    while simulation.step():
        finished = len(simulation.files.counts)
        if finished >= printed + part:
            each = 1000 * (simulation.seconds - seconds) / (finished - printed)
            memory = psutil.Process().memory_info().rss / 1e9
            print(f"{finished:>9,} trials: {each:.3f} s a thousand trials, {memory:.2f} GB", flush=True)
            printed, seconds = finished, simulation.seconds
    counts = simulation.files.counts
    assert len(counts) == options.trials, len(counts)
    assert set(counts.values()) == {1}
    assert simulation.scheduler.is_complete()
    events = ", ".join(f"{count:,} {name}" for name, count in sorted(simulation.events.items()))
    print(f"every point exactly once; {options.workers:,} workers; {events}")


if __name__ == "__main__":
    main()
