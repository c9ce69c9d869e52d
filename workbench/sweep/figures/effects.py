"""Figures of the hyperparameters: which of them matter, and the effect of each of their values."""

import itertools
import math
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from workbench.reporting.figures import BLUE, GREY, ORANGE, open_figure, save_figure
from workbench.sweep.figures.importance import MIN_TRIALS, Importance
from workbench.sweep.figures.scales import Scale
from workbench.sweep.figures.style import FEW, clip_scores, format_score_axis
from workbench.sweep.results import SweepResults

_COLUMNS, _TOGETHER = 4, 2  # panels in a row, and how many of them stay together on a narrow page
_BINS = 6  # of a hyperparameter that is a range
_MIN_SPREAD = 4  # trials of a value from which its quantiles are drawn


def draw_importance(results: SweepResults, importance: Importance | None, path: Path) -> Path | None:
    """Draw the importance of the hyperparameters as bars; None if it is not known."""
    if importance is None:
        return None
    names, clear = list(importance.shares), importance.clear
    shares, spreads = (np.array(list(numbers.values())) for numbers in (importance.shares, importance.spreads))
    with open_figure(6.5, 0.9 + 0.32 * len(names)) as (drawing, axes):
        lines = {"ecolor": "#444444", "elinewidth": 1.2}
        axes.barh(names[::-1], shares[::-1], xerr=spreads[::-1], color=BLUE if clear else GREY, error_kw=lines)
        axes.axvline(0, color="#444444", lw=1)
        axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
        axes.set_xlabel(f"share of the variance of the {results.metric_name}")
        axes.grid(axis="y", visible=False)
        return save_figure(drawing, path, *_describe_importance(importance))


def _describe_importance(importance: Importance) -> tuple[str, str]:
    """Return the title and the caption of the bars."""
    clear, count = importance.clear, f"{importance.num_trials:,}"
    caption = (
        "Each bar is the share of the differences between trials that a hyperparameter causes, alone or together with "
        "others. The lines show the standard deviation of the estimate. It is made by a random forest, fitted on "
        f"{count} trials, which explains {max(0.0, importance.explained):.0%} of the variance of trials that it was "
        "not fitted on."
    )
    if clear:
        return f"{clear[0]} matters most" + (f", then {clear[1]}" if len(clear) > 1 else ""), caption
    title = f"{count} trials do not show yet which hyperparameters matter"
    return title, f"{caption} The bars are not reliable: the trials are too few or their scores too random."


def draw_effects(results: SweepResults, importance: Importance | None, path: Path) -> Path | None:
    """Draw the main effect of each hyperparameter: the scores of the trials with each of its values.

    Returns:
        The path, or None for fewer than two trials.
    """
    if len(results.scored) < 2 or not results.parameters:
        return None
    names = list(importance.shares if importance else results.parameters)
    columns = min(_COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    size = {"ncols": columns, "nrows": rows, "sharey": True, "squeeze": False}
    with open_figure(2.0 * columns + 1.1, 2.1 * rows + 0.3, **size) as (drawing, panels):
        findings = [_draw_effect(axes, results, name) for axes, name in zip(panels.flat, names, strict=False)]
        for axes in panels.flat[len(names) :]:
            axes.remove()
        parts = [_group_panels(list(row[: len(names) - at * columns])) for at, row in enumerate(panels)]
        for part in itertools.chain.from_iterable(parts):
            format_score_axis(part[0], results)
            part[0].tick_params(labelleft=True)
        caption = (
            "Scores of all trials with a value. The dot is their median, the thick line holds the middle half, the "
            "thin line the middle nine tenths. The other hyperparameters vary at the same time."
        )
        if len(results.scored) < MIN_TRIALS:
            caption += f" Fewer than {MIN_TRIALS} trials do not show which hyperparameters matter."
            findings[0] = f"The scores of {len(results.scored)} trials by their values"
        return save_figure(drawing, path, findings[0], caption, parts)


def _group_panels(row: list[Axes]) -> list[list[Axes]]:
    """Return the parts of a row of panels, for narrow pages."""
    return [row[at : at + _TOGETHER] for at in range(0, len(row), _TOGETHER)]


def _draw_effect(axes: Axes, results: SweepResults, name: str) -> str:
    """Draw the panel of one hyperparameter, and return what it shows as a sentence."""
    values = [trial.values[name] for trial in results.scored]
    scale = Scale(results.parameters[name], values)
    positions, scores = np.array([scale(value) for value in values]), clip_scores(results, results.scored)
    if len(scores) <= FEW:
        jitter = np.random.default_rng(0).uniform(-0.04, 0.04, len(scores))
        axes.scatter(positions + jitter, scores, 8, GREY, alpha=0.45, linewidths=0)
    bins = (np.floor(positions * _BINS).clip(0, _BINS - 1) + 0.5) / _BINS
    groups = positions if scale.steps is not None else bins
    medians = {}
    for position in np.unique(groups).tolist():
        group = scores[groups == position]
        medians[position] = float(np.median(group))
        if len(group) >= _MIN_SPREAD:
            low, quarter, three_quarters, high = np.quantile(group, (0.05, 0.25, 0.75, 0.95))
            axes.vlines(position, low, high, color=BLUE, lw=1.2)
            axes.vlines(position, quarter, three_quarters, color=BLUE, lw=5)
    axes.plot(list(medians), list(medians.values()), "o-", color=ORANGE, ms=5, lw=1, markeredgecolor="white", zorder=3)
    axes.set_title(name, fontsize=10)
    axes.set_xlim(-0.15, 1.15)
    axes.set_xticks([position for position, _ in scale.ticks], [label for _, label in scale.ticks], fontsize=9)
    axes.grid(axis="x", visible=False)
    return _describe_effect(results, name, scale, medians)


def _describe_effect(results: SweepResults, name: str, scale: Scale, medians: dict[float, float]) -> str:
    """Return a sentence that names a hyperparameter's best value.

    Args:
        results: the sweep.
        name: the hyperparameter.
        scale: its scale.
        medians: position of a value -> median score.
    """
    if scale.steps is None or len(medians) < 2:
        return f"The effect of each value of {name}"
    ordered = sorted(medians, key=lambda position: medians[position], reverse=results.direction == "max")
    label, best, worst = dict(scale.ticks)[ordered[0]], medians[ordered[0]], medians[ordered[-1]]
    others = "for the worst value" if len(medians) > 2 else "for the other value"
    scores = f"a median of {results.format_score(best)}, against {results.format_score(worst)} {others}"
    return f"{name} {label} is best: {scores}"
