"""GridSearch as a drop-in for keras_tuner.GridSearch, and what it adds."""

import itertools
import json
import re
import sys

import keras
import keras_tuner
import numpy as np
import pytest
from keras_tuner.engine.trial import TrialStatus

from tests.processes import run
from workbench.sweep import GridSearch

X = np.linspace(0, 1, 8, dtype="float32").reshape(8, 1)
Y = (X[:, 0] > 0.5).astype("float32")
DATA = {"x": X, "y": Y, "validation_data": (X, Y), "verbose": 0}


def build(hp):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(hp.Choice("units", [1, 2])), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(hp.Choice("learning_rate", [0.1, 0.01])), "mse", run_eagerly=True)
    return model


def build_conditional(hp):
    """A model with a hyperparameter that each kind of it has alone."""
    kind = hp.Choice("kind", ["linear", "deep"])
    model = keras.Sequential([keras.Input((1,))])
    with hp.conditional_scope("kind", ["deep"]):
        if kind == "deep":
            model.add(keras.layers.Dense(hp.Int("width", 1, 3)))
    with hp.conditional_scope("kind", ["linear"]):
        if kind == "linear":
            model.add(keras.layers.Dense(1, use_bias=hp.Boolean("bias")))
    model.add(keras.layers.Dense(1))
    model.compile("sgd", "mse", run_eagerly=True)
    return model


class Counted(GridSearch):
    """Runs a function of the hyperparameters in place of training, and counts its calls."""

    def __init__(self, score, folder, **kwargs):
        self.score, self.seen = score, []
        super().__init__(directory=folder, project_name="p", **kwargs)

    def run_trial(self, trial, *args, **kwargs):
        score = self.score(trial.hyperparameters)
        self.seen.append(dict(trial.hyperparameters.values))
        return score


def count(points):
    return len({json.dumps(point, sort_keys=True) for point in points})


@pytest.mark.parametrize("order", ["lexicographic", "shuffled"])
def test_the_whole_space_is_searched_where_run_trial_defines_it(tmp_path, order):
    def score(hp):
        hp.Fixed("loss", "mse")
        return hp.Choice("a", [2, 4]) + hp.Choice("b", [1, 3, 5]) * hp.Boolean("c", default=True)

    tuner = Counted(score, tmp_path, order=order)
    tuner.search()
    assert len(tuner.oracle.trials) == len(tuner.seen) == count(tuner.seen) == 12
    assert {hp.name for hp in tuner.oracle.get_space().space} == {"a", "b", "c", "loss"}
    wanted = [
        {"a": a, "b": b, "c": c, "loss": "mse"} for a, b, c in itertools.product([2, 4], [1, 3, 5], [True, False])
    ]
    best = tuner.oracle.get_best_trials(12)
    assert all(values in [trial.hyperparameters.values for trial in best] for values in wanted)
    assert [trial.score for trial in best] == sorted(trial.score for trial in best)
    assert best[0].hyperparameters.values == {"a": 2, "b": 1, "c": False, "loss": "mse"} or best[0].score == 2


def test_ranges_without_a_step_have_ten_values_and_the_default(tmp_path):
    tuner = Counted(lambda hp: hp.Int("int", 1, 5) + hp.Float("float", 1, 2), tmp_path)
    tuner.search()
    assert len(tuner.oracle.trials) == 5 * (10 + 1)


def test_a_grid_of_its_own_values(tmp_path):
    hyperparameters = keras_tuner.HyperParameters()
    hyperparameters.Float("rate", 1e-4, 1e-1, sampling="log")
    rates = [1e-4, 1e-3, 1e-2]
    tuner = Counted(lambda hp: hp.get("rate"), tmp_path, hyperparameters=hyperparameters, grid={"rate": rates})
    tuner.search()
    assert [point["rate"] for point in tuner.seen] == rates


def test_the_defaults_come_first_and_the_last_hyperparameter_changes_fastest(tmp_path):
    tuner = Counted(lambda hp: hp.Choice("a", [1, 2, 3], default=2) + hp.Boolean("b"), tmp_path)
    tuner.search()
    points = [(point["a"], point["b"]) for point in tuner.seen]
    assert points == [(2, False), (2, True), (1, False), (1, True), (3, False), (3, True)]


