"""The figures of a sweep, from its trials alone."""

from pathlib import Path

import numpy as np
from matplotlib.ticker import FuncFormatter

from workbench.console import duration
from workbench.reporting.figures import ORANGE, RED, figure
from workbench.sweep.figures.effects import draw_effects, draw_importance
from workbench.sweep.figures.importance import importance
from workbench.sweep.figures.parallel_coordinates import draw_parallel
from workbench.sweep.figures.style import (
    ACCENT,
    compact,
    dots,
    legend_scale,
    logarithmic,
    running_time,
    save_titled,
    score_axis,
)

_NAMED = 3  # trials of a front up to which each is named


def sweep_figures(trials, folder):
    """Draw every figure of a sweep that its trials allow.

    Args:
        trials: a `workbench.sweep.trials.Trials`.
        folder: where the PNG files go; made if it does not stand.

    Returns:
        Their paths; none before a trial has a score.
    """
    if not trials.scored:
        return []
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    found = importance(trials)
    paths = [
        draw_progress(trials, folder / "sweep_progress.png"),
        draw_parallel(trials, folder / "sweep_parallel.png"),
        draw_importance(trials, found, folder / "sweep_importance.png"),
        draw_effects(trials, found, folder / "sweep_effects.png"),
        draw_pareto(trials, folder / "sweep_pareto.png"),
    ]
    return [path for path in paths if path]


def draw_progress(trials, path):
    """Score against time, with the best so far."""
    ends = running_time([*trials.scored, *trials.failed])
    scored = sorted((trial for trial in trials.scored if trial.id in ends), key=lambda trial: ends[trial.id])
    if not scored:
        return None
    last = max(ends.values())
    unit, name = next((entry for entry in ((3600, "hours"), (60, "minutes")) if last >= 2 * entry[0]), (1, "seconds"))
    better = np.maximum if trials.direction == "max" else np.minimum
    best = better.accumulate([trial.score for trial in scored])
    times = np.array([ends[trial.id] for trial in scored]) / unit
    with figure(8, 4) as (made, axes):
        dots(axes, trials, times, scored)
        axes.step([*times, last / unit], [*best, best[-1]], where="post", color=ORANGE, lw=2, label="best so far")
        failed = [ends[trial.id] / unit for trial in trials.failed if trial.id in ends]
        if failed:
            axes.plot(failed, [0.02] * len(failed), "x", c=RED, transform=axes.get_xaxis_transform(), label="failed")
        axes.set_xlabel(f"{name} of running")
        score_axis(axes, trials)
        made.legend(loc="outside lower center", ncols=4, markerscale=legend_scale(scored))
        winner = trials.scored[0]
        title = f"{trials.text(winner.score)} {trials.metric_name}"
        if winner.id in ends:
            title += f" after {duration(ends[winner.id])}"
        title += f", the best of {len(trials):,} trials in {duration(last)}" if len(trials) > 1 else ", the only trial"
        caption = "Each dot is a trial at the time it ended. Time in which no trial ran is left out."
        return save_titled(made, path, title, caption)


def draw_pareto(trials, path):
    """Score against parameters and against seconds, with the trials that nothing beats in both."""
    costs = {"parameters": "parameters of the network", "seconds": "seconds of the trial"}
    front = []
    with figure(9, 4, ncols=2, sharey=True) as (made, panels):
        for axes, (cost, label) in zip(panels, costs.items(), strict=True):
            have = [trial for trial in trials.scored if trial.results[cost]]
            if not have:
                return None
            dots(axes, trials, [trial.results[cost] for trial in have], have)
            front = front or pareto_front(have, cost)
            _draw_front(axes, pareto_front(have, cost), cost)
            axes.set_xlabel(label)
        score_axis(panels[0], trials)
        entries = panels[0].get_legend_handles_labels()
        made.legend(*entries, loc="outside lower center", ncols=3, markerscale=legend_scale(trials.scored))
        caption = (
            "No trial is better than one on the orange front with as few parameters (left) or seconds (right). "
            "The first trial with a graph also pays for building it; one that continues a shorter one takes less."
        )
        return save_titled(made, path, _pareto_words(trials, front), caption)


def pareto_front(scored, cost):
    """The trials that no other beats in score at no more cost, the cheapest first.

    Args:
        scored: trials, the best first.
        cost: name of a result.
    """
    front = []
    for trial in scored:  # none is better than those before it, so that it has to be cheaper
        if not front or trial.results[cost] < front[-1].results[cost]:
            front.append(trial)
    return front[::-1]


def _draw_front(axes, front, cost):
    places, scores = [trial.results[cost] for trial in front], [trial.score for trial in front]
    axes.plot(places, scores, "o-", color=ORANGE, ms=5, label="Pareto front")
    for trial in front if len(front) <= _NAMED else (front[0], front[-1]):
        place = (trial.results[cost], trial.score)
        axes.annotate(trial.id, place, (4, 5), textcoords="offset points", fontsize=9, color=ACCENT)
    if axes.dataLim.xmax > 3 * axes.dataLim.xmin:
        logarithmic(axes.xaxis)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))


def _pareto_words(trials, front):
    best = front[-1]
    is_share = "accuracy" in trials.metric
    slack, within = (0.01, "one point") if is_share else (0.05 * abs(best.score), "5 %")
    near = next(trial for trial in front if abs(trial.score - best.score) <= slack)
    if near is best:
        return f"No smaller network comes within {within} of the best ({best.results['parameters']:,} parameters)"
    times = best.results["parameters"] / near.results["parameters"]
    return f"{times:.1f} times fewer parameters reach {trials.text(near.score)} instead of {trials.text(best.score)}"
