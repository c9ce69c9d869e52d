"""The scheduler with the interface of KerasTuner's oracles."""

import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.src.engine.trial import Trial as KerasTunerTrial
from keras_tuner.src.engine.trial import TrialStatus

from workbench.files import write_json
from workbench.sweep.keras_tuner_adapter.conversion import FINISHED, Converter
from workbench.sweep.scheduling.pruning import Pruner
from workbench.sweep.scheduling.scheduler import NoTrial, Scheduler, TrialSource
from workbench.sweep.scheduling.trial import Trial, Value
from workbench.sweep.scheduling.trial_files import TrialFiles


class _Trials(Mapping[str, KerasTunerTrial]):
    """The trials of a scheduler as KerasTuner's, translated when they are looked at.

    Args:
        convert: translates a trial.
        list_trials: returns key -> trial.
    """

    def __init__(
        self, convert: Callable[[Trial], KerasTunerTrial], list_trials: Callable[[], dict[str, Trial]]
    ) -> None:
        self._convert, self._list = convert, list_trials

    def __getitem__(self, key: str) -> KerasTunerTrial:
        return self._convert(self._list()[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._list().copy())

    def __len__(self) -> int:
        return len(self._list())


class SchedulerOracle(keras_tuner.Oracle):
    """An oracle whose trials a scheduler hands out, records and resumes.

    KerasTuner's own oracle writes its state three times a trial and keeps it locked after an error. Here a trial costs
    the same however many there are, and the folders of the finished trials are the only state.

    Args:
        make_source: called with this oracle when the search space is known; returns what chooses the trials.
        graph_key, pruner, budget: as for `workbench.sweep.scheduling.scheduler.Scheduler`.
        grid: hyperparameter -> its values on the grid, where they are not KerasTuner's.
        options: the arguments of `keras_tuner.Oracle`.

    Attributes:
        scheduler: hands out the trials; set by `begin`.
        converter: translates them.
    """

    scheduler: Scheduler
    converter: Converter

    def __init__(
        self,
        make_source: Callable[["SchedulerOracle"], TrialSource],
        *,
        graph_key: Callable[[Mapping[str, Value]], Hashable] | None = None,
        pruner: Pruner | None = None,
        budget: float | None = None,
        grid: Mapping[str, Sequence[Value]] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._make_source, self._graph_key, self._pruner, self._budget = make_source, graph_key, pruner, budget
        self._grid, self._space_lock = grid, threading.Lock()

    @property
    def state_path(self) -> Path:
        """Path of `oracle.json`."""
        return Path(self._get_oracle_fname())

    def begin(self) -> None:
        """Load the finished trials of the project; the search space is known now."""
        self.converter = Converter(self.hyperparameters, self.objective, self._grid)
        project = Path(self._project_dir)
        self.scheduler = Scheduler(
            self._make_source(self),
            TrialFiles(project, self.converter.encode, self.converter.decode),
            metric=self.objective.name,
            direction=self.objective.direction,
            graph_key=self._graph_key,
            pruner=self._pruner,
            budget=self._budget,
            max_retries=self.max_retries_per_trial,
            max_consecutive_failures=self.max_consecutive_failed_trials,
        )
        convert = self.converter.make_trial
        self.trials = _Trials(convert, lambda: self.scheduler.trials)
        self.ongoing_trials = _Trials(convert, lambda: self.scheduler.running)

    @property
    def has_pruner(self) -> bool:
        """Whether trials report each epoch and may be stopped."""
        return self._pruner is not None

    # What tuners call; those of workers through `RemoteOracle`.

    def answer(self, method: str, *arguments: Any) -> Any:
        """Answer a call of `RemoteOracle`."""
        calls: dict[str, Callable[..., Any]] = {
            "create_trial": self.create_trial,
            "update_trial": self.update_trial,
            "end_trial": self.end_trial,
        }
        return calls[method](*arguments)

    def create_trial(self, tuner_id: str) -> KerasTunerTrial:
        """Return the next trial of a worker; its status is IDLE or STOPPED where there is none."""
        trial = self.scheduler.next_trial(tuner_id)
        if isinstance(trial, NoTrial):
            status = TrialStatus.IDLE if trial is NoTrial.WAIT else TrialStatus.STOPPED
            return KerasTunerTrial(self.get_space(), trial_id="", status=status)
        made = self.converter.make_trial(trial)
        self._display.on_trial_begin(made)
        return made

    def update_trial(self, trial_id: str, metrics: Mapping[str, float], step: int = 0) -> KerasTunerTrial:
        """Record metrics; the status of the returned trial is STOPPED if it should stop there."""
        self._check_objective_found(metrics)
        stop = self.scheduler.report(trial_id, metrics, step)
        trial = self.converter.make_trial(self.scheduler.trials[trial_id])
        trial.status = TrialStatus.STOPPED if stop else TrialStatus.RUNNING
        return trial

    def end_trial(self, trial: KerasTunerTrial) -> None:
        """Record a trial with the result that its worker has written, or with the metrics that were reported."""
        known = self.scheduler.trials.get(trial.trial_id)
        if known is None:
            return
        if known.is_finished:  # another worker was faster: its result stays
            self.scheduler.files.discard_attempts(trial.trial_id)
            return
        result, attempt = self.scheduler.files.read_result(trial.trial_id)
        hyperparameters = None
        if result is None:
            if trial.status not in FINISHED:
                return
            result, hyperparameters = self._make_result(trial, known), trial.hyperparameters
        elif "hyperparameters" in result:
            hyperparameters = keras_tuner.HyperParameters.from_config(result.pop("hyperparameters"))
        may_retry = result.pop("may_retry", False)
        discovered, values = [], {}
        if hyperparameters is not None:
            self.update_space(hyperparameters)
            given = {*known.parameters}
            discovered = [p for p in self.converter.add(hyperparameters.space) if p not in given]
            values = hyperparameters.values
        more = {"discovered": discovered, "values": values, "may_retry": may_retry}
        self.scheduler.finish(trial.trial_id, result, **more, attempt=attempt)
        if self.verbose and known.is_finished and trial.trial_id in self._display.trial_start:
            self._display.on_trial_end(self.trials[trial.trial_id])

    def get_best_trials(self, num_trials: int = 1) -> list[KerasTunerTrial]:
        """Return the best trials, the best first; where there are not enough, others follow."""
        finished = [trial for trial in list(self.scheduler.trials.values()) if trial.score is not None]
        finished.sort(key=lambda trial: trial.score or 0.0, reverse=self.objective.direction == "max")
        if len(finished) < num_trials:
            finished += [trial for trial in list(self.scheduler.trials.values()) if trial.score is None]
        return [self.converter.make_trial(trial) for trial in finished[:num_trials]]

    def update_space(self, hyperparameters: keras_tuner.HyperParameters) -> None:
        """Add hyperparameters that are not known to the search space."""
        with self._space_lock:
            super().update_space(hyperparameters)

    def save(self) -> None:
        """Write `oracle.json`, for KerasTuner's own tools."""
        write_json(self.state_path, self.get_state())

    def get_state(self) -> dict[str, Any]:
        """Return the content of `oracle.json`."""
        source_state = getattr(self.scheduler.source, "get_state", None)
        if source_state:
            return source_state()
        self.start_order = list(self.scheduler.trials)
        finished = [trial for trial in self.scheduler.trials.values() if trial.is_finished]
        self.end_order = [trial.id for trial in sorted(finished, key=lambda trial: trial.result.get("ended", 0.0))]
        return super().get_state()

    def _make_result(self, trial: KerasTunerTrial, known: Trial) -> dict[str, Any]:
        """Return the result of a trial from the metrics that were reported."""
        best = max if self.objective.direction == "max" else min
        result: dict[str, Any] = {"status": "failed", "reason": trial.message or "", "may_retry": True}
        result["may_retry"] = trial.status == TrialStatus.INVALID
        result |= {name: list(reports.values())[-1] for name, reports in known.reports.items()}
        scores = known.reports.get(self.objective.name)
        if trial.status == TrialStatus.COMPLETED:
            result["status"] = "completed"
            if scores:
                step = best(scores, key=lambda step: scores[step])
                result |= {self.objective.name: scores[step], "best_step": step, "may_retry": True}
        return result