@pytest.mark.parametrize("order", ["lexicographic", "shuffled"])
def test_hyperparameters_that_depend_on_others_by_an_if(tmp_path, order):
    def score(hp):
        return hp.Choice("x", [0, 1, 2]) if hp.Boolean("bool") else 10 + hp.Choice("y", [3, 4, 5])

    tuner = Counted(score, tmp_path, order=order)
    tuner.search(verbose=0)
    assert len(tuner.oracle.trials) == count(tuner.seen) == 3 + 3 * 3


class FitHyperModel(keras_tuner.HyperModel):
    """Asks for further hyperparameters in `fit`, also conditional ones."""

    def build(self, hp):
        if hp.Boolean("bool"):
            with hp.conditional_scope("bool", [True]):
                hp.Choice("x", [1, 2])
        else:
            with hp.conditional_scope("bool", [False]):
                hp.Choice("y", [3, 4])
        return keras.Sequential()

    def fit(self, hp, model, *args, **kwargs):
        more = hp.Boolean("more")
        with hp.conditional_scope("more", [True]):
            z = hp.Choice("z", [1, 2]) if more else 0
        return float(z or 0)


@pytest.mark.parametrize("order", ["lexicographic", "shuffled"])
def test_hyperparameters_in_fit(tmp_path, order):
    tuner = GridSearch(FitHyperModel(), directory=tmp_path, order=order)
    tuner.search(verbose=0)
    assert len(tuner.oracle.trials) == 4 * 3
    assert count(trial.hyperparameters.values for trial in tuner.oracle.trials.values()) == 12


def test_a_worker_waits_while_running_trials_may_discover_hyperparameters(tmp_path):
    class HyperModel(keras_tuner.HyperModel):
        def build(self, hp):
            hp.Boolean("bool")
            return keras.Sequential()

    tuner = GridSearch(HyperModel(), directory=tmp_path)
    oracle = tuner.oracle

    def end(trial):
        trial.hyperparameters.Boolean("later")
        oracle.update_trial(trial.trial_id, {oracle.objective.name: 1.0})
        trial.status = TrialStatus.COMPLETED
        oracle.end_trial(trial)

    first, second = oracle.create_trial("1"), oracle.create_trial("2")
    assert first.status == second.status == TrialStatus.RUNNING
    assert oracle.create_trial("3").status == TrialStatus.IDLE
    end(first)
    third = oracle.create_trial("3")
    assert third.hyperparameters.values == {**first.hyperparameters.values, "later": True}
    assert oracle.create_trial("4").status == TrialStatus.IDLE
    end(second)
    fourth = oracle.create_trial("4")
    assert fourth.status == TrialStatus.RUNNING
    assert oracle.create_trial("5").status == TrialStatus.IDLE
    end(third)
    end(fourth)
    assert oracle.create_trial("5").status == TrialStatus.STOPPED
    assert oracle.get_best_trials()[0].score == 1.0


def test_new_entries_can_be_left_at_their_defaults_or_refused(tmp_path):
    hyperparameters = keras_tuner.HyperParameters()
    hyperparameters.Choice("units", [1, 2])
    tuner = GridSearch(
        build, "val_loss", hyperparameters=hyperparameters, tune_new_entries=False, directory=tmp_path, project_name="a"
    )
    tuner.search(**DATA, epochs=1)
    assert tuner.get_best_hyperparameters()[0].values.keys() == {"units", "learning_rate"}
    assert len(tuner.oracle.trials) == 2
    with pytest.raises(RuntimeError, match="allow_new_entries"):
        GridSearch(build, "val_loss", hyperparameters=hyperparameters, allow_new_entries=False, directory=tmp_path)


