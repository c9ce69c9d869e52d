"""Learning curves."""

from workbench.reporting.figures import BLUE, GREY, ORANGE, figure, save


def draw_curves(rows, path):
    """Loss and accuracy against the epochs, in training and in validation.

    Args:
        rows: of history.csv, as numbers.
        path: of the PNG file.
    """
    best = max(rows, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    epochs = [row["epoch"] for row in rows]
    title = (
        f"Best in epoch {best['epoch']:.0f} of {len(rows)}: {best['val_accuracy']:.1%} validation accuracy, "
        f"{best['accuracy']:.1%} in training"
    )
    with figure(9, 3.8, ncols=2) as (made, panels):
        for axes, name in zip(panels, ("accuracy", "loss"), strict=True):
            style = {"marker": "o", "ms": 3 if len(rows) > 20 else 5}
            axes.plot(epochs, [row[name] for row in rows], color=BLUE, label="training", **style)
            axes.plot(epochs, [row[f"val_{name}"] for row in rows], color=ORANGE, label="validation", **style)
            axes.axvline(best["epoch"], color=GREY, lw=1, ls="--", label="best epoch")
            axes.set_xlabel("epoch")
            axes.set_ylabel(name)
            axes.xaxis.get_major_locator().set_params(integer=True)
        panels[0].yaxis.set_major_formatter(lambda share, _: f"{100 * share:.4g} %")
        made.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        made.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        caption = (
            "Training values are running means over the epoch, with dropout and augmentation on; validation values "
            "are measured at its end."
        )
        return save(made, path, title, caption)
