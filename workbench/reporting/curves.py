"""The figure of the learning curves."""

from collections.abc import Sequence
from pathlib import Path

from workbench.reporting.figures import BLUE, GREY, ORANGE, open_figure, save_figure
from workbench.training.history import EpochLog, find_best_epoch


def draw_curves(history: Sequence[EpochLog], path: Path) -> Path:
    """Draw loss and accuracy of each epoch, in training and in validation.

    Args:
        history: the logs of the epochs.
        path: of the PNG file; also returned.
    """
    best = find_best_epoch(history)
    epochs = [row["epoch"] for row in history]
    title = (
        f"Best in epoch {best['epoch']:.0f} of {len(history)}: {best['val_accuracy']:.1%} validation accuracy, "
        f"{best['accuracy']:.1%} in training"
    )
    caption = (
        "Training values are running means over the epoch, with dropout and augmentation on; validation values "
        "are measured at the end of the epoch."
    )
    with open_figure(9, 3.8, ncols=2) as (figure, panels):
        for axes, name in zip(panels, ("accuracy", "loss"), strict=True):
            style = {"marker": "o", "ms": 3 if len(history) > 20 else 5}
            axes.plot(epochs, [row[name] for row in history], color=BLUE, label="training", **style)
            axes.plot(epochs, [row[f"val_{name}"] for row in history], color=ORANGE, label="validation", **style)
            axes.axvline(best["epoch"], color=GREY, lw=1, ls="--", label="best epoch")
            axes.set_xlabel("epoch")
            axes.set_ylabel(name)
            axes.xaxis.get_major_locator().set_params(integer=True)
        panels[0].yaxis.set_major_formatter(lambda share, _: f"{100 * share:.4g} %")
        panels[0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
        return save_figure(figure, path, title, caption, [[[axes] for axes in panels]])
