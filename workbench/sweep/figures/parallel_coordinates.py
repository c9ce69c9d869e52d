"""Parallel coordinates: a line a trial through its values, coloured by its score."""

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection

from workbench.reporting.figures import figure
from workbench.sweep.figures.scales import Scale
from workbench.sweep.figures.style import FEW, logarithmic, norm_and_colours, save_titled, score_formatter
from workbench.sweep.progress import short

_MAX_LINES, _BEST = 2500, 100  # lines beyond which no more can be seen; trials that are always drawn
_CAPTION = (
    "Each line is a trial: it passes through its value of every hyperparameter and ends, on the right, at its score. "
    "The dark lines are the best ones."
)


def draw_parallel(trials, path):
    """Draw the parallel coordinates of a sweep; None for fewer than two trials."""
    if len(trials.scored) < 2 or not trials.parameters:
        return None
    step = len(trials.scored) // _MAX_LINES + 1
    scored = [*trials.scored[:_BEST], *trials.scored[_BEST::step]][::-1]  # the best come last, on top
    caption = (
        _CAPTION if step == 1 else f"{_CAPTION} Drawn are the {_BEST} best trials and one in {step} of the others."
    )
    scales = {
        name: Scale(values, [t.values[name] for t in trials.scored]) for name, values in trials.parameters.items()
    }
    norm, colours = norm_and_colours(trials)
    with figure(max(6.5, 0.86 * (len(scales) + 1)), 4.6) as (made, axes):
        _draw_lines(axes, scored, scales, trials, norm, colours)
        _draw_axes(axes, scales)
        _draw_score_axis(made, axes, len(scales), trials, ScalarMappable(norm, colours))
        return save_titled(made, path, _finding(trials, scales), caption)


def _draw_lines(axes, scored, scales, trials, norm, colours):
    places = np.array([[scale(trial.values[name]) for name, scale in scales.items()] for trial in scored])
    spread = 0.04 if len(scored) <= FEW else 0.1  # lines through one value lie side by side
    places += np.random.default_rng(0).uniform(-spread, spread, places.shape)
    scores = np.array([trial.score for trial in scored])
    heights = np.asarray(norm(scores))
    heights = heights if trials.direction == "max" else 1 - heights
    across = np.broadcast_to(np.arange(len(scales) + 1), (len(scored), len(scales) + 1))
    lines = np.dstack([across, np.column_stack([places, heights])])
    best = len(scored) - (min(_BEST, len(scored) // 20) if len(scored) > FEW else 0)
    alpha = float(np.clip(80 / len(scored), 0.03, 0.9))
    for part, opacity in ((slice(None, best), alpha), (slice(best, None), 0.6)):
        drawn = LineCollection(lines[part], cmap=colours, norm=norm, alpha=opacity, linewidths=1.3)
        drawn.set_array(scores[part])
        axes.add_collection(drawn)


def _draw_axes(axes, scales):
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
        for place, label in scale.ticks:
            axes.text(at - 0.06, place, label, ha="right", va="center", fontsize=9, bbox=box, zorder=4)


def _draw_score_axis(made, axes, place, trials, colours):
    """The last axis is the colour bar: lines end at their score's height and colour."""
    inset = axes.inset_axes((place, 0, 0.14, 1), transform=axes.transData)
    made.colorbar(colours, cax=inset, format=score_formatter(trials), label=trials.metric_name)
    if trials.direction == "min":
        inset.invert_yaxis()
    if inset.get_yscale() == "log":
        logarithmic(inset.yaxis)
        inset.yaxis.set_major_formatter(score_formatter(trials))


def _finding(trials, scales):
    """What the best trials have in common that the others have not."""
    count = max(3, len(trials.scored) // 20)
    common = []
    for name, scale in scales.items():
        for value in scale.steps or []:
            among_best, among_all = (
                sum(trial.values[name] == value for trial in group) / len(group)
                for group in (trials.scored[:count], trials.scored)
            )
            common.append((among_best - among_all, among_best, f"{name} {short(value)}"))
    if len(trials.scored) < 2 * count or not common:
        return f"What became of the {len(trials.scored)} trials"
    gain, share, setting = max(common)
    if gain < 0.2:
        return f"The best {count:,} trials have no setting in common"
    how_many = "All" if share == 1 else f"{round(share * count):,}"
    return f"{how_many} of the best {count:,} trials have {setting}"
