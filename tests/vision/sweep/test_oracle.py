import collections

import pytest
from keras_tuner.engine.trial import TrialStatus

from cnn_scratch.train import TrainConfig
from cnn_scratch.tune import VARIABLE
from vision.sweep.oracle import GridOracle
from vision.sweep.space import decode, read_space

SPACE = """
parameters:
  epochs: {values: [1, 2]}
  activation: {values: [mish, gelu, relu]}
  learning_rate: {values: [0.1, 0.01]}
  filter_size: {values: [[3, 3, 3, 3, 3], [2, 2, 2, 2, 2]]}
"""


@pytest.fixture
def space(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return read_space(path, TrainConfig, VARIABLE)


def oracle(space, tmp_path, **kwargs):
    made = GridOracle(space, **kwargs)
    made._set_project_dir(str(tmp_path), "tuner")
    made.reload()
    return made


def finish(oracle, trial, score=0.5):
    oracle.update_trial(trial.trial_id, {"val_accuracy": score})
    trial.status = TrialStatus.COMPLETED
    oracle.end_trial(trial)


def run(oracle, count=10**6):
    points = []
    while len(points) < count:
        trial = oracle.create_trial("tuner0")
        if trial.status == TrialStatus.STOPPED:
            break
        points.append(str(decode(trial.hyperparameters.values)))
        finish(oracle, trial)
    return points


@pytest.mark.parametrize("order", ["shuffled", "lexicographic"])
def test_every_point_exactly_once(space, tmp_path, order):
    points = run(oracle(space, tmp_path, order=order))
    assert len(points) == len(set(points)) == 24


def test_lexicographic_order_turns_the_last_parameter_fastest(space, tmp_path):
    made = oracle(space, tmp_path, order="lexicographic")
    first, second = made.point(0), made.point(1)
    assert list(first.values()) == [1, "mish", 0.1, [3] * 5]
    assert list(second.values()) == [1, "mish", 0.1, [2] * 5]


def test_a_prefix_of_the_shuffled_order_is_a_fair_sample(space, tmp_path):
    counts = collections.Counter()
    for seed in range(200):
        made = oracle(space, tmp_path, seed=seed)
        counts.update(made.point(number)["activation"] for number in range(6))
    assert all(320 < counts[name] < 480 for name in ("mish", "gelu", "relu"))
    assert oracle(space, tmp_path, seed=1).point(0) == oracle(space, tmp_path, seed=1).point(0)


def test_an_interrupted_sweep_goes_on_where_it_was(space, tmp_path):
    before = oracle(space, tmp_path)
    done = run(before, 7)
    lost = before.create_trial("tuner0")
    after = oracle(space, tmp_path)
    again = after.create_trial("tuner1")
    assert again.trial_id == lost.trial_id
    assert again.hyperparameters.values == lost.hyperparameters.values
    finish(after, again)
    rest = run(after)
    assert len({*done, *rest, str(decode(again.hyperparameters.values))}) == 24
    assert len(done) + len(rest) + 1 == 24


def test_more_trials_later(space, tmp_path):
    first = run(oracle(space, tmp_path, max_trials=5))
    second = run(oracle(space, tmp_path, max_trials=9))
    assert len(first) == 5
    assert len(second) == 4
    assert not {*first} & {*second}
    assert len(oracle(space, tmp_path, max_trials=100)) == 24


def test_a_torn_trial_file_is_done_again(space, tmp_path):
    run(oracle(space, tmp_path, max_trials=3))
    torn = sorted((tmp_path / "tuner").glob("trial_*"))[1] / "trial.json"
    torn.write_text(torn.read_text()[:40])
    after = oracle(space, tmp_path, max_trials=3)
    assert after.create_trial("tuner0").trial_id == torn.parent.name.removeprefix("trial_")


def test_failures_do_not_end_the_sweep(space, tmp_path):
    made = oracle(space, tmp_path)
    for _ in range(10):
        trial = made.create_trial("tuner0")
        trial.status, trial.message = TrialStatus.FAILED, "out of memory"
        made.end_trial(trial)
    assert made.create_trial("tuner0").status == TrialStatus.RUNNING
    again = oracle(space, tmp_path)
    assert [trial.message for trial in again.finished_trials()] == ["out of memory"] * 10


def test_a_score_that_is_no_number_is_a_failure(space, tmp_path):
    made = oracle(space, tmp_path)
    trial = made.create_trial("tuner0")
    finish(made, trial, float("nan"))
    assert made.get_trial(trial.trial_id).status == TrialStatus.FAILED


def test_a_restarted_worker_gets_its_trial_back(space, tmp_path):
    made = oracle(space, tmp_path)
    first = made.create_trial("worker1")
    assert made.create_trial("worker2").trial_id != first.trial_id
    assert made.create_trial("worker1") is first
