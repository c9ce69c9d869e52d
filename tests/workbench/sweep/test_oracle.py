import collections
import itertools

import pytest
from keras_tuner.engine.trial import TrialStatus

from cnn_scratch.config import TrainConfig
from cnn_scratch.tune import VARIABLE
from workbench.files import write_json
from workbench.sweep.adaptive import BayesianOracle, HyperbandOracle
from workbench.sweep.oracle import GridOracle, RandomOracle
from workbench.sweep.pruning import MedianPruner
from workbench.sweep.space import read_space

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
    graph_key = kwargs.pop("graph_key", lambda values: values["activation"])
    begin = {name: kwargs.pop(name) for name in ("pruner", "budget") if name in kwargs}
    made = GridOracle(space, graph_key=graph_key, **kwargs)
    made.begin(tmp_path, **begin)
    return made


def finish(oracle, trial, score=0.5, **result):
    """What a worker does at the end of a trial."""
    folder = oracle.trial_dir(trial.trial_id)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "result.json", {"status": "completed", "val_accuracy": score, "val_loss": 1.0, **result})
    oracle.end_trial(trial)


def run(oracle, count=10**6):
    points = []
    while len(points) < count:
        trial = oracle.create_trial("tuner0")
        if trial.status == TrialStatus.STOPPED:
            break
        points.append(str(trial.hyperparameters.values))
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
    rest = run(after)
    assert len({*done, *rest}) == len(done) + len(rest) == 24
    assert after.get_trial(lost.trial_id).hyperparameters.values == lost.hyperparameters.values


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
        finish(made, trial, status="failed", reason="out of memory")
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


def test_a_worker_gets_points_of_the_graph_it_holds(space, tmp_path):
    made = oracle(space, tmp_path)
    graphs = {"worker1": [], "worker2": []}
    for _ in range(12):
        for worker, seen in graphs.items():
            trial = made.create_trial(worker)
            if trial.status == TrialStatus.RUNNING:
                seen.append(trial.hyperparameters.values["activation"])
                finish(made, trial)
    changes = [sum(a != b for a, b in itertools.pairwise(seen)) for seen in graphs.values()]
    assert sum(changes) <= 2
    assert sum(map(len, graphs.values())) == 24


@pytest.mark.parametrize(("usual", "taken"), [(0.1, False), (9.0, True)])
def test_a_worker_traces_anothers_graph_only_where_that_is_sooner_done(space, tmp_path, usual, taken):
    sweep = oracle(space, tmp_path, graph_key=lambda values: "one")
    trial = sweep.create_trial("a")
    finish(sweep, trial, seconds=10.0)
    for _ in range(3):
        finish(sweep, sweep.create_trial("a"), seconds=usual)
    in_hand = sweep.create_trial("a")
    assert (sweep.create_trial("b").status == TrialStatus.RUNNING) == taken
    if not taken:  # but nobody waits for a worker that is gone
        finish(sweep, in_hand, seconds=usual)
        assert sweep.create_trial("b").status == TrialStatus.RUNNING


def test_no_worker_runs_far_ahead_of_the_order(space, tmp_path):
    made = oracle(space, tmp_path, graph_key=str)
    made.WINDOW = 4
    for done in range(24):
        trial = made.create_trial("worker1")
        assert int(trial.trial_id) < done + 4
        finish(made, trial)


def test_others_wait_while_a_trial_could_still_come_back(space, tmp_path):
    made = oracle(space, tmp_path, max_trials=1)
    trial = made.create_trial("worker1")
    assert made.create_trial("worker2").status == TrialStatus.IDLE
    assert not made.complete()
    finish(made, trial)
    assert made.create_trial("worker2").status == TrialStatus.STOPPED
    assert made.complete()


