"""The scheduler of trials, without KerasTuner."""

import collections
import itertools
from pathlib import Path

import pytest

from workbench.files import write_json
from workbench.sweep.scheduling.grid import GridSource, RandomSource
from workbench.sweep.scheduling.pruning import MedianPruner
from workbench.sweep.scheduling.scheduler import NoTrial, Scheduler
from workbench.sweep.scheduling.trial import Parameter, Trial
from workbench.sweep.scheduling.trial_files import TrialFiles

PARAMETERS = (
    Parameter("epochs", (1, 2)),
    Parameter("activation", ("mish", "gelu", "relu")),
    Parameter("learning_rate", (0.1, 0.01)),
    Parameter("filter_size", ("[3]", "[2]")),
)


def make(folder, source=None, *, max_trials=None, order="shuffled", seed=0, **options):
    options.setdefault("graph_key", lambda values: values["activation"])
    source = source or GridSource(PARAMETERS, max_trials, order=order, seed=seed)
    return Scheduler(source, TrialFiles(folder), metric="val_accuracy", direction="max", **options)


def finish(scheduler, trial, score=0.5, *, discovered=(), values=None, may_retry=False, **result):
    """What a worker does at the end of a trial."""
    folder = scheduler.files.get_folder(trial.id)
    folder.mkdir(parents=True, exist_ok=True)
    result = {"status": "completed", "val_accuracy": score, "val_loss": 1.0, **result}
    write_json(folder / "result.json", result)
    scheduler.finish(trial.id, result, discovered=discovered, values=values, may_retry=may_retry)


def run(scheduler, count=10**6):
    """Run trials and return the values of each as text."""
    points = []
    while len(points) < count and isinstance(trial := scheduler.next_trial("worker"), Trial):
        points.append(str(trial.values))
        finish(scheduler, trial)
    return points


def take_points(source, count):
    """Take the next trials of a source, and return the values of each."""
    points = []
    for _ in range(count):
        trial = source.upcoming()[0]
        source.take(trial)
        points.append(trial.values)
    return points


@pytest.mark.parametrize("order", ["shuffled", "lexicographic"])
def test_every_point_exactly_once(tmp_path, order):
    points = run(make(tmp_path, order=order))
    assert len(points) == len(set(points)) == 24


def test_lexicographic_order_changes_the_last_parameter_fastest():
    points = take_points(GridSource(PARAMETERS, order="lexicographic"), 24)
    assert list(points[0].values()) == [1, "mish", 0.1, "[3]"]
    assert list(points[1].values()) == [1, "mish", 0.1, "[2]"]
    assert list(points[23].values()) == [2, "relu", 0.01, "[2]"]


def test_a_prefix_of_the_shuffled_order_is_a_fair_sample():
    counts = collections.Counter()
    for seed in range(200):
        counts.update(point["activation"] for point in take_points(GridSource(PARAMETERS, seed=seed), 6))
    assert all(320 < counts[name] < 480 for name in ("mish", "gelu", "relu"))
    assert take_points(GridSource(PARAMETERS, seed=1), 6) == take_points(GridSource(PARAMETERS, seed=1), 6)


def test_an_interrupted_sweep_resumes(tmp_path):
    before = make(tmp_path)
    done = run(before, 7)
    lost = before.next_trial("worker")
    after = make(tmp_path)
    rest = run(after)
    assert len({*done, *rest}) == len(done) + len(rest) == 24
    assert after.trials[lost.id].values == lost.values


def test_more_trials_later(tmp_path):
    first = run(make(tmp_path, max_trials=5))
    second = run(make(tmp_path, max_trials=9))
    assert len(first) == 5
    assert len(second) == 4
    assert not {*first} & {*second}
    assert make(tmp_path, max_trials=100).source.count_trials() == 24