def test_the_models_hyperparameters_and_summaries_of_a_search(tmp_path, capsys):
    tuner = GridSearch(build_conditional, "val_loss", directory=tmp_path, project_name="p", executions_per_trial=2)
    tuner.search_space_summary()
    assert "width (Int)" in capsys.readouterr().out
    tuner.search(**DATA, epochs=2, callbacks=[keras.callbacks.EarlyStopping(patience=1)])
    assert len(tuner.oracle.trials) == 2 + 3
    best = tuner.get_best_hyperparameters()[0]
    assert best.values["kind"] in ("linear", "deep")
    assert ("width" in best.values) == (best.values["kind"] == "deep")
    (model,) = tuner.get_best_models()
    score = tuner.oracle.get_best_trials()[0].score
    assert model.evaluate(X, Y, verbose=0) <= score + 1e-5  # the best epoch of both executions; the score is their mean
    tuner.results_summary(2)
    shown = capsys.readouterr().out
    assert shown.count("Score: ") == 2
    assert f"Score: {score}" in shown
    assert tuner.remaining_trials is None
    again = GridSearch(build_conditional, "val_loss", directory=tmp_path, project_name="p")
    assert again.get_best_hyperparameters()[0].values == best.values


def test_several_objectives_are_added(tmp_path):
    objective = ["val_loss", keras_tuner.Objective("score", "max")]
    tuner = Counted(
        lambda hp: {"val_loss": 1.0, "score": hp.Choice("a", [1.0, 3.0]), "multi_objective": 1 - hp.get("a")},
        tmp_path,
        objective=objective,
    )
    tuner.search(verbose=0)
    assert [trial.score for trial in tuner.oracle.get_best_trials(2)] == [-2.0, 0.0]


def test_failed_trials_are_retried_and_too_many_end_the_search(tmp_path):
    def score(hp):
        hp.Choice("a", [1, 2, 3, 4, 5])
        if hp.get("a") > 2:
            raise MemoryError("no memory left")
        return float("nan") if hp.get("a") == 2 else 1.0

    tuner = Counted(score, tmp_path, max_retries_per_trial=1, max_consecutive_failed_trials=3)
    with pytest.raises(RuntimeError, match="no memory left"):
        tuner.search(verbose=0)
    assert len([point for point in tuner.seen if point["a"] == 2]) == 2
    statuses = [trial.status for _, trial in sorted(tuner.oracle.trials.items())]
    assert statuses == [TrialStatus.COMPLETED] + [TrialStatus.FAILED] * 3
    again = Counted(score, tmp_path, max_consecutive_failed_trials=3)  # the next call does the others
    again.search(verbose=0)
    assert len(again.oracle.trials) == 5


def test_a_hypermodel_that_cannot_be_used_ends_the_search(tmp_path):
    def return_nothing(hp):
        hp.Choice("a", [1, 2])

    tuner = Counted(return_nothing, tmp_path)
    with pytest.raises(TypeError, match="None"):
        tuner.search(verbose=0)


@pytest.mark.parametrize("order", ["lexicographic", "shuffled"])
@pytest.mark.parametrize("stop_after", [1, 4, 9])
def test_a_killed_search_resumes_with_each_point_once(tmp_path, order, stop_after):
    class Killed(BaseException):
        pass

    seen = []

    def score(hp):
        if len(seen) == stop_after:
            raise Killed
        value = hp.Choice("x", [0, 1, 2]) if hp.Boolean("bool") else hp.Choice("y", [3, 4, 5])
        seen.append(dict(hp.values))
        return value

    tuner = Counted(score, tmp_path, order=order)
    with pytest.raises(Killed):
        tuner.search(verbose=0)
    stop_after = 100
    tuner = Counted(score, tmp_path, order=order)
    tuner.search(verbose=0)
    assert len(seen) == count(seen) == len(tuner.oracle.trials) == 12
    tuner = Counted(score, tmp_path, order=order)
    tuner.search(verbose=0)
    assert len(seen) == 12
    tuner = Counted(score, tmp_path, order=order, overwrite=True)
    tuner.search(verbose=0)
    assert len(seen) == 24