def test_a_trial_that_kills_its_workers_fails(space, tmp_path):
    made = oracle(space, tmp_path)
    for attempt in range(3):
        made.worker_started("worker1")
        trial = made.create_trial("worker1")
        assert trial.trial_id == "00", attempt
        made.worker_died("worker1", "signal SIGKILL")
        made.worker_died("worker1", "signal SIGKILL")
        made.worker_started("worker1")
        made.worker_died("worker1", "signal SIGKILL")  # before it had asked for a trial: not the trial's fault
        if made.get_trial("00").status == TrialStatus.FAILED:
            break
    assert "its worker died 3 times, at last with signal SIGKILL" in made.get_trial("00").message
    assert made.create_trial("worker1").trial_id != "00"


def test_the_trial_of_a_silent_worker_elsewhere_is_given_to_another(space, tmp_path, monkeypatch):
    made = oracle(space, tmp_path)
    lost = made.create_trial("far")
    made.release_silent_workers()
    assert made.create_trial("near").trial_id != lost.trial_id
    monkeypatch.setattr("workbench.sweep.oracle.REMOTE_SILENCE", -1)
    made.worker_started("near")
    made.release_silent_workers()
    assert made.create_trial("other").trial_id == lost.trial_id
    finish(made, lost)
    finish(made, lost)  # the silent one comes back too late
    assert len(made.finished_trials()) == 1


def test_the_budget_ends_the_sweep_before_a_trial_that_would_not_fit(space, tmp_path):
    made = oracle(space, tmp_path, budget=1000)
    finish(made, made.create_trial("worker1"), seconds=500)
    assert made.create_trial("worker1").status == TrialStatus.RUNNING
    finish(made, made.create_trial("worker1"), seconds=1500)
    assert made.create_trial("worker1").status == TrialStatus.STOPPED
    assert made.complete()
    assert oracle(space, tmp_path).create_trial("worker1").status == TrialStatus.RUNNING


def test_a_pruned_trial_is_told_to_stop(space, tmp_path):
    made = oracle(space, tmp_path, pruner=MedianPruner("max", max_epochs=5))
    for number in range(6):
        trial = made.create_trial("worker1")
        assert made.update_trial(trial.trial_id, {"val_accuracy": 0.5}, step=1).status == TrialStatus.RUNNING
        finish(made, trial, 0.5 + number / 100, history=[{"epoch": 1, "val_accuracy": 0.5}])
    again = oracle(space, tmp_path, pruner=MedianPruner("max", max_epochs=5))  # it remembers after a restart
    bad = again.create_trial("worker1")
    assert again.update_trial(bad.trial_id, {"val_accuracy": 0.1}, step=1).status == TrialStatus.STOPPED


def test_random_draws_ranges_anew_and_never_repeats_lists(tmp_path):
    (tmp_path / "space.yaml").write_text(
        "parameters: {learning_rate: {min: 0.0001, max: 0.1, distribution: log_uniform_values}, "
        "activation: {values: [relu, gelu]}}"
    )
    space = read_space(tmp_path / "space.yaml", TrainConfig, VARIABLE)
    drawn = [RandomOracle(space, 50, seed=0).point(number) for number in range(50)]
    assert len({point["learning_rate"] for point in drawn}) == 50
    assert all(0.0001 <= point["learning_rate"] <= 0.1 for point in drawn)
    assert RandomOracle(space, 50, seed=0).point(7) == drawn[7]


@pytest.mark.parametrize("make", [lambda space: BayesianOracle(space, 12), lambda space: HyperbandOracle(space, 12, 9)])
def test_adaptive_searches_go_on_after_an_interruption(space, tmp_path, make):
    before = make(space)
    before.begin(tmp_path)
    for number in range(5):
        finish(before, before.create_trial("worker1"), number / 10)
    lost = before.create_trial("worker1")
    after = make(space)
    after.begin(tmp_path)
    again = after.create_trial("worker2")
    assert again.trial_id == lost.trial_id
    assert again.hyperparameters.values == lost.hyperparameters.values
    finish(after, again, 0.9)
    while (trial := after.create_trial("worker2")).status == TrialStatus.RUNNING:
        finish(after, trial, 0.3)
    assert after.complete()
    ids = [trial.trial_id for trial in after.finished_trials()]
    assert len(ids) == len(set(ids)) == 12
