"""KerasTuner's Bayesian optimization and Hyperband on top of the scheduler."""

import collections
import sys

import keras_tuner
import pytest
from keras_tuner.engine.trial import TrialStatus

from tests.processes import run
from workbench.files import write_json
from workbench.sweep.hypermodel import TrialHyperModel
from workbench.sweep.tuners import BayesianOptimization, Hyperband

OBJECTIVE = keras_tuner.Objective("val_accuracy", "max")


def make_hyperparameters():
    hyperparameters = keras_tuner.HyperParameters()
    hyperparameters.Choice("activation", ["mish", "gelu", "relu"])
    hyperparameters.Choice("learning_rate", [0.1, 0.01])
    hyperparameters.Choice("filter_size", ["[3]", "[2]"])
    hyperparameters.Boolean("batch_norm")
    return hyperparameters


def make_bayesian(folder):
    options = {"hyperparameters": make_hyperparameters(), "directory": folder}
    return BayesianOptimization(TrialHyperModel(), OBJECTIVE, 14, **options).oracle


def make_hyperband(folder):
    options = {"hyperparameters": make_hyperparameters(), "directory": folder}
    return Hyperband(TrialHyperModel(), OBJECTIVE, 12, 9, **options).oracle


def finish(oracle, trial, score):
    folder = oracle.scheduler.files.get_folder(trial.trial_id)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "result.json", {"status": "completed", "val_accuracy": score, "val_loss": 1.0})
    oracle.end_trial(trial)


@pytest.mark.parametrize(("make", "total"), [(make_bayesian, 14), (make_hyperband, 12)])
def test_adaptive_searches_resume_after_an_interruption(tmp_path, make, total):
    before = make(tmp_path)
    for number in range(5):
        finish(before, before.create_trial("worker1"), number / 10)
    lost = [before.create_trial(worker) for worker in ("worker1", "worker2")]
    after = make(tmp_path)
    for trial in lost:
        again = after.create_trial("worker2")
        assert again.trial_id == trial.trial_id
        assert again.hyperparameters.values == trial.hyperparameters.values
        finish(after, again, 0.9)
    while (trial := after.create_trial("worker2")).status == TrialStatus.RUNNING:
        finish(after, trial, 0.3)
    assert after.scheduler.is_complete()
    trials = after.scheduler.list_finished()
    ids = [trial.id for trial in trials]
    assert len(ids) == len(set(ids)) == total
    if make is make_bayesian:
        assert len({str(trial.values) for trial in trials}) == total
    else:
        assert {trial.values["tuner/epochs"] for trial in trials} >= {1, 3}


def test_the_result_of_a_trial_that_two_workers_have_run_never_changes(tmp_path):
    """A worker whose machine had vanished was given up, and its trial was given to another one; then both end."""
    oracle = make_bayesian(tmp_path)
    files = oracle.scheduler.files
    trial = oracle.create_trial("slow")
    oracle.scheduler.on_worker_ended("slow")
    assert oracle.create_trial("fast").trial_id == trial.trial_id
    slow, fast = (files.open_attempt(trial.trial_id, worker) for worker in ("slow", "fast"))

    def end(folder, score):
        (folder / "weights.npz").write_text(f"of {score}")
        write_json(folder / "result.json", {"status": "completed", "val_accuracy": score, "val_loss": 1.0})
        oracle.end_trial(trial)
        return {path.name: path.read_text() for path in files.get_folder(trial.trial_id).iterdir() if path.is_file()}

    (slow / "weights.npz").write_text("half written")
    recorded = end(fast, 0.4)
    assert recorded["weights.npz"] == "of 0.4"
    assert end(slow, 0.9) == recorded
    assert sorted(recorded) == ["result.json", "trial.json", "weights.npz"]
    files.open_attempt(trial.trial_id, "killed")
    (loaded,) = make_bayesian(tmp_path).scheduler.list_finished()
    assert (loaded.score, loaded.result["val_accuracy"]) == (0.4, 0.4)
    assert {path.name for path in files.get_folder(trial.trial_id).iterdir()} == {*recorded}


