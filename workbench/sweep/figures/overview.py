"""All figures of a sweep, and the one of its scores over time."""

from pathlib import Path

import numpy as np

from workbench.console import format_duration
from workbench.reporting.figures import ORANGE, RED, open_figure, save_figure
from workbench.sweep.figures.effects import draw_effects, draw_importance
from workbench.sweep.figures.importance import Importance
from workbench.sweep.figures.parallel_coordinates import draw_parallel
from workbench.sweep.figures.pareto import draw_pareto
from workbench.sweep.figures.style import (
    choose_legend_scale,
    draw_dots,
    format_score_axis,
    get_scores,
)
from workbench.sweep.results import SweepResults, measure_running_time

_UNITS = ((3600, "hours"), (60, "minutes"), (1, "seconds"))


def draw_figures(results: SweepResults, importance: Importance | None, folder: Path) -> list[Path]:
    """Draw all figures of a sweep for which there are enough trials.

    Args:
        results: the finished trials.
        importance: of the hyperparameters; None if there are too few trials.
        folder: folder of the PNG files, created if it is missing.

    Returns:
        Paths of the figures; none if no trial has a score.
    """
    if not results.scored:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    paths = [
        draw_progress(results, folder / "sweep_progress.png"),
        draw_parallel(results, folder / "sweep_parallel.png"),
        draw_importance(results, importance, folder / "sweep_importance.png"),
        draw_effects(results, importance, folder / "sweep_effects.png"),
        draw_pareto(results, folder / "sweep_pareto.png"),
    ]
    return [path for path in paths if path]


def draw_progress(results: SweepResults, path: Path) -> Path | None:
    """Draw the scores over time, with the best one so far; None if the times of the trials are not known."""
    ends = measure_running_time(results.trials)
    trials = sorted((trial for trial in results.scored if trial.id in ends), key=lambda trial: ends[trial.id])
    if not trials:
        return None
    last = max(ends.values())
    unit, unit_name = next((entry for entry in _UNITS if last >= 2 * entry[0]), _UNITS[-1])
    better = np.maximum if results.direction == "max" else np.minimum
    best = better.accumulate(get_scores(trials))
    times = np.array([ends[trial.id] for trial in trials]) / unit
    with open_figure(7, 3.8) as (drawing, axes):
        draw_dots(axes, results, times, trials)
        axes.step([*times, last / unit], [*best, best[-1]], where="post", color=ORANGE, lw=2, label="best so far")
        failed = [ends[trial.id] / unit for trial in results.failed if trial.id in ends]
        if failed:
            axes.plot(failed, [0.02] * len(failed), "x", c=RED, transform=axes.get_xaxis_transform(), label="failed")
        axes.set_xlabel(f"{unit_name} of running")
        format_score_axis(axes, results)
        drawing.legend(loc="outside lower center", ncols=4, markerscale=choose_legend_scale(trials))
        caption = "Each dot is a trial at the time when it ended. Time in which no trial ran is left out."
        return save_figure(drawing, path, _describe_progress(results, ends), caption)


def _describe_progress(results: SweepResults, ends: dict[str, float]) -> str:
    """Return a sentence about the best trial and the time it took to find it.

    Args:
        results: the sweep, with at least one score.
        ends: trial id -> seconds of running after which the trial ended.
    """
    winner = results.scored[0]
    title = f"{results.format_score(get_scores([winner])[0])} {results.metric_name}"
    if winner.id in ends:
        title += f" after {format_duration(ends[winner.id])}"
    if len(results) == 1:
        return f"{title}, the only trial"
    return f"{title}, the best of {len(results):,} trials in {format_duration(max(ends.values()))}"
