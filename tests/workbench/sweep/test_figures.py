import dataclasses
import functools
import json

import numpy as np
import pytest
from PIL import Image

from tests.workbench.synthetic import PARAMETERS, POINTS, write_sweep
from workbench.errors import UserError
from workbench.reporting.figure_metadata import read_words
from workbench.sweep.figures.effects import draw_importance
from workbench.sweep.figures.importance import Importance, estimate_importance
from workbench.sweep.figures.overview import draw_figures
from workbench.sweep.figures.pareto import find_pareto_front
from workbench.sweep.figures.scales import Scale
from workbench.sweep.figures.style import clip_scores
from workbench.sweep.results import measure_running_time, read_results

ALL = ["sweep_effects", "sweep_importance", "sweep_parallel", "sweep_pareto", "sweep_progress"]


def draw(results, folder):
    return draw_figures(results, estimate_importance(results), folder)


@pytest.fixture
def make_sweep(tmp_path):
    return functools.partial(write_sweep, tmp_path)


@pytest.fixture(scope="module")
def read_sweep(tmp_path_factory):
    """Function of `write_sweep`'s arguments that returns the results of that sweep, written once for all tests."""

    @functools.cache
    def read(count, metric="val_accuracy", **shares):
        return read_results(write_sweep(tmp_path_factory.mktemp("sweep"), count, metric, **shares))

    return read


def test_trials_are_read_with_the_values_of_the_space(read_sweep):
    results = read_sweep(40, failed=0.1, pruned=0.2)
    assert len(results) == 40
    assert results.num_points == POINTS
    assert [trial.score for trial in results.scored] == sorted((t.score for t in results.scored), reverse=True)
    assert {trial.status for trial in results.failed} == {"failed"}
    assert {trial.status for trial in results.scored} == {"completed", "pruned"}
    for trial in results.scored:
        assert all(trial.values[name] in PARAMETERS[name] for name in PARAMETERS)
        assert isinstance(trial.values["filter_size"], list)
        assert isinstance(trial.values["batch_norm"], bool)
    assert all("out of memory" in trial.reason for trial in results.failed)


def test_a_lower_loss_is_better(read_sweep):
    results = read_sweep(60, "val_loss")
    assert [trial.score for trial in results.scored] == sorted(trial.score for trial in results.scored)


def test_an_incomplete_row_is_left_out(make_sweep):
    folder = make_sweep(3)
    with open(folder / "trials.csv", "a") as file:
        file.write("0003,completed,0.5")
    assert len(read_results(folder)) == 3


def test_a_sweep_description_of_another_format_is_an_error(make_sweep):
    folder = make_sweep(1)
    (folder / "sweep.json").write_text(json.dumps({"parameters": [1, 2]}))
    with pytest.raises(UserError, match=r"sweep\.json: not the description of a sweep"):
        read_results(folder)


def test_every_figure_has_a_title_and_a_caption(read_sweep, tmp_path):
    paths = draw(read_sweep(40, failed=0.1, pruned=0.2), tmp_path)
    assert sorted(path.stem for path in paths) == ALL
    for path in paths:
        title, caption = read_words(path)
        assert title
        assert caption.endswith(".")
        assert Image.open(path).width > 500
    titles = {path.stem: read_words(path)[0] for path in paths}
    assert titles["sweep_importance"].startswith("learning_rate matters most")
    assert titles["sweep_effects"].startswith("learning_rate 0.001 is best: a median of 7")
    assert titles["sweep_parallel"] == "All of the best 3 trials have activation gelu"


@pytest.mark.parametrize(("count", "metric", "drawn"), [(1, "val_loss", 2), (2, "val_accuracy", 4), (4, "val_loss", 4)])
def test_few_trials(read_sweep, tmp_path, count, metric, drawn):
    paths = draw(read_sweep(count, metric), tmp_path)
    assert len(paths) == drawn
    assert "sweep_importance" not in {path.stem for path in paths}


def test_no_trial_with_a_score(read_sweep, tmp_path):
    assert draw(read_sweep(5, failed=1.0), tmp_path) == []
    assert draw(read_sweep(0), tmp_path) == []


def test_importance_finds_what_matters(read_sweep):
    found = estimate_importance(read_sweep(400))
    assert list(found.shares)[:2] == ["learning_rate", "activation"]
    assert found.clear[0] == "learning_rate"
    # The planted variance: three learning rates and one activation of four.
    planted = np.var([0.3, 0.15, 0.0]), np.var([0.04, 0, 0, 0]), 0.01**2
    assert found.shares["learning_rate"] == pytest.approx(planted[0] / sum(planted), abs=0.08)
    assert "dropout" not in found.clear


def test_an_uncertain_hyperparameter_is_not_left_out_of_the_ranking():
    spreads = {"learning_rate": 0.5, "dropout": 0.01}
    assert Importance({"learning_rate": 0.4, "dropout": 0.1}, spreads, 0.8, 14).clear == []


def test_importance_by_chance_is_not_reported(read_sweep, tmp_path):
    results = read_sweep(24, noise=3.0)
    importance = estimate_importance(results)
    assert importance.clear == []
    title, caption = read_words(draw_importance(results, importance, tmp_path / "sweep_importance.png"))
    assert title == "24 trials do not show yet which hyperparameters matter"
    assert "too few" in caption


def test_a_diverged_loss_neither_stretches_the_scale_nor_hides_what_matters(read_sweep):
    results = read_sweep(60, "val_loss")
    diverged = dataclasses.replace(results.scored[-1], score=1e6)
    results = dataclasses.replace(results, scored=[*results.scored[:-1], diverged])
    assert clip_scores(results, results.scored).max() < 1
    assert estimate_importance(results).clear[0] == "learning_rate"


@pytest.mark.parametrize("metric", ["val_accuracy", "val_loss"])
def test_nothing_beats_a_trial_on_the_front(read_sweep, metric):
    trials = read_sweep(60, metric).scored
    sign = 1 if metric == "val_accuracy" else -1

    def beats(one, other):
        at_least = sign * one.score >= sign * other.score and one.seconds <= other.seconds
        return at_least and (one.score != other.score or one.seconds != other.seconds)

    expected = {trial.id for trial in trials if not any(beats(other, trial) for other in trials)}
    front = find_pareto_front(trials, "seconds")
    assert {trial.id for trial in front} == expected
    assert [trial.seconds for trial in front] == sorted(trial.seconds for trial in front)


def test_time_between_two_calls_of_a_sweep_is_left_out(read_sweep):
    spans = [(100.0, 110.0), (104.0, 120.0), (9000.0, 9005.0)]
    trials = [
        dataclasses.replace(trial, started=start, ended=end)
        for trial, (start, end) in zip(read_sweep(3).scored, spans, strict=True)
    ]
    assert list(measure_running_time(trials).values()) == [10, 20, 25]


def test_positions_of_values():
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
