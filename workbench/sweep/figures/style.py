"""What the figures of a sweep share: its dots, the axis of its score, its colours and its clock."""

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from workbench.reporting.figures import BLUE, GREY, SEQUENTIAL, save

FEW = 300  # trials up to which each can be told apart
_MARGIN = 0.05  # share of the worst trials that may lie beyond a scale's end
ACCENT = "#8A5F00"  # the palette's orange, dark enough for text


def save_titled(made, path, title, caption):
    """Save a figure with its title on top; returns the path."""
    made.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return save(made, path, title, caption)


def dots(axes, trials, places, drawn):
    """A dot for each of the trials `drawn`: hollow if it was pruned."""
    size, alpha = (26, 0.85) if len(drawn) <= FEW else (7, 0.35)
    places, scores = np.asarray(places, float), shown_scores(trials, drawn)
    pruned = np.array([trial.status == "pruned" for trial in drawn], bool)
    axes.scatter(places[~pruned], scores[~pruned], size, BLUE, alpha=alpha, linewidths=0, label="completed")
    if pruned.any():
        axes.scatter(
            places[pruned], scores[pruned], size, "none", edgecolors=GREY, linewidths=1, alpha=alpha, label="pruned"
        )


def legend_scale(drawn):
    """How many times larger than the dots of `dots` those of the legend have to be."""
    return 1 if len(drawn) <= FEW else 2


def shown_scores(trials, drawn):
    """Where scores are drawn: as they are, but losses of trials that diverged at the end of the scale."""
    scores = np.array([trial.score for trial in drawn], float)
    return scores if _is_share(trials) else np.minimum(scores, limits(trials)[1])


def limits(trials):
    """(lowest, highest) score of a scale that a few trials that went wrong do not stretch."""
    scores = np.array([trial.score for trial in trials.scored], float)
    low, high = scores.min(), scores.max()
    if len(scores) >= 20 and trials.direction == "max":
        low = np.quantile(scores, _MARGIN)
    elif len(scores) >= 20:
        high = np.quantile(scores, 1 - _MARGIN)
    pad = 0.005 if _is_share(trials) else 0.05 * abs(low) + 1e-6
    return (low, high) if high > low else (low - pad, high + pad)


def norm_and_colours(trials):
    """A matplotlib norm that ends where the scale does, and a colour map whose dark end is the better one."""
    low, high = limits(trials)
    norm = LogNorm if _is_logarithmic(trials) else Normalize
    return norm(low, high, clip=True), SEQUENTIAL + ("_r" if trials.direction == "max" else "")


def score_axis(axes, trials, *, label=True):
    """Format the vertical axis of scores."""
    if _is_logarithmic(trials):
        logarithmic(axes.yaxis)
    axes.yaxis.set_major_formatter(score_formatter(trials))
    if label:
        axes.set_ylabel(trials.metric_name)


def score_formatter(trials):
    """How scores stand on an axis."""
    return FuncFormatter(lambda score, _: f"{100 * score:.4g} %" if _is_share(trials) else f"{score:.4g}")


def logarithmic(axis):
    """Make an axis logarithmic, with a tick at 1, 2 and 5 of each decade."""
    getattr(axis.axes, f"set_{axis.axis_name}scale")("log")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_minor_formatter(NullFormatter())


def running_time(trials):
    """Trial id -> seconds after which it ended; time in which no trial ran is left out.

    A sweep that went on a day later shows no gap.
    """
    times = [(t.results["started"], t.results["ended"], t.id) for t in trials]
    times = sorted(entry for entry in times if None not in entry)
    ends, idle, busy_until = {}, 0.0, times[0][0] if times else 0.0
    for started, ended, trial_id in times:
        idle += max(0.0, started - busy_until)
        busy_until = max(busy_until, ended)
        ends[trial_id] = ended - times[0][0] - idle
    return ends


def compact(number):
    """A number in few characters: 12,345 as `12k`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"


def _is_share(trials):
    return "accuracy" in trials.metric


def _is_logarithmic(trials):
    low, high = limits(trials)
    return not _is_share(trials) and low > 0 and high > 10 * low
