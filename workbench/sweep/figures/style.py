"""The style that the figures of a sweep share: dots of trials, axes of scores, and colours."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import Formatter, FuncFormatter, LogLocator, NullFormatter

from workbench.reporting.figures import BLUE, GREY, SEQUENTIAL
from workbench.sweep.results import SweepResults, TrialResult

FEW = 300  # up to so many trials each one can be seen
ACCENT = "#8A5F00"  # the palette's orange, dark enough for text
_MIN_QUANTILE = 20  # trials from which the worst ones may lie outside a scale
_OUTSIDE = 0.05  # share of the trials that may lie outside


def draw_dots(
    axes: Axes, results: SweepResults, positions: Sequence[float] | np.ndarray, trials: Sequence[TrialResult]
) -> None:
    """Draw a dot for each trial: full for a completed one, hollow for a pruned one.

    Args:
        axes: where to draw.
        results: the sweep of the trials.
        positions: horizontal position of each trial.
        trials: trials with a score.
    """
    size, alpha = (26, 0.85) if len(trials) <= FEW else (7, 0.35)
    x, y = np.asarray(positions, float), clip_scores(results, trials)
    pruned = np.array([trial.status == "pruned" for trial in trials], bool)
    axes.scatter(x[~pruned], y[~pruned], size, BLUE, alpha=alpha, linewidths=0, label="completed")
    if pruned.any():
        axes.scatter(x[pruned], y[pruned], size, "none", edgecolors=GREY, linewidths=1, alpha=alpha, label="pruned")


def choose_legend_scale(trials: Sequence[TrialResult]) -> int:
    """Return how many times larger the legend's dots must be than those of `draw_dots` to be visible."""
    return 1 if len(trials) <= FEW else 2


def get_scores(trials: Sequence[TrialResult]) -> np.ndarray:
    """Return the scores of trials that have one."""
    return np.array([trial.score for trial in trials], float)


def clip_scores(results: SweepResults, trials: Sequence[TrialResult]) -> np.ndarray:
    """Return the scores as they are drawn: losses of diverged trials are set to the end of the scale."""
    scores = get_scores(trials)
    return scores if _is_share(results) else np.minimum(scores, find_limits(results)[1])


def find_limits(results: SweepResults) -> tuple[float, float]:
    """Return (lowest, highest) score of a scale. The worst 5 % of many trials lie outside and do not stretch it."""
    scores = get_scores(results.scored)
    low, high = float(scores.min()), float(scores.max())
    if len(scores) >= _MIN_QUANTILE and results.direction == "max":
        low = float(np.quantile(scores, _OUTSIDE))
    elif len(scores) >= _MIN_QUANTILE:
        high = float(np.quantile(scores, 1 - _OUTSIDE))
    pad = 0.005 if _is_share(results) else 0.05 * abs(low) + 1e-6
    return (low, high) if high > low else (low - pad, high + pad)


def choose_colours(results: SweepResults) -> tuple[Normalize, str]:
    """Return a matplotlib norm with the limits of the scale, and the name of a colour map whose dark end is better."""
    low, high = find_limits(results)
    norm = LogNorm if _is_logarithmic(results) else Normalize
    return norm(low, high, clip=True), SEQUENTIAL + ("_r" if results.direction == "max" else "")


def format_score_axis(axes: Axes, results: SweepResults, *, has_label: bool = True) -> None:
    """Set the scale, the tick labels and the label of a vertical axis of scores."""
    if _is_logarithmic(results):
        set_log_scale(axes.yaxis)
    axes.yaxis.set_major_formatter(make_tick_formatter(results))
    if has_label:
        axes.set_ylabel(results.metric_name)


def make_tick_formatter(results: SweepResults) -> Formatter:
    """Return the formatter of an axis of scores. Ticks have as many digits as they need to differ."""
    return FuncFormatter(lambda score, _: f"{100 * score:.4g} %" if _is_share(results) else f"{score:.4g}")


def set_log_scale(axis: Axis) -> None:
    """Make an axis logarithmic, with ticks at 1, 2 and 5 of each decade."""
    axes = axis.axes
    (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_minor_formatter(NullFormatter())


def format_compact(number: float) -> str:
    """Return a number as short text: 12,345 as `12.3k`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"


def _is_share(results: SweepResults) -> bool:
    return "accuracy" in results.metric


def _is_logarithmic(results: SweepResults) -> bool:
    low, high = find_limits(results)
    return not _is_share(results) and low > 0 and high > 10 * low
