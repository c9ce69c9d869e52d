"""The tuners: KerasTuner's searches on top of a scheduler that can be killed, resumed and shared by processes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import keras
import keras_tuner

from workbench.sweep.hypermodel import TrialHyperModel
from workbench.sweep.keras_tuner_adapter.adaptive import (
    AdaptiveSource,
    HyperbandSearch,
    count_hyperband_trials,
    make_bayesian_search,
)
from workbench.sweep.keras_tuner_adapter.oracle import SchedulerOracle
from workbench.sweep.keras_tuner_adapter.tuner import SchedulerTuner
from workbench.sweep.scheduling.grid import GridSource, Order, RandomSource
from workbench.sweep.scheduling.pruning import Pruner
from workbench.sweep.scheduling.scheduler import TrialSource
from workbench.sweep.scheduling.trial import Value

HyperModel: TypeAlias = keras_tuner.HyperModel | Callable[[keras_tuner.HyperParameters], keras.Model]


class GridSearch(SchedulerTuner):
    """Tries every combination of the hyperparameters' values; a drop-in for `keras_tuner.GridSearch`.

    It takes the same hypermodels and build functions and has the same methods. In addition, it tries each point exactly
    once; with `order="shuffled"` the first trials are a random sample of the grid; the same call after a kill resumes
    the sweep (`overwrite=False`); and it can run trials in worker processes.

        tuner = GridSearch(build_model, "val_accuracy", max_trials=100, order="shuffled", workers=2)
        tuner.search(x, y, epochs=5, validation_data=(x_val, y_val))
        model = tuner.get_best_models()[0]

    Conditional hyperparameters have values only where their conditions hold. Hyperparameters that only some trials use
    are searched too.

    Args:
        hypermodel: a `keras_tuner.HyperModel`, or a function of the hyperparameters that returns a compiled model.
            With `workers` it must be importable, as for `multiprocessing`: not defined in an interactive session, and
            a script calls `search` under `if __name__ == "__main__":`.
        objective: name of the metric, a `keras_tuner.Objective`, or a list of them.
        max_trials: number of trials at most; None tries the whole grid. The same call with a larger number adds
            trials.
        seed: of the shuffled order.
        hyperparameters: known hyperparameters, which override those of the hypermodel.
        tune_new_entries: whether hyperparameters that are not in `hyperparameters` are searched, or keep their
            defaults.
        allow_new_entries: whether the hypermodel may ask for such hyperparameters.
        max_retries_per_trial: number of times that a failed trial is run again.
        max_consecutive_failed_trials: number of failed trials in a row that ends the search; None never ends it.
        order: `lexicographic` begins with the defaults and changes the last hyperparameter fastest, as KerasTuner does;
            `shuffled` depends on `seed`.
        grid: hyperparameter -> its values, in place of the ten that KerasTuner takes of a range without a step.
        pruner: stops trials early, see `workbench.sweep.scheduling.pruning`.
        budget: seconds; no trial is started that would probably not end in time.
        **kwargs: of `SchedulerTuner` and `keras_tuner.Tuner`: `workers`, `directory`, `project_name`, `overwrite`,
            `executions_per_trial`, ...
    """

    def __init__(
        self,
        hypermodel: HyperModel | None = None,
        objective: str | keras_tuner.Objective | list | None = None,
        max_trials: int | None = None,
        seed: int | None = None,
        hyperparameters: keras_tuner.HyperParameters | None = None,
        tune_new_entries: bool = True,
        allow_new_entries: bool = True,
        max_retries_per_trial: int = 0,
        max_consecutive_failed_trials: int | None = 3,
        *,
        order: Order = "lexicographic",
        grid: Mapping[str, Sequence[Value]] | None = None,
        pruner: Pruner | None = None,
        budget: float | None = None,
        **kwargs: Any,
    ) -> None:
        def make_source(oracle: SchedulerOracle) -> TrialSource:
            parameters = oracle.converter.parameters
            return GridSource(parameters, max_trials, order=order, seed=seed or 0, discovers=tune_new_entries)

        oracle = SchedulerOracle(
            make_source,
            objective=objective,
            max_trials=max_trials,
            seed=seed,
            hyperparameters=hyperparameters,
            tune_new_entries=tune_new_entries,
            allow_new_entries=allow_new_entries,
            max_retries_per_trial=max_retries_per_trial,
            max_consecutive_failed_trials=max_consecutive_failed_trials,
            graph_key=_get_graph_key(hypermodel),
            grid=grid,
            pruner=pruner,
            budget=budget,
        )
        super().__init__(oracle, hypermodel, **kwargs)


class RandomSearch(SchedulerTuner):
    """Random search without replacement: a shuffled grid, in which ranges without a step are drawn for each trial.

    Args:
        hypermodel, objective, max_trials, seed, grid, pruner, budget, **kwargs: as for `GridSearch`.
        hyperparameters: the whole search space.
        draws: hyperparameter -> function of a seed that draws its value; by default KerasTuner draws those with a
            range without a step.
    """

    def __init__(
        self,
        hypermodel: HyperModel,
        objective: str | keras_tuner.Objective | list | None = None,
        max_trials: int | None = None,
        seed: int | None = None,
        *,
        hyperparameters: keras_tuner.HyperParameters,
        grid: Mapping[str, Sequence[Value]] | None = None,
        draws: Mapping[str, Callable[[int], Value]] | None = None,
        pruner: Pruner | None = None,
        budget: float | None = None,
        **kwargs: Any,
    ) -> None:
        ranges = draws
        if ranges is None:
            ranges = {hp.name: hp.random_sample for hp in hyperparameters.space if hasattr(hp, "min_value")}

        def make_source(oracle: SchedulerOracle) -> TrialSource:
            return RandomSource(oracle.converter.parameters, max_trials, seed=seed or 0, ranges=ranges)

        oracle = SchedulerOracle(
            make_source,
            objective=objective,
            max_trials=max_trials,
            seed=seed,
            hyperparameters=hyperparameters,
            tune_new_entries=False,
            max_consecutive_failed_trials=None,
            graph_key=_get_graph_key(hypermodel),
            grid=grid,
            pruner=pruner,
            budget=budget,
        )
        super().__init__(oracle, hypermodel, **kwargs)


class BayesianOptimization(SchedulerTuner):
    """Bayesian optimization with a Gaussian process, by KerasTuner.

    Args:
        hypermodel, objective, seed, budget, **kwargs: as for `GridSearch`.
        max_trials: number of trials at most.
        hyperparameters: the whole search space.
    """

    def __init__(
        self,
        hypermodel: HyperModel,
        objective: keras_tuner.Objective,
        max_trials: int,
        seed: int | None = None,
        *,
        hyperparameters: keras_tuner.HyperParameters,
        budget: float | None = None,
        **kwargs: Any,
    ) -> None:
        search = make_bayesian_search(objective, max_trials, hyperparameters.copy(), seed or 1)
        oracle = _make_adaptive_oracle(search, max_trials, budget, may_repeat=False)
        super().__init__(oracle, hypermodel, **kwargs)


class Hyperband(SchedulerTuner):
    """Hyperband by KerasTuner, which chooses the numbers of epochs too, as the hyperparameter `tuner/epochs`.

    Args:
        hypermodel, objective, seed, budget, **kwargs: as for `GridSearch`. The hypermodel trains for `tuner/epochs`.
        max_trials: number of trials at most; by default those of one iteration of Hyperband.
        max_epochs: the largest number of epochs of a trial.
        hyperparameters: the whole search space, without the number of epochs.
    """

    def __init__(
        self,
        hypermodel: TrialHyperModel,
        objective: keras_tuner.Objective,
        max_trials: int | None = None,
        max_epochs: int = 100,
        seed: int | None = None,
        *,
        hyperparameters: keras_tuner.HyperParameters,
        budget: float | None = None,
        **kwargs: Any,
    ) -> None:
        search = HyperbandSearch(
            objective=objective, max_epochs=max_epochs, hyperparameters=hyperparameters.copy(), seed=seed or 1
        )
        trials_per_iteration = count_hyperband_trials(search)
        max_trials = max_trials or trials_per_iteration
        search.hyperband_iterations = -(-max_trials // trials_per_iteration)
        oracle = _make_adaptive_oracle(search, max_trials, budget, may_repeat=True)  # a promoted trial repeats values
        super().__init__(oracle, hypermodel, **kwargs)


def _make_adaptive_oracle(
    search: keras_tuner.Oracle, max_trials: int, budget: float | None, *, may_repeat: bool
) -> SchedulerOracle:
    def make_source(oracle: SchedulerOracle) -> TrialSource:
        return AdaptiveSource(search, oracle.converter, max_trials, oracle.state_path, may_repeat=may_repeat)

    return SchedulerOracle(
        make_source,
        objective=search.objective,
        max_trials=max_trials,
        hyperparameters=search.hyperparameters,
        tune_new_entries=False,
        max_consecutive_failed_trials=None,
        budget=budget,
    )


def _get_graph_key(hypermodel: HyperModel | None) -> Callable | None:
    return hypermodel.make_graph_key if isinstance(hypermodel, TrialHyperModel) else None


SEARCHES: dict[str, type[SchedulerTuner]] = {  # by the name that `--tuner` has for them
    "grid": GridSearch,
    "random": RandomSearch,
    "bayesian": BayesianOptimization,
    "hyperband": Hyperband,
}
