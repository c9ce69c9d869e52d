"""Oracles that survive anything: KerasTuner's, with their state on disk, written whole.

A trial has a folder `trial_<id>` in KerasTuner's project. Its worker writes `result.json` there when it is
done, and the oracle writes `trial.json` when it has heard of it: what has a `trial.json` is finished, whatever
has none is done, again or for the first time.
"""

import math
import shutil
import statistics
import threading
import time
from pathlib import Path

import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial, TrialStatus

from workbench.files import read_json, write_json
from workbench.sweep.space import encode

FINISHED = {TrialStatus.COMPLETED, TrialStatus.FAILED}
MAX_ATTEMPTS = 3  # of a trial whose worker dies under it
REMOTE_SILENCE = 60  # seconds after which the trial of a worker elsewhere is given to another one


class TrialKeeper:
    """What all our oracles share, mixed into an oracle of KerasTuner.

    Trials are handed out, taken back and recorded under one lock that an error cannot leave closed.
    (KerasTuner's own lock stays closed after an exception, which is one way for its chief to wait for ever.)
    """

    def begin(self, folder, *, pruner=None, budget=None):
        """Take up what stands in a sweep's folder.

        Args:
            folder: KerasTuner's project is its subfolder `tuner`.
            pruner: see `workbench.sweep.pruning`, or None.
            budget: seconds from now within which the last trial must be done, or None.
        """
        self._set_project_dir(str(folder), "tuner")
        self.verbose = 0
        self.results = {}  # trial id -> its result.json
        self.lock = threading.RLock()
        self._pruner, self._deadline = pruner, budget and time.monotonic() + budget
        self._attempts, self._seen, self._local = {}, {}, set()
        self._asked = set()  # workers that have had a trial in the life of their process
        self._started, self._ready = {}, []
        self.out_of_time = False
        self.reload()

    def trial_dir(self, trial_id):
        """Folder of a trial's files."""
        return Path(self._directory) / self._project_name / f"trial_{trial_id}"

    # What workers ask for, through KerasTuner's protocol.

    def create_trial(self, tuner_id):
        """The trial that this worker has in hand, else the next one; IDLE while others may still fail."""
        with self.lock:
            self._seen[tuner_id] = time.monotonic()
            self._asked.add(tuner_id)
            if tuner_id in self.ongoing_trials:
                return self.ongoing_trials[tuner_id]
            if self._deadline and time.monotonic() + self._seconds_needed() > self._deadline:
                self.out_of_time = True
                return self._no_trial(TrialStatus.STOPPED)
            trial = self._ready.pop(0) if self._ready else self._next_trial(tuner_id)
            if trial is None:
                return self._no_trial(TrialStatus.IDLE if self.ongoing_trials else TrialStatus.STOPPED)
            self.trials[trial.trial_id] = self.ongoing_trials[tuner_id] = trial
            self._started[trial.trial_id] = time.time()
            return trial

    def update_trial(self, trial_id, metrics, step=0):
        """Take note of an epoch's metrics; the trial that comes back is STOPPED if it is to be pruned."""
        with self.lock:
            trial = self.trials[trial_id]
            for name, value in metrics.items():
                if not trial.metrics.exists(name):
                    trial.metrics.register(name, direction="max" if "accuracy" in name else "min")
                trial.metrics.update(name, value, step=step)
            if self._pruner and self._pruner.should_stop(trial_id, step, metrics[self.objective.name]):
                return Trial(trial.hyperparameters, trial_id, TrialStatus.STOPPED)
            return trial

    def end_trial(self, trial):
        """Record a trial with what its worker wrote; one that is finished or not in hand is passed over."""
        with self.lock:
            ended = self.trials.get(trial.trial_id)
            if ended is None or ended.status in FINISHED:
                return
            result = read_json(self.trial_dir(trial.trial_id) / "result.json")
            if result is not None:
                self._finish(ended, result)

    def get_trial(self, trial_id):
        """A trial by its id."""
        with self.lock:
            return self.trials[trial_id]

    # What the command does with them.

    def heard_of(self, tuner_id):
        """A worker gave a sign of life."""
        with self.lock:
            self._seen[tuner_id] = time.monotonic()

    def worker_started(self, tuner_id):
        """A worker's process is new; this command watches it, so that its silence means nothing."""
        with self.lock:
            self._local.add(tuner_id)
            self._asked.discard(tuner_id)

    def worker_died(self, tuner_id, reason):
        """A worker died: its trial waits for it to come back, but fails if it has killed its worker before."""
        with self.lock:
            trial = self.ongoing_trials.get(tuner_id)
            if trial is None or tuner_id not in self._asked:  # it had not begun yet
                return
            attempts = self._attempts[trial.trial_id] = self._attempts.get(trial.trial_id, 0) + 1
            if attempts >= MAX_ATTEMPTS:
                reason = f"its worker died {attempts} times, at last with {reason}"
                self._finish(trial, {"status": "failed", "reason": reason})

    def release_silent_workers(self):
        """Give up on workers elsewhere that have not been heard of, so that others can do their trials."""
        with self.lock:
            for tuner_id, trial in list(self.ongoing_trials.items()):
                if tuner_id not in self._local and time.monotonic() - self._seen[tuner_id] > REMOTE_SILENCE:
                    self._ready.append(trial)
                    del self.ongoing_trials[tuner_id]

    def finished_trials(self):
        """The completed, pruned and failed trials, in the order of their ids."""
        with self.lock:
            return [trial for _, trial in sorted(self.trials.items()) if trial.status in FINISHED]

    def save(self):
        """Write `oracle.json`."""
        with self.lock:
            write_json(self._get_oracle_fname(), self.get_state())

    def reload(self):
        """Take up the finished trials from disk, and remove what unfinished ones left behind."""
        for folder in sorted(Path(self._project_dir).glob("trial_*")):
            state, result = read_json(folder / "trial.json"), read_json(folder / "result.json")
            if state is None or result is None:
                shutil.rmtree(folder)
                continue
            trial = Trial.from_state(state)
            self.trials[trial.trial_id] = trial
            self._remember(trial, result)

    # How it is done.

    def _next_trial(self, tuner_id):
        """The next trial to run, or None if there is none now."""
        raise NotImplementedError

    def _no_trial(self, status):
        return Trial(self.hyperparameters.copy(), trial_id="", status=status)

    def _finish(self, trial, result):
        score = result.get(self.objective.name)
        if result["status"] != "failed" and not (score is not None and math.isfinite(score)):
            result = {**result, "status": "failed", "reason": f"{self.objective.name} is {score}"}
        result.setdefault("started", self._started.get(trial.trial_id, time.time()))
        result["ended"] = time.time()
        trial.status = TrialStatus.FAILED if result["status"] == "failed" else TrialStatus.COMPLETED
        trial.message, trial.score = result.get("reason") or None, score
        if trial.status == TrialStatus.FAILED:
            trial.score = None
        folder = self.trial_dir(trial.trial_id)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "result.json", result)
        write_json(folder / "trial.json", trial.get_state())
        self._remember(trial, result)
        for tuner_id, ongoing in list(self.ongoing_trials.items()):
            if ongoing is trial:
                del self.ongoing_trials[tuner_id]
        self.on_finish(trial)

    def on_finish(self, trial):
        """Called with each trial that ends; the command puts its own function here."""

    def _remember(self, trial, result):
        self.results[trial.trial_id] = result
        self.end_order.append(trial.trial_id)
        if self._pruner:
            for row in result.get("history", []):
                self._pruner.add(trial.trial_id, row["epoch"], row[self.objective.name])

    def _seconds_needed(self):
        """How long the next trial may take: four fifths of the trials so far took no longer."""
        durations = [result["seconds"] for result in self.results.values() if result.get("seconds")]
        return statistics.quantiles(durations, n=5)[-1] if len(durations) > 1 else sum(durations)


