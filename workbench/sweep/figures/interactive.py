"""The interactive charts of a sweep: parallel coordinates, scores against time and parameters, importance."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from workbench.console import format_duration
from workbench.reporting.charts import Chart, escape, make_axis, make_figure
from workbench.reporting.figures import BLUE, GREY, ORANGE, RED
from workbench.sweep.figures.importance import Importance
from workbench.sweep.figures.pareto import find_pareto_front
from workbench.sweep.figures.scales import Scale, make_scales
from workbench.sweep.figures.style import FEW, clip_scores, find_limits, get_scores
from workbench.sweep.results import SweepResults, TrialResult, format_value, measure_running_time
from workbench.wording import format_count

_MOST, _BEST = 2000, 100  # trials of a chart: more hide one another; the best ones are always among them
_SPREAD = 0.03  # of the lines through one value, so that they do not cover one another
_SCALE = "Cividis"


def build_charts(results: SweepResults, importance: Importance | None = None) -> list[Chart]:
    """Build the charts for which there are enough trials.

    Args:
        results: the finished trials.
        importance: of the hyperparameters, if it was estimated.
    """
    charts = [
        _build_parallel(results),
        _build_progress(results),
        _build_parameters(results),
        _build_importance(importance),
    ]
    return [chart for chart in charts if chart]


def _build_parallel(results: SweepResults) -> Chart | None:
    """Build parallel coordinates; None for fewer than two trials."""
    if len(results.scored) < 2 or not results.parameters:
        return None
    trials = _sample(results)[::-1]  # the best are drawn last, on top
    scales = make_scales(results.parameters, [trial.values for trial in results.scored])
    rng = np.random.default_rng(0)
    dimensions = [_make_dimension(name, scale, trials, rng) for name, scale in scales.items()]
    scores, (low, high) = clip_scores(results, trials), find_limits(results)
    score_axis = {"label": escape(results.metric_name), "values": _round(scores), "tickformat": _choose_format(results)}
    line = {
        "color": _round(scores),
        "colorscale": _SCALE,
        "reversescale": results.direction == "max",
        "cmin": low,
        "cmax": high,
    }
    trace = {
        "type": "parcoords",
        "dimensions": [*dimensions, score_axis],
        "line": line,
        "labelangle": -12,
        "labelside": "top",
        "unselected": {"line": {"opacity": 0.08}},
    }
    caption = (
        "Each line is a trial; dark lines are the best. Drag along an axis to keep only the trials that pass there, "
        "click on the axis to undo it, and drag an axis by its name to move it."
    )
    caption += _describe_sample(results)
    figure = make_figure([trace], margin={"l": 70, "r": 70, "t": 70, "b": 30})
    return Chart("parallel", "Which settings lead to which score", caption, figure, is_wide=True)


def _sample(results: SweepResults) -> list[TrialResult]:
    """Return the trials with a score, the best first; of very many, the best ones and some of the others."""
    step = max(1, -(-len(results.scored) // _MOST))
    return [*results.scored[:_BEST], *results.scored[_BEST::step]]


def _describe_sample(results: SweepResults) -> str:
    """Return a sentence on the trials that are left out; empty if all are shown."""
    step = -(-len(results.scored) // _MOST)
    return f" The chart shows the {_BEST} best trials and one in {step} of the others." if step > 1 else ""


def _make_dimension(name: str, scale: Scale, trials: Sequence[TrialResult], rng: np.random.Generator) -> dict[str, Any]:
    """Return an axis of parallel coordinates, from 0 to 1 with the labels of the values."""
    positions = np.array([scale(trial.values[name]) for trial in trials])
    if scale.steps is not None:
        positions = positions + rng.uniform(-_SPREAD, _SPREAD, len(positions))
    return {
        "label": escape(name),
        "values": _round(positions),
        "range": [-0.06, 1.06],
        "tickvals": [position for position, _ in scale.ticks],
        "ticktext": [escape(label) for _, label in scale.ticks],
    }


def _build_progress(results: SweepResults) -> Chart | None:
    """Build the scores over the time at which trials ended; None if no time is known."""
    ends = measure_running_time(results.trials)
    trials = sorted((trial for trial in results.scored if trial.id in ends), key=lambda trial: ends[trial.id])
    if not trials:
        return None
    best = list[TrialResult]()  # each is better than all that ended before it
    for trial in trials:
        if not best or results.is_better(trial, best[-1]):
            best.append(trial)
    shown = [trial for trial in _sample(results) if trial.id in ends]
    step = {
        "type": "scatter",
        "mode": "lines",
        "name": "best so far",
        "x": _round([*(ends[trial.id] / 60 for trial in best), max(ends.values()) / 60]),
        "y": _round([*get_scores(best), *get_scores(best[-1:])]),
        "line": {"shape": "hv", "color": ORANGE, "width": 2},
        "hoverinfo": "skip",
    }
    failed = [trial for trial in results.failed if trial.id in ends]
    data = [*_make_dots(results, [ends[trial.id] / 60 for trial in shown], shown), step]
    if failed:
        reasons = [escape(trial.reason[:80]) for trial in failed]
        marks = _make_marks([ends[trial.id] / 60 for trial in failed], reasons, failed)
        lowest = [find_limits(results)[0]] * len(failed)
        data.append({**marks, "y": lowest, "name": "failed", "marker": {"symbol": "x", "color": RED, "size": 8}})
    figure = make_figure(
        data, xaxis=make_axis("minutes of running", rangemode="tozero"), yaxis=_make_score_axis(results)
    )
    caption = "Each dot is a trial at the time when it ended. Point at one to see it."
    title = f"The best score after {format_duration(max(ends.values()))} of running"
    return Chart("progress", title, f"{caption}{_describe_sample(results)}", figure)


def _build_parameters(results: SweepResults) -> Chart | None:
    """Build the scores against the number of parameters, with the Pareto front; None if no number is known."""
    trials = [trial for trial in _sample(results) if trial.parameters]
    if not trials:
        return None
    sizes = [trial.parameters or 0 for trial in trials]
    front = find_pareto_front([trial for trial in results.scored if trial.parameters], "parameters")
    line = {
        "type": "scatter",
        "mode": "lines",
        "name": "Pareto front",
        "x": [trial.parameters for trial in front],
        "y": _round(get_scores(front)),
        "line": {"color": ORANGE, "width": 2},
        "hoverinfo": "skip",
    }
    kind = {"type": "log"} if max(sizes) > 3 * min(sizes) else {}
    figure = make_figure(
        [*_make_dots(results, sizes, trials), line],
        xaxis=make_axis("parameters of the network", **kind),
        yaxis=_make_score_axis(results),
    )
    caption = "No other trial is better than those on the orange line with as few parameters."
    caption += _describe_sample(results)
    return Chart("parameters", "The score and the size of the network", caption, figure)


def _build_importance(importance: Importance | None) -> Chart | None:
    if importance is None:
        return None
    names = list(importance.shares)[::-1]
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": _round([importance.shares[name] for name in names]),
        "y": [escape(name) for name in names],
        "error_x": {"type": "data", "array": _round([importance.spreads[name] for name in names]), "color": GREY},
        "marker": {"color": BLUE},
        "hovertemplate": "%{y}: %{x:.0%}<extra></extra>",
    }
    axis = make_axis("share of the differences", tickformat=".0%", rangemode="tozero")
    figure = make_figure([bars], xaxis=axis, yaxis={"automargin": True}, showlegend=False)
    clear = importance.clear
    title = f"{clear[0]} matters most" if clear else "No hyperparameter clearly matters"
    caption = (
        f"Estimated by a random forest on {format_count(importance.num_trials, 'trial')}; it explains "
        f"{max(0.0, importance.explained):.0%} of the differences. Grey: the spread of the estimate."
    )
    return Chart("importance", title, caption, figure)


def _make_dots(results: SweepResults, x: Sequence[float], trials: Sequence[TrialResult]) -> list[dict[str, Any]]:
    """Return the traces of dots: full for completed trials, hollow for pruned ones."""
    y, traces = clip_scores(results, trials), []
    for status, marker in (
        ("completed", {"color": BLUE, "size": 8 if len(trials) < FEW else 5, "opacity": 0.8}),
        ("pruned", {"color": GREY, "size": 8, "symbol": "circle-open"}),
    ):
        rows = [row for row, trial in enumerate(trials) if trial.status == status]
        if rows:
            texts = [_describe(results, trials[row]) for row in rows]
            marks = _make_marks([x[row] for row in rows], texts, [trials[row] for row in rows])
            traces.append({**marks, "y": _round(y[rows]), "name": status, "marker": marker})
    return traces


def _make_marks(x: Sequence[float], texts: Sequence[str], trials: Sequence[TrialResult]) -> dict[str, Any]:
    """Return the keys of a trace of dots that name their trials; the texts are escaped."""
    return {
        "type": "scatter",
        "mode": "markers",
        "x": _round(x),
        "text": [f"<b>trial {escape(trial.id)}</b><br>{text}" for trial, text in zip(trials, texts, strict=True)],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _describe(results: SweepResults, trial: TrialResult) -> str:
    """Return the score and the settings of a trial, escaped, in short lines."""
    assert trial.score is not None
    lines = [f"{results.format_score(trial.score)} {results.metric_name}"]
    values = [f"{name} {format_value(value)}" for name, value in trial.values.items()]
    lines += [", ".join(values[first : first + 3]) for first in range(0, len(values), 3)]
    return "<br>".join(map(escape, lines))


def _make_score_axis(results: SweepResults) -> dict[str, Any]:
    return make_axis(results.metric_name, tickformat=_choose_format(results))


def _choose_format(results: SweepResults) -> str:
    """Return the number format of scores: accuracies in per cent."""
    return ".0%" if "accuracy" in results.metric else ".4~g"


def _round(values: Sequence[float] | np.ndarray) -> list[float]:
    """Return numbers with the digits that can be seen, which keeps the page small."""
    return [float(f"{value:.5g}") for value in np.asarray(values, float)]
