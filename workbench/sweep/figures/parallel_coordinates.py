"""Parallel coordinates: each trial is a line through its values, coloured by its score."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from workbench.reporting.figures import open_figure, save_figure
from workbench.sweep.figures.scales import Scale, make_scales
from workbench.sweep.figures.style import (
    FEW,
    choose_colours,
    get_scores,
    make_tick_formatter,
    set_log_scale,
)
from workbench.sweep.results import SweepResults, TrialResult, Value, format_value
from workbench.wording import agree

_MAX_LINES, _NUM_BEST = 2500, 100  # more lines hide one another; number of best trials that are always drawn
_CAPTION = (
    "Each line is a trial. It passes through the trial's value of every hyperparameter and ends, on the right, at its "
    "score. The dark lines are the best trials."
)


def draw_parallel(results: SweepResults, path: Path) -> Path | None:
    """Draw the parallel coordinates of a sweep; None for fewer than two trials."""
    if len(results.scored) < 2 or not results.parameters:
        return None
    step = len(results.scored) // _MAX_LINES + 1
    # The best trials are drawn last, on top of the others.
    trials = [*results.scored[:_NUM_BEST], *results.scored[_NUM_BEST::step]][::-1]
    caption = _CAPTION
    if step > 1:
        caption += f" The figure shows the {_NUM_BEST} best trials and one in {step} of the others."
    scales = make_scales(results.parameters, [trial.values for trial in results.scored])
    norm, colours = choose_colours(results)
    with open_figure(max(6.5, 0.86 * (len(scales) + 1)), 4.6) as (drawing, axes):
        _draw_lines(axes, results, trials, scales, norm, colours)
        _draw_axes(axes, scales)
        _draw_score_axis(drawing, axes, len(scales), results, ScalarMappable(norm, colours))
        return save_figure(drawing, path, _describe_best(results, scales), caption)


def _draw_lines(
    axes: Axes,
    results: SweepResults,
    trials: Sequence[TrialResult],
    scales: Mapping[str, Scale],
    norm: Normalize,
    colours: str,
) -> None:
    """Draw the lines of trials, the best of which come last."""
    positions = np.array([[scale(trial.values[name]) for name, scale in scales.items()] for trial in trials])
    spread = 0.04 if len(trials) <= FEW else 0.1  # so that lines through one value do not cover one another
    positions += np.random.default_rng(0).uniform(-spread, spread, positions.shape)
    scores = get_scores(trials)
    heights = np.asarray(norm(scores))
    heights = heights if results.direction == "max" else 1 - heights
    across = np.broadcast_to(np.arange(len(scales) + 1), (len(trials), len(scales) + 1))
    lines = np.dstack([across, np.column_stack([positions, heights])])
    num_others = len(trials) - (min(_NUM_BEST, len(trials) // 20) if len(trials) > FEW else 0)
    alpha = float(np.clip(80 / len(trials), 0.03, 0.9))
    for part, opacity in ((slice(None, num_others), alpha), (slice(num_others, None), 0.6)):
        drawn = LineCollection(list(lines[part]), cmap=colours, norm=norm, alpha=opacity, linewidths=1.3)
        drawn.set_array(scores[part])
        axes.add_collection(drawn)


def _draw_axes(axes: Axes, scales: Mapping[str, Scale]) -> None:
    """Draw a vertical axis with labelled values for each hyperparameter."""
    axes.set_xlim(-0.45, len(scales) + 0.15)
    axes.set_ylim(-0.14, 1.14)
    axes.set_xticks(range(len(scales) + 1), [*scales, ""], rotation=25, ha="right", rotation_mode="anchor")
    axes.set_yticks([])
    axes.tick_params(axis="x", length=0)
    axes.grid(False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.vlines(range(len(scales)), 0, 1, color="#444444", lw=1, zorder=3)
    box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
    for at, scale in enumerate(scales.values()):
        for position, label in scale.ticks:
            axes.text(at - 0.06, position, label, ha="right", va="center", fontsize=9, bbox=box, zorder=4)


def _draw_score_axis(
    drawing: Figure, axes: Axes, position: int, results: SweepResults, colours: ScalarMappable
) -> None:
    """Draw the last axis, the colour bar: lines end at the height and the colour of their score."""
    inset = axes.inset_axes((position, 0, 0.14, 1), transform=axes.transData)
    drawing.colorbar(colours, cax=inset, format=make_tick_formatter(results), label=results.metric_name)
    if results.direction == "min":
        inset.invert_yaxis()
    if inset.get_yscale() == "log":
        set_log_scale(inset.yaxis)
        inset.yaxis.set_major_formatter(make_tick_formatter(results))


def _describe_best(results: SweepResults, scales: Mapping[str, Scale]) -> str:
    """Return a sentence about the value that is more frequent among the best trials than among all."""
    trials = results.scored
    count = max(3, len(trials) // 20)
    found = []
    for name, scale in scales.items():
        for value in scale.steps or []:
            among_best, among_all = (_count_share(group, name, value) for group in (trials[:count], trials))
            found.append((among_best - among_all, among_best, f"{name} {format_value(value)}"))
    if len(trials) < 2 * count or not found:
        return f"The values and scores of {len(trials)} trials"
    gain, share, setting = max(found)
    if gain < 0.2:
        return f"The best {count:,} trials have no setting in common"
    how_many = "All" if share == 1 else f"{round(share * count):,}"
    return f"{how_many} of the best {count:,} trials {agree(round(share * count), 'has', 'have')} {setting}"


def _count_share(trials: Sequence[TrialResult], name: str, value: Value) -> float:
    """Return the share of the trials that have this value of a hyperparameter."""
    return sum(trial.values[name] == value for trial in trials) / len(trials)
