"""Train the best trials of a sweep again with other seeds.

These trials are in the folder `repeats` of the sweep, in the form of those in `tuner`, so a killed command continues
them. `repeats.json` has the scores of the repeats that are finished, also while others run and after a kill.
"""

import dataclasses
import itertools
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from workbench.console import console
from workbench.files import write_json
from workbench.sweep.analysis.repeated_trial import REPEATS, RepeatedTrial
from workbench.sweep.early_start import start_workers
from workbench.sweep.image_hypermodel import ImageHyperModel, TrialDefaults, get_weights_path
from workbench.sweep.keras_tuner_adapter.oracle import SchedulerOracle
from workbench.sweep.keras_tuner_adapter.space import make_hyperparameters, make_objective
from workbench.sweep.keras_tuner_adapter.tuner import SchedulerTuner
from workbench.sweep.progress import SweepProgress
from workbench.sweep.results import SweepResults, TrialResult, Value, make_result
from workbench.sweep.scheduling.trial import Parameter, Trial
from workbench.sweep.space import Space, encode
from workbench.wording import format_count

FINALISTS = 3  # best trials that are trained again
_PROJECT = "repeats"
_SEEDS = 2**32


class RepeatSource:
    """A `TrialSource` with a fixed list of trials, of which those that an earlier process has finished are left out."""

    def __init__(self, trials: Iterable[Trial]) -> None:
        self._open = {trial.id: trial for trial in trials}
        self._total = len(self._open)

    def count_trials(self) -> int:
        """Return the number of trials in all."""
        return self._total

    def upcoming(self) -> Sequence[Trial]:
        """Return the trials that no worker has taken."""
        return list(self._open.values())

    def take(self, trial: Trial) -> None:
        """Remove a trial from the upcoming ones."""
        self._open.pop(trial.id)

    def finish(self, trial: Trial) -> None:
        """Learn nothing from a trial."""

    def restore(self, trials: Iterable[Trial]) -> Sequence[Trial]:
        """Leave out the finished trials; none has to be run before the others."""
        for trial in trials:
            self._open.pop(trial.id, None)
        return ()


def repeat_finalists(
    config: Any, defaults: TrialDefaults, hypermodel_class: type[ImageHyperModel], results: SweepResults
) -> list[RepeatedTrial]:
    """Train the best trials again with further seeds, or continue that, and write the repeats' scores.

    Args:
        config: of the command, with the sections `search` and `workers`.
        defaults: what the trials of the sweep have in common.
        hypermodel_class: of the sweep.
        results: the trials of the sweep.
    """
    finalists = results.scored[:FINALISTS]
    points = {
        f"{trial.id}-seed{seed}": {**trial.values, "seed": seed}
        for trial in finalists
        for seed in _list_seeds(trial, defaults, config.search.repeat)
    }
    if not points:
        return []
    space = _make_space(defaults.space, list(points.values()))
    folder = defaults.folder.path
    hypermodel = hypermodel_class(dataclasses.replace(defaults, space=space, max_epochs=0, outcomes="none"))
    oracle = SchedulerOracle(
        lambda oracle: RepeatSource(_make_trials(points, oracle.converter.parameters)),
        objective=make_objective(space),
        hyperparameters=make_hyperparameters(space),
        graph_key=hypermodel.make_graph_key,
        max_consecutive_failed_trials=None,
    )
    is_complete = all((folder / _PROJECT / f"trial_{name}" / "trial.json").exists() for name in points)
    workers = None if is_complete else start_workers(config)
    if workers:
        workers.keep_logs(folder / _PROJECT / "workers")
        workers.choose_weights(lambda trial, result: False)
    tuner = SchedulerTuner(oracle, hypermodel, workers=workers, directory=str(folder), project_name=_PROJECT)
    repeated: list[RepeatedTrial] = []

    def record(results: SweepResults) -> None:
        finished = {result.id: result.score for result in results.trials}
        repeated[:] = [_summarize(trial, space.metric, points, finished) for trial in finalists]
        write_json(folder / REPEATS, [dataclasses.asdict(trial) for trial in repeated])

    _run(tuner, space, points, record)
    return repeated


def _list_seeds(trial: TrialResult, defaults: TrialDefaults, count: int) -> list[int]:
    """Return the seeds after that of the trial, without those that the sweep itself has tried."""
    own: Any = trial.values.get("seed", defaults.base.training.seed)
    tried = {own, *defaults.space.parameters.get("seed", [])}
    seeds = ((own + number) % _SEEDS for number in itertools.count(1))
    return list(itertools.islice((seed for seed in seeds if seed not in tried), count))


def _make_space(space: Space, points: Sequence[dict[str, Value]]) -> Space:
    """Return the space that has the values of some points."""
    parameters: dict[str, list[Value]] = {}
    for name in points[0]:
        parameters[name] = []
        for point in points:
            if point[name] not in parameters[name]:
                parameters[name].append(point[name])
    fixed = {name: value for name, value in space.fixed.items() if name not in parameters}
    return Space(parameters, fixed, space.metric, space.direction)


def _make_trials(points: dict[str, dict[str, Value]], parameters: tuple[Parameter, ...]) -> list[Trial]:
    return [
        Trial(name, {key: encode(value) for key, value in point.items()}, parameters=parameters)
        for name, point in points.items()
    ]


def _run(
    tuner: SchedulerTuner, space: Space, points: dict[str, dict[str, Value]], record: Callable[[SweepResults], None]
) -> None:
    """Run the trials that are left, and show them; call `record` with the finished ones, at first and after each."""
    scheduler = tuner.oracle.scheduler
    results = SweepResults(space.parameters, space.fixed, space.metric, space.direction)
    for trial in scheduler.list_finished():
        if trial.id in points:
            results.add(make_result(trial.id, space.decode(trial.values), trial.result, space.metric))
    record(results)
    progress = SweepProgress(results, len(points), list)

    def finish(trial: Trial) -> None:
        get_weights_path(scheduler.files.get_folder(trial.id)).unlink(missing_ok=True)
        result = make_result(trial.id, space.decode(trial.values), trial.result, space.metric)
        results.add(result)
        record(results)
        progress.show(result)

    scheduler.add_listener(finish)
    if len(results) < len(points):
        console.print(f"training the best trials again: {format_count(len(points), 'repeat')} with other seeds")
        with progress:
            tuner.search()


def _summarize(
    finalist: TrialResult, metric: str, points: dict[str, dict[str, Value]], finished: Mapping[str, float | None]
) -> RepeatedTrial:
    """Return the scores of a trial's repeats.

    Args:
        finalist: the trial.
        metric: by which the sweep ranks its trials.
        points: repeat -> its values.
        finished: repeat -> its score, None if it failed; of those that have ended.
    """
    assert finalist.score is not None  # a finalist is one of the best
    own = [name for name in points if name.rpartition("-seed")[0] == finalist.id]
    scores: dict[Any, float] = {}
    for name in own:
        score = finished.get(name)
        if score is not None:
            scores[points[name]["seed"]] = score
    values, unfinished = list(scores.values()), sum(name not in finished for name in own)
    mean = statistics.mean(values) if values else None
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return RepeatedTrial(finalist.id, metric, finalist.score, list(scores), values, mean, deviation, unfinished)