def test_a_trial_whose_file_is_torn_runs_again(tmp_path):
    run(make(tmp_path, max_trials=3))
    torn = sorted(tmp_path.glob("trial_*"))[1] / "trial.json"
    torn.write_text(torn.read_text()[:40])
    after = make(tmp_path, max_trials=3)
    assert after.next_trial("worker").id == torn.parent.name.removeprefix("trial_")


def test_a_folder_with_trials_of_another_space_is_refused(tmp_path):
    run(make(tmp_path, max_trials=3))
    with pytest.raises(ValueError, match=r"trial 0\d has activation = "):
        make(tmp_path, GridSource([Parameter("activation", ("tanh", "elu", "selu"))] * 1 + list(PARAMETERS[2:])))
    assert len(list(tmp_path.glob("trial_*"))) == 3


def test_failures_do_not_end_the_sweep(tmp_path):
    scheduler = make(tmp_path)
    for _ in range(10):
        finish(scheduler, scheduler.next_trial("worker"), status="failed", reason="out of memory")
    assert isinstance(scheduler.next_trial("worker"), Trial)
    again = make(tmp_path)
    assert [trial.reason for trial in again.list_finished()] == ["out of memory"] * 10


def test_consecutive_failures_end_the_sweep_where_that_is_asked_for(tmp_path):
    scheduler = make(tmp_path, max_consecutive_failures=3)
    for status in ("failed", "failed", "completed", "failed", "failed", "failed"):
        assert not scheduler.error
        finish(scheduler, scheduler.next_trial("worker"), status=status, reason="no memory")
    assert scheduler.error == "3 trials in a row have failed, the last one with: no memory"
    assert scheduler.next_trial("worker") is NoTrial.STOP
    assert scheduler.is_complete()
    assert isinstance(make(tmp_path, max_consecutive_failures=3).next_trial("worker"), Trial)


def test_a_failed_trial_is_run_again_as_often_as_asked(tmp_path):
    scheduler = make(tmp_path, max_retries=2)
    first = scheduler.next_trial("worker")
    for _ in range(2):
        finish(scheduler, first, status="failed", may_retry=True)
        assert scheduler.next_trial("worker").id == first.id
    finish(scheduler, first, status="failed", may_retry=True)
    assert scheduler.trials[first.id].status == "failed"
    other = scheduler.next_trial("worker")
    finish(scheduler, other, status="failed")
    assert scheduler.trials[other.id].status == "failed"


def test_a_score_that_is_no_number_is_a_failure(tmp_path):
    scheduler = make(tmp_path)
    trial = scheduler.next_trial("worker")
    finish(scheduler, trial, float("nan"))
    assert scheduler.trials[trial.id].status == "failed"
    assert scheduler.trials[trial.id].reason == "val_accuracy is nan"


def test_a_restarted_worker_gets_its_trial_back(tmp_path):
    scheduler = make(tmp_path)
    first = scheduler.next_trial("worker1")
    assert scheduler.next_trial("worker2").id != first.id
    assert scheduler.next_trial("worker1") is first


def test_a_worker_gets_points_of_the_graph_it_holds(tmp_path):
    scheduler = make(tmp_path)
    graphs = {"worker1": [], "worker2": []}
    for _ in range(12):
        for worker, seen in graphs.items():
            trial = scheduler.next_trial(worker)
            if isinstance(trial, Trial):
                seen.append(trial.values["activation"])
                finish(scheduler, trial)
    changes = [sum(a != b for a, b in itertools.pairwise(seen)) for seen in graphs.values()]
    assert sum(changes) <= 2
    assert sum(map(len, graphs.values())) == 24


@pytest.mark.parametrize(("usual", "taken"), [(0.1, False), (9.0, True)])
def test_a_worker_traces_a_graph_that_another_holds_only_where_that_saves_time(tmp_path, usual, taken):
    scheduler = make(tmp_path, graph_key=lambda values: "one")
    finish(scheduler, scheduler.next_trial("a"), seconds=10.0)
    for _ in range(3):
        finish(scheduler, scheduler.next_trial("a"), seconds=usual)
    running = scheduler.next_trial("a")
    assert isinstance(scheduler.next_trial("b"), Trial) == taken
    if not taken:  # but nobody waits for a worker that is gone
        finish(scheduler, running, seconds=usual)
        assert isinstance(scheduler.next_trial("b"), Trial)