def test_a_shuffled_prefix_can_be_extended(tmp_path):
    def score(hp):
        return hp.Choice("a", list(range(10))) + hp.Choice("b", list(range(10)))

    hyperparameters = keras_tuner.HyperParameters()
    score(hyperparameters)
    options = {"hyperparameters": hyperparameters, "order": "shuffled", "seed": 3}
    first, second = Counted(score, tmp_path, **options, max_trials=20), None
    first.search(verbose=0)
    assert len({point["a"] for point in first.seen}) > 5
    second = Counted(score, tmp_path, **options, max_trials=30)
    assert second.remaining_trials == 10
    second.search(verbose=0)
    assert len(second.seen) == 10
    assert count([*first.seen, *second.seen]) == 30


def test_another_search_space_in_the_folder_is_refused(tmp_path):
    Counted(lambda hp: hp.Choice("a", [1, 2]), tmp_path).search(verbose=0)
    hyperparameters = keras_tuner.HyperParameters()
    hyperparameters.Choice("b", [1, 2, 3])
    with pytest.raises(ValueError, match="has b = None, not 1"):
        Counted(lambda hp: 1.0, tmp_path, hyperparameters=hyperparameters)
    assert len(list(tmp_path.glob("p/trial_*"))) == 2


def test_kerastuner_reads_the_project(tmp_path):
    tuner = GridSearch(build, "val_loss", directory=tmp_path, project_name="p")
    tuner.search(**DATA, epochs=1)
    theirs = keras_tuner.RandomSearch(build, "val_loss", max_trials=4, directory=tmp_path, project_name="p")
    assert theirs.get_best_hyperparameters()[0].values == tuner.get_best_hyperparameters()[0].values
    assert theirs.oracle.get_best_trials()[0].score == tuner.oracle.get_best_trials()[0].score
    theirs.results_summary()
    assert theirs.get_best_models()[0].count_params() == tuner.get_best_models()[0].count_params()


def test_workers_give_what_one_process_gives(tmp_path, forked_workers):
    """Also with hyperparameters that a worker discovers, and numbers that the protocol rounds to 32 bits."""
    options = {"objective": "val_loss", "directory": tmp_path}
    tuner = GridSearch(SeededHyperModel(), **options, project_name="workers", workers=2)
    tuner.search(**DATA, epochs=1)
    alone = GridSearch(SeededHyperModel(), **options, project_name="alone")
    alone.search(**DATA, epochs=1)
    results = [
        sorted(
            (json.dumps(trial.hyperparameters.values, sort_keys=True), trial.score)
            for trial in each.oracle.trials.values()
        )
        for each in (tuner, alone)
    ]
    assert len(results[0]) == 6
    assert [values for values, _ in results[0]] == [values for values, _ in results[1]]
    assert [score for _, score in results[0]] == pytest.approx([score for _, score in results[1]], rel=1e-4)
    assert tuner.get_best_models()[0].count_params() == alone.get_best_models()[0].count_params()


class SeededHyperModel(keras_tuner.HyperModel):
    def build(self, hp):
        keras.utils.set_random_seed(1)
        return build(hp)

    def fit(self, hp, model, *args, **kwargs):
        batch_size = hp.Choice("batch_size", [2, 4]) if hp.get("learning_rate") == 0.1 else 8
        return model.fit(*args, batch_size=batch_size, **kwargs)


SCRIPT = """
import sys
from workbench.sweep import GridSearch

def build(hp):
    import keras
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(hp.Choice("units", [1, 2, 3]))])
    model.compile("sgd", "mse", run_eagerly=True)
    return model

if __name__ == "__main__":
    import numpy as np
    x = np.ones((8, 1))
    tuner = GridSearch(build, "val_loss", workers=1, directory="sweeps", project_name="s")
    tuner.search(x, x, validation_data=(x, x), epochs=1, verbose=0)
    print(len(tuner.oracle.trials), "trials")
"""


def test_a_script_with_workers(workdir):
    (workdir / "script.py").write_text(SCRIPT)
    done = run([sys.executable, str(workdir / "script.py")])
    assert re.search("^3 trials$", done.stdout, re.M), done.stderr
