import dataclasses
import functools
import json

import numpy as np
import pytest
from PIL import Image

from tests.workbench.synthetic import PARAMETERS, POINTS, write_sweep
from workbench.errors import UserError
from workbench.reporting.figures import words
from workbench.sweep.figures.importance import importance
from workbench.sweep.figures.overview import pareto_front, sweep_figures
from workbench.sweep.figures.scales import Scale
from workbench.sweep.figures.style import running_time, shown_scores
from workbench.sweep.trials import read_trials

ALL = ["sweep_effects", "sweep_importance", "sweep_parallel", "sweep_pareto", "sweep_progress"]


@pytest.fixture
def make_sweep(tmp_path):
    return functools.partial(write_sweep, tmp_path)


def test_trials_are_read_as_the_space_has_them(make_sweep):
    folder = make_sweep(40, failed=0.1, pruned=0.2)
    trials = read_trials(folder)
    assert len(trials) == 40
    assert trials.points == POINTS
    assert [trial.score for trial in trials.scored] == sorted((t.score for t in trials.scored), reverse=True)
    assert {trial.status for trial in trials.failed} == {"failed"}
    assert {trial.status for trial in trials.scored} == {"completed", "pruned"}
    for trial in trials.scored:
        assert all(trial.values[name] in PARAMETERS[name] for name in PARAMETERS)
        assert isinstance(trial.values["filter_size"], list)
        assert isinstance(trial.values["batch_norm"], bool)
    assert all("out of memory" in trial.reason for trial in trials.failed)


def test_a_lower_loss_is_better(make_sweep):
    trials = read_trials(make_sweep(30, metric="val_loss"))
    assert [trial.score for trial in trials.scored] == sorted(trial.score for trial in trials.scored)


def test_a_row_that_is_being_written_waits(make_sweep):
    folder = make_sweep(3)
    with open(folder / "trials.csv", "a") as file:
        file.write("0003,completed,0.5")
    assert len(read_trials(folder)) == 3


def test_a_foreign_description_is_told(make_sweep):
    folder = make_sweep(1)
    (folder / "sweep.json").write_text(json.dumps({"parameters": [1, 2]}))
    with pytest.raises(UserError, match=r"sweep\.json: not the description of a sweep"):
        read_trials(folder)


def test_every_figure_has_its_words(make_sweep, tmp_path):
    paths = sweep_figures(read_trials(make_sweep(40, failed=0.1, pruned=0.2)), tmp_path / "figures")
    assert sorted(path.stem for path in paths) == ALL
    for path in paths:
        title, caption = words(path)
        assert title
        assert caption.endswith(".")
        assert Image.open(path).width > 500
    titles = {path.stem: words(path)[0] for path in paths}
    assert titles["sweep_importance"].startswith("learning_rate matters most")
    assert titles["sweep_effects"].startswith("learning_rate 0.001 is best: a median of 7")
    assert titles["sweep_parallel"] == "All of the best 3 trials have activation gelu"


@pytest.mark.parametrize(("count", "metric", "drawn"), [(1, "val_loss", 2), (2, "val_accuracy", 4), (4, "val_loss", 4)])
def test_few_trials(make_sweep, tmp_path, count, metric, drawn):
    paths = sweep_figures(read_trials(make_sweep(count, metric)), tmp_path / "figures")
    assert len(paths) == drawn
    assert "sweep_importance" not in {path.stem for path in paths}


def test_no_trial_with_a_score(make_sweep, tmp_path):
    assert sweep_figures(read_trials(make_sweep(5, failed=1.0)), tmp_path / "figures") == []
    assert sweep_figures(read_trials(make_sweep(0)), tmp_path / "figures") == []


def test_importance_finds_what_matters(make_sweep):
    found = importance(read_trials(make_sweep(400)))
    assert list(found.shares)[:2] == ["learning_rate", "activation"]
    assert found.clear[0] == "learning_rate"
    # The planted variance: three learning rates and one activation of four.
    planted = np.var([0.3, 0.15, 0.0]), np.var([0.04, 0, 0, 0]), 0.01**2
    assert found.shares["learning_rate"] == pytest.approx(planted[0] / sum(planted), abs=0.08)
    assert "dropout" not in found.clear


def test_importance_of_chance_is_no_finding(make_sweep, tmp_path):
    trials = read_trials(make_sweep(24, noise=3.0))
    assert importance(trials).clear == []
    paths = sweep_figures(trials, tmp_path / "figures")
    title, caption = words(next(path for path in paths if path.stem == "sweep_importance"))
    assert title == "24 trials do not tell yet which hyperparameters matter"
    assert "too few" in caption


def test_a_diverged_loss_neither_stretches_the_scale_nor_hides_what_matters(make_sweep):
    trials = read_trials(make_sweep(60, metric="val_loss"))
    diverged = dataclasses.replace(trials.scored[-1], score=1e6)
    trials = dataclasses.replace(trials, scored=[*trials.scored[:-1], diverged])
    assert shown_scores(trials, trials.scored).max() < 1
    assert importance(trials).clear[0] == "learning_rate"


@pytest.mark.parametrize("metric", ["val_accuracy", "val_loss"])
def test_nothing_beats_a_trial_on_the_front(make_sweep, metric):
    trials = read_trials(make_sweep(80, metric))
    sign = 1 if metric == "val_accuracy" else -1

    def beats(one, other):
        at_least = sign * one.score >= sign * other.score and one.results["seconds"] <= other.results["seconds"]
        return at_least and (one.score != other.score or one.results["seconds"] != other.results["seconds"])

    expected = {t.id for t in trials.scored if not any(beats(other, t) for other in trials.scored)}
    front = pareto_front(trials.scored, "seconds")
    assert {trial.id for trial in front} == expected
    assert [trial.results["seconds"] for trial in front] == sorted(trial.results["seconds"] for trial in front)


def test_time_between_two_calls_of_a_sweep_is_left_out(make_sweep):
    trials = read_trials(make_sweep(3))
    spans = [(100.0, 110.0), (104.0, 120.0), (9000.0, 9005.0)]
    moved = [
        dataclasses.replace(trial, results={**trial.results, "started": start, "ended": end})
        for trial, (start, end) in zip(trials.scored, spans, strict=True)
    ]
    assert list(running_time(moved).values()) == [10, 20, 25]


def test_places_of_values():
    assert Scale([0.005, 0.001, 0.0001], [0.001, 0.0001, 0.005]).ticks == [(0, "0.0001"), (0.5, "0.001"), (1, "0.005")]
    assert Scale(["mish", "gelu"], ["gelu", "mish"]).ticks == [(0, "mish"), (1, "gelu")]
    assert Scale([True, False], [False]).ticks == [(0.5, "False")]
    lists = Scale([[3] * 5, [5, 3, 3, 3, 3]], [[3] * 5, [5, 3, 3, 3, 3]])
    assert [label for _, label in lists.ticks] == ["3", "5-3-3-3-3"]
    assert lists([5, 3, 3, 3, 3]) == 1


def test_many_numbers_are_a_range():
    rates = list(np.geomspace(1e-4, 1e-1, 31))
    scale = Scale(rates[:10], rates)
    assert scale.steps is None
    assert scale(rates[15]) == pytest.approx(0.5)
    linear = Scale([0.0], list(np.linspace(0, 0.5, 30)))
    assert linear(0.25) == pytest.approx(0.5)