def test_no_worker_runs_far_ahead_of_the_order(tmp_path):
    parameters = [Parameter("activation", ("mish", "relu")), Parameter("seed", tuple(range(300)))]
    scheduler = make(tmp_path, GridSource(parameters, order="lexicographic"))
    slow = scheduler.next_trial("slow")
    places = [int(scheduler.next_trial(f"worker{number}").id) for number in range(200)]
    assert slow.id == "000"
    assert max(places) - min(places) < 264
    fast = [trial for trial in (scheduler.next_trial("fast") for _ in range(1)) if isinstance(trial, Trial)]
    assert fast


def test_the_last_trials_are_waited_for(tmp_path):
    scheduler = make(tmp_path, max_trials=1)
    trial = scheduler.next_trial("worker1")
    assert scheduler.next_trial("worker2") is NoTrial.WAIT
    assert not scheduler.is_complete()
    finish(scheduler, trial)
    assert scheduler.next_trial("worker2") is NoTrial.STOP
    assert scheduler.is_complete()


def test_a_trial_that_kills_its_workers_fails(tmp_path):
    scheduler = make(tmp_path)
    for attempt in range(3):
        trial = scheduler.next_trial("worker1")
        assert trial.id == "00", attempt
        scheduler.on_worker_died("worker1", "signal SIGKILL")
        scheduler.on_worker_died("worker1", "signal SIGKILL")  # it had not asked for a trial: not the trial's fault
    assert "its worker died 3 times, the last time with signal SIGKILL" in scheduler.trials["00"].reason
    assert scheduler.next_trial("worker1").id != "00"


def test_the_trial_of_a_worker_that_is_gone_is_given_to_another(tmp_path):
    scheduler = make(tmp_path)
    for number in range(10):  # machines that are switched off are not the trial's fault
        lost = scheduler.next_trial(f"far{number}")
        assert lost.id == "00"
        scheduler.on_worker_ended(f"far{number}")
    assert not scheduler.is_complete()
    assert scheduler.next_trial("near") is lost
    finish(scheduler, lost)
    assert [trial.id for trial in scheduler.list_finished()] == ["00"]


def test_the_budget_ends_the_sweep_before_a_trial_that_would_not_fit(tmp_path):
    scheduler = make(tmp_path, budget=1000)
    finish(scheduler, scheduler.next_trial("worker1"), seconds=500)
    assert isinstance(scheduler.next_trial("worker1"), Trial)
    finish(scheduler, scheduler.next_trial("worker1"), seconds=1500)
    assert scheduler.next_trial("worker1") is NoTrial.STOP
    assert scheduler.is_complete()
    assert isinstance(make(tmp_path).next_trial("worker1"), Trial)


def test_a_pruned_trial_is_stopped(tmp_path):
    scheduler = make(tmp_path, pruner=MedianPruner("max", max_epochs=5))
    for number in range(6):
        trial = scheduler.next_trial("worker1")
        assert not scheduler.report(trial.id, {"val_accuracy": 0.5}, step=1)
        finish(scheduler, trial, 0.5 + number / 100, history=[{"epoch": 1, "val_accuracy": 0.5}])
    again = make(tmp_path, pruner=MedianPruner("max", max_epochs=5))  # it remembers after a restart
    bad = again.next_trial("worker1")
    assert again.report(bad.id, {"val_accuracy": 0.1}, step=1)