def test_a_search_waits_for_trials_that_decide_on_the_next_ones(tmp_path):
    oracle = make_hyperband(tmp_path)
    trials = []
    for number in range(50):
        trial = oracle.create_trial(f"worker{number}")
        if trial.status != TrialStatus.RUNNING:
            break
        trials.append(trial)
    assert trial.status == TrialStatus.IDLE or len(trials) == 12
    assert not oracle.scheduler.is_complete()


def test_hyperband_hands_out_longer_trials_while_a_shorter_one_still_runs(tmp_path):
    oracle = make_hyperband(tmp_path)
    slow = oracle.create_trial("slow").hyperparameters.values
    later = []
    while (trial := oracle.create_trial("fast")).status == TrialStatus.RUNNING:
        later.append(trial.hyperparameters.values)
        finish(oracle, trial, len(later) / 100)
    assert (slow["tuner/round"], slow["tuner/epochs"]) == (0, 1)
    assert {(values["tuner/bracket"], values["tuner/round"]) for values in later} >= {(slow["tuner/bracket"], 1)}


def run_trials(oracle):
    """Run trials in a worker until it is stopped, and return their numbers of epochs in order."""
    epochs = []
    while (trial := oracle.create_trial("worker")).status == TrialStatus.RUNNING:
        epochs.append(trial.hyperparameters.values["tuner/epochs"])
        finish(oracle, trial, len(epochs) / 100)
    return epochs


@pytest.mark.parametrize("stopped", [0, 3, 20, 28])
def test_hyperband_promotes_the_best_trials_of_a_space_that_cannot_fill_a_bracket(tmp_path, stopped):
    def make():
        return Hyperband(
            TrialHyperModel(), OBJECTIVE, None, 81, hyperparameters=make_hyperparameters(), directory=tmp_path
        ).oracle

    before = make()
    for number in range(stopped):
        finish(before, before.create_trial("worker"), number / 1000)
    oracle = make()
    run_trials(oracle)
    assert oracle.scheduler.is_complete()
    trials = oracle.scheduler.list_finished()
    count = collections.Counter(trial.values["tuner/epochs"] for trial in trials)
    points = count[1]
    assert 12 < points <= 24
    assert count == {1: points, 3: -(-points // 3), 9: -(-points // 9), 27: 1, 81: 1}
    best = max((trial for trial in trials if trial.values["tuner/epochs"] == 1), key=lambda trial: trial.score)
    assert best.id in {trial.values.get("tuner/trial_id") for trial in trials}


@pytest.mark.parametrize("seed", range(8))
def test_a_search_that_has_stopped_a_worker_is_complete(tmp_path, seed):
    options = {"hyperparameters": make_hyperparameters(), "directory": tmp_path, "seed": seed}
    oracle = Hyperband(TrialHyperModel(), OBJECTIVE, None, 81, **options).oracle
    run_trials(oracle)
    assert all(oracle.scheduler.is_complete() for _ in range(50))


def test_bayesian_optimization_works_in_a_command_which_imports_keras_tuner_without_scikit_learn():
    code = """
from workbench.runtime import load_tensorflow
load_tensorflow(with_keras_tuner=True)
import keras_tuner
from workbench.sweep.keras_tuner_adapter.adaptive import make_bayesian_search
hyperparameters = keras_tuner.HyperParameters()
hyperparameters.Float("rate", 0, 1)
search = make_bayesian_search(keras_tuner.Objective("score", "max"), 9, hyperparameters, 1)
search.gpr.fit([[0.1], [0.9]], [0, 1])
print(float(search.gpr.predict([[0.9]])[0]) > 0.5)
"""
    assert run([sys.executable, "-c", code], check=True).stdout == "True\n"
