"""Which hyperparameters matter, and what each of their values does."""

import math

import numpy as np

from workbench.reporting.figures import BLUE, GREY, ORANGE, figure
from workbench.sweep.figures.importance import MIN_TRIALS
from workbench.sweep.figures.scales import Scale
from workbench.sweep.figures.style import FEW, save_titled, score_axis, shown_scores

_COLUMNS = 4
_BINS = 6  # of a hyperparameter that is a range
_MIN_SPREAD = 4  # trials with a value from which quantiles mean something


def draw_importance(trials, found, path):
    """Bars of importance; None where there is none.

    Args:
        found: the `workbench.sweep.figures.importance.Importance`, or None.
    """
    if found is None:
        return None
    names, shares = list(found.shares), np.array(list(found.shares.values()))
    with figure(8, 0.9 + 0.32 * len(names)) as (made, axes):
        clear = found.clear
        colour = BLUE if clear else GREY
        error = {"ecolor": "#444444", "elinewidth": 1.2}
        axes.barh(names[::-1], shares[::-1], xerr=list(found.spreads.values())[::-1], color=colour, error_kw=error)
        axes.axvline(0, color="#444444", lw=1)
        axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
        axes.set_xlabel(f"share of the variance of the {trials.metric_name}")
        axes.grid(axis="y", visible=False)
        foreseen = f"{max(0.0, found.explained):.0%} of the variance among trials it has not seen"
        caption = (
            "The share of the differences between trials that each hyperparameter takes part in, alone or together "
            f"with others; the lines are its spread. By a random forest over {found.trials:,} trials, which foresees "
            f"{foreseen}."
        )
        if clear:
            title = f"{clear[0]} matters most" + (f", then {clear[1]}" if len(clear) > 1 else "")
        else:
            title = f"{found.trials:,} trials do not tell yet which hyperparameters matter"
            caption += " They are too few, or too much at the mercy of chance, for the bars to be relied on."
        return save_titled(made, path, title, caption)


def draw_effects(trials, found, path):
    """The main effect of each hyperparameter: the scores of the trials that had each of its values."""
    if len(trials.scored) < 2 or not trials.parameters:
        return None
    names = list(found.shares if found else trials.parameters)
    columns = min(_COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    size = {"ncols": columns, "nrows": rows, "sharey": True, "squeeze": False}
    with figure(2.3 * columns + 0.7, 2.1 * rows + 0.3, **size) as (made, panels):
        findings = [_draw_effect(axes, trials, name) for axes, name in zip(panels.flat, names, strict=False)]
        for axes in panels.flat[len(names) :]:
            axes.remove()
        for axes in panels[:, 0]:
            score_axis(axes, trials, label=False)
        made.supylabel(trials.metric_name, fontsize=10)
        caption = (
            "The scores of all trials with a value: the dot is their median, the thick line holds the middle half, the "
            "thin line nine tenths. The other hyperparameters vary underneath."
        )
        if len(trials.scored) < MIN_TRIALS:
            caption += f" Fewer than {MIN_TRIALS} trials do not tell which of them matter."
            findings[0] = f"What each value did in {len(trials.scored)} trials"
        return save_titled(made, path, findings[0], caption)


def _draw_effect(axes, trials, name):
    """Draw one hyperparameter's panel; its finding."""
    values = [trial.values[name] for trial in trials.scored]
    scale = Scale(trials.parameters[name], values)
    places, scores = np.array([scale(value) for value in values]), shown_scores(trials, trials.scored)
    if len(scores) <= FEW:
        jitter = np.random.default_rng(0).uniform(-0.04, 0.04, len(scores))
        axes.scatter(places + jitter, scores, 8, GREY, alpha=0.45, linewidths=0)
    groups = places if scale.steps is not None else (np.floor(places * _BINS).clip(0, _BINS - 1) + 0.5) / _BINS
    medians = {}
    for place in np.unique(groups):
        here = scores[groups == place]
        medians[place] = np.median(here)
        if len(here) >= _MIN_SPREAD:
            low, quarter, three_quarters, high = np.quantile(here, (0.05, 0.25, 0.75, 0.95))
            axes.vlines(place, low, high, color=BLUE, lw=1.2)
            axes.vlines(place, quarter, three_quarters, color=BLUE, lw=5)
    axes.plot(list(medians), list(medians.values()), "o-", color=ORANGE, ms=5, lw=1, markeredgecolor="white", zorder=3)
    axes.set_title(name, fontsize=10)
    axes.set_xlim(-0.15, 1.15)
    labels = [label for _, label in scale.ticks]
    axes.set_xticks([place for place, _ in scale.ticks], labels, fontsize=9)
    axes.grid(axis="x", visible=False)
    better = max if trials.direction == "max" else min
    best = better(medians, key=medians.get)
    if scale.steps is None or len(medians) < 2:
        return f"What each value of {name} does"
    label = dict(scale.ticks)[best]
    return f"{name} {label} is best: a median of {trials.text(medians[best])}, {_others(trials, medians, best)}"


def _others(trials, medians, best):
    rest = {place: median for place, median in medians.items() if place != best}
    worst = (min if trials.direction == "max" else max)(rest.values())
    return f"against {trials.text(worst)}" + (" of the worst" if len(rest) > 1 else "")