class GridOracle(TrialKeeper, keras_tuner.Oracle):
    """Hands out the points of a grid, each exactly once.

    A trial's number is its place in the order, so the number alone says which point it is. Within the next
    `WINDOW` points a worker gets one whose graph it has traced already, so that the trials done at any moment
    are a prefix of the order but for a few.

    Args:
        space: a `workbench.sweep.space.Space`.
        max_trials: number of trials at most, None for the whole grid.
        seed: of the shuffled order.
        order: `shuffled`, so that any prefix is a fair sample, or `lexicographic`, the last parameter turning
            fastest.
        graph_key: parameter values -> what trials must have in common to share a traced graph.
    """

    WINDOW = 64

    def __init__(self, space, max_trials=None, seed=0, order="shuffled", graph_key=str):
        super().__init__(
            objective=keras_tuner.Objective(space.metric, space.direction),
            hyperparameters=space.hyperparameters.copy(),
            seed=seed or 1,
        )
        self.space, self._graph_key = space, graph_key
        self._order = np.arange(len(space))
        if order == "shuffled":
            np.random.default_rng(seed).shuffle(self._order)
        self._limit = len(space) if max_trials is None else min(max_trials, len(space))
        self._next = 0
        self._holders = {}  # graph key -> ids of the workers that have traced it
        self._tracing = set()  # ids of the trials that are the first of their graph on their worker

    def __len__(self):
        """Number of trials that this sweep will hold when it is complete."""
        return self._limit

    def trial_id(self, number):
        """The name of the trial at place `number` of the order."""
        return f"{number:0{len(str(len(self._order) - 1))}d}"

    def point(self, number):
        """The parameter values at place `number` of the order: name -> value."""
        return self.space.point(int(self._order[number]))

    def worker_started(self, tuner_id):
        """A worker's process is new and has traced nothing."""
        super().worker_started(tuner_id)
        with self.lock:
            for holders in self._holders.values():
                holders.discard(tuner_id)

    def _next_trial(self, tuner_id):
        open_numbers = self._window()
        if not open_numbers:
            return None
        keys = {number: self._graph_key(self.point(number)) for number in open_numbers}
        held = [n for n in open_numbers if tuner_id in self._holders.get(keys[n], ())]
        free = [n for n in open_numbers if not self._holders.get(keys[n])]
        if not (held or free or self._pays_to_trace(open_numbers, keys)):
            return None
        number = (held or free or open_numbers)[0]
        if not held:
            self._tracing.add(self.trial_id(number))
            self._holders.setdefault(keys[number], set()).add(tuner_id)
        return self._trial(number)

    def _pays_to_trace(self, open_numbers, keys):
        """Whether the last points are done sooner by one more worker that has to trace their graph first."""
        seconds = {True: [], False: []}  # by whether the trial was the first of its graph
        for trial_id, result in self.results.items():
            seconds[trial_id in self._tracing].append(result.get("seconds") or 0.0)
        holders = set().union(*(self._holders[keys[number]] for number in open_numbers))
        if not all(seconds.values()) or holders.isdisjoint(self.ongoing_trials):
            return True
        first, later = (statistics.median(values) for values in (seconds[True], seconds[False]))
        return len(open_numbers) * later > first - later

    def _window(self):
        """Numbers of the first points that nobody has had."""
        while self._next < self._limit and self.trial_id(self._next) in self.trials:
            self._next += 1
        ahead = range(self._next, min(self._limit, self._next + self.WINDOW))
        return [number for number in ahead if self.trial_id(number) not in self.trials]

    def _trial(self, number):
        hyperparameters = self.hyperparameters.copy()
        hyperparameters.values = {name: encode(value) for name, value in self.point(number).items()}
        return Trial(hyperparameters, trial_id=self.trial_id(number))

    def complete(self):
        """Whether every trial of this sweep is finished, or no time is left and none is in hand."""
        with self.lock:
            return not self.ongoing_trials and not self._ready and (self.out_of_time or not self._window())


class RandomOracle(GridOracle):
    """Random search without replacement: a shuffled grid, but ranges without a step are drawn from anew.

    A space of lists alone is exhausted as a grid is; one with such a range never is.
    """

    def __init__(self, space, max_trials=None, seed=0, graph_key=str):
        super().__init__(space, max_trials, seed + 1, "shuffled", graph_key)
        ranges = {hp.name: hp for hp in space.hyperparameters.space if hasattr(hp, "min_value")}
        self._ranges, self._draw_seed = ranges, seed
        if ranges and max_trials is not None:
            self._limit = max_trials
            repeats = -(-max_trials // len(space))
            self._order = np.concatenate([self._order] * repeats)

    def point(self, number):
        """The parameter values of trial `number`: name -> value."""
        drawn = {
            name: hp.random_sample(int(np.random.SeedSequence([self._draw_seed, number, at]).generate_state(1)[0]))
            for at, (name, hp) in enumerate(self._ranges.items())
        }
        return {**super().point(number), **drawn}