def test_random_search_draws_from_ranges_and_never_repeats_lists():
    parameters = [Parameter("learning_rate", tuple(0.1**power for power in range(10))), PARAMETERS[1]]

    def source():
        return RandomSource(parameters, 50, seed=0, ranges={"learning_rate": lambda seed: (seed % 9973) / 9973})

    drawn = take_points(source(), 50)
    assert len({point["learning_rate"] for point in drawn}) == 50
    assert take_points(source(), 50) == drawn
    lists = take_points(RandomSource(PARAMETERS, seed=0), 24)
    assert len({str(point) for point in lists}) == 24


CONDITIONAL = (
    Parameter("model", ("mlp", "cnn")),
    Parameter("units", (8, 16), (("model", ("mlp",)),)),
    Parameter("filters", (4, 8, 16), (("model", ("cnn",)),)),
    Parameter("dropout", (0.0, 0.5)),
)


@pytest.mark.parametrize("order", ["shuffled", "lexicographic"])
def test_conditional_hyperparameters_have_values_only_where_they_apply(tmp_path, order):
    source = GridSource(CONDITIONAL, order=order)
    assert source.count_trials() == (2 + 3) * 2
    points = run(make(tmp_path, source, graph_key=None))
    assert len(set(points)) == 10
    assert sum("filters" in point for point in points) == 6
    assert not any("filters" in point and "units" in point for point in points)


@pytest.mark.parametrize("order", ["shuffled", "lexicographic"])
@pytest.mark.parametrize("stop_after", [0, 1, 3, 7])
def test_hyperparameters_that_trials_discover_are_searched_too(tmp_path, order, stop_after):
    """`bool` is known; a trial with it discovers `a`, one with a = 2 discovers `b`. Also in an interrupted sweep."""
    a, b = Parameter("a", (1, 2, 3)), Parameter("b", (7, 8))
    files = []

    def make_it():
        source = GridSource([Parameter("bool", (False, True))], order=order, discovers=True)
        decode = dict(files)

        class Files(TrialFiles):
            def load(self):
                trials = super().load()
                for trial in trials:
                    trial.discovered = decode.get(trial.id, ())
                return trials

        return Scheduler(source, Files(tmp_path), metric="val_accuracy", direction="max")

    def run_all(scheduler, count):
        points = []
        while len(points) < count and isinstance(trial := scheduler.next_trial("worker"), Trial):
            values, discovered = dict(trial.values), []
            for parameter, wanted in ((a, trial.values["bool"]), (b, values.get("a", 1) == 2)):
                if wanted and parameter not in trial.parameters:
                    values[parameter.name] = parameter.values[0]
                    discovered.append(parameter)
            points.append(str({name: values[name] for name in sorted(values)}))
            files.append((trial.id, discovered))
            finish(scheduler, trial, discovered=discovered, values=values)
        return points

    points = run_all(make_it(), stop_after)
    points += run_all(make_it(), 100)
    assert len(points) == len(set(points)) == 1 + 2 + 2  # False; a = 1, 3; a = 2 with b = 7, 8


def test_a_large_grid_is_never_listed(tmp_path):
    parameters = [Parameter(f"p{number}", tuple(range(100))) for number in range(12)]
    for order in ("shuffled", "lexicographic"):
        scheduler = make(tmp_path / order, GridSource(parameters, 5, order=order), graph_key=None)
        assert len(set(run(scheduler))) == 5
    assert Path(tmp_path / "shuffled").exists()


def test_a_trial_that_cannot_be_recorded_is_not_lost(tmp_path, monkeypatch):
    scheduler = make(tmp_path, max_trials=1)
    trial = scheduler.next_trial("worker")
    with monkeypatch.context() as patch:
        patch.setattr(scheduler.files, "save", lambda *_: write_json(tmp_path / "missing" / "trial.json", {}))
        with pytest.raises(FileNotFoundError):
            finish(scheduler, trial)
    assert not scheduler.is_complete()
    assert (trial.is_finished, trial.score, scheduler.list_finished()) == (False, None, [])
    assert run(scheduler) == [str(trial.values)]
    assert scheduler.is_complete()
