"""The Pareto front: the trials that no other one beats in both score and cost."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from workbench.reporting.figures import ORANGE, open_figure, save_figure
from workbench.sweep.figures.style import (
    ACCENT,
    choose_legend_scale,
    draw_dots,
    format_compact,
    format_score_axis,
    get_scores,
    set_log_scale,
)
from workbench.sweep.results import SweepResults, TrialResult

Cost = Literal["parameters", "seconds"]  # fields of `TrialResult`
_LABELS: dict[Cost, str] = {"parameters": "parameters of the network", "seconds": "seconds of the trial"}
_MAX_NAMED = 3  # trials of a front up to which each gets its number; of more only the first and the last


def draw_pareto(results: SweepResults, path: Path) -> Path | None:
    """Draw the score against the number of parameters and against the time, with the Pareto fronts.

    Returns:
        The path, or None if the costs of the trials are not known.
    """
    if not all(any(getattr(trial, cost) for trial in results.scored) for cost in _LABELS):
        return None
    fronts = {}
    with open_figure(9, 4, ncols=2, sharey=True) as (drawing, panels):
        for axes, (cost, label) in zip(panels, _LABELS.items(), strict=True):
            trials = [trial for trial in results.scored if getattr(trial, cost)]
            draw_dots(axes, results, [getattr(trial, cost) for trial in trials], trials)
            fronts[cost] = find_pareto_front(trials, cost)
            _draw_front(axes, fronts[cost], cost)
            axes.set_xlabel(label)
        format_score_axis(panels[0], results)
        format_score_axis(panels[1], results)  # on a narrow page it is below the first panel
        panels[1].tick_params(labelleft=True)
        scale = choose_legend_scale(results.scored)
        panels[0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, markerscale=scale)
        caption = (
            "The orange front holds the trials for which no other one is better with as few parameters (first panel) "
            "or in as little time (second panel). The first trial of each network structure also pays for tracing its "
            "graph; a trial that continues a shorter one takes less time."
        )
        title = _describe_front(results, fronts["parameters"])
        return save_figure(drawing, path, title, caption, [[[axes] for axes in panels]])


def find_pareto_front(trials: Sequence[TrialResult], cost: Cost) -> list[TrialResult]:
    """Return the trials that no other one beats in score at the same or a lower cost, the cheapest first.

    Args:
        trials: trials that have a cost, the best first.
        cost: name of the field.
    """
    front: list[TrialResult] = []
    for trial in trials:  # it is not better than those before it, so it must be cheaper
        if not front or getattr(trial, cost) < getattr(front[-1], cost):
            front.append(trial)
    return front[::-1]


def _draw_front(axes: Axes, front: Sequence[TrialResult], cost: Cost) -> None:
    costs, scores = [getattr(trial, cost) for trial in front], get_scores(front)
    axes.plot(costs, scores, "o-", color=ORANGE, ms=5, label="Pareto front")
    for at in range(len(front)) if len(front) <= _MAX_NAMED else (0, -1):
        axes.annotate(
            front[at].id, (costs[at], scores[at]), (4, 5), textcoords="offset points", fontsize=9, color=ACCENT
        )
    if axes.dataLim.xmax > 3 * axes.dataLim.xmin:
        set_log_scale(axes.xaxis)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_compact(value)))


def _describe_front(results: SweepResults, front: Sequence[TrialResult]) -> str:
    """Return a sentence about the smallest network that is nearly as good as the best one."""
    scores, best = get_scores(front), front[-1]
    is_share = "accuracy" in results.metric
    slack, within = (0.01, "one point") if is_share else (0.05 * abs(scores[-1]), "5 %")
    at = next(at for at in range(len(front)) if abs(scores[at] - scores[-1]) <= slack)
    if front[at] is best:
        return f"No smaller network comes within {within} of the best ({best.parameters:,} parameters)"
    times = (best.parameters or 0) / (front[at].parameters or 1)
    near, reached = results.format_score(scores[at]), results.format_score(scores[-1])
    return f"{times:.1f} times fewer parameters reach {near} instead of {reached}"
