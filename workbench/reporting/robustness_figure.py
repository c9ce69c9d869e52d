"""The figure of a robustness test: one photo made worse in each way, and the accuracy from weak to strong."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workbench.evaluation.model_predictions import ModelPredictions
from workbench.evaluation.robustness.corruptions import CORRUPTIONS, corrupt
from workbench.evaluation.robustness.measuring import SEED, RobustnessRow, describe_worst
from workbench.reporting.figures import BLUE, GREY, open_figure, save_figure, show_image


def draw_robustness(path: Path, predictions: ModelPredictions, rows: Sequence[RobustnessRow]) -> Path | None:
    """Draw the accuracy after each change of the test images.

    Args:
        path: of the PNG file; also returned. Without rows no figure is drawn and None is returned.
        predictions: predictions of the unchanged images.
        rows: the result of `measure_robustness`.
    """
    if not rows:
        path.unlink(missing_ok=True)  # of another model
        return None
    worst = min(rows, key=lambda row: row["difference"])
    clean = float(predictions.correct.mean())
    what = describe_worst(worst)
    title = f"{what[0].upper()}{what[1:]}: {worst['accuracy']:.0%} instead of {clean:.0%} are right"
    caption = (
        "One test image at the strongest of the three strengths, and below it the accuracy on all test images at each "
        "strength, with 95 % intervals. The dashed line is the accuracy on the unchanged images."
    )
    example = int(np.flatnonzero(predictions.correct)[0]) if predictions.correct.any() else 0
    columns = [[row for row in rows if row["corruption"] == corruption.name] for corruption in CORRUPTIONS]
    shape = {"nrows": 2, "ncols": len(CORRUPTIONS), "height_ratios": [1, 1.2]}
    with open_figure(9.5, 4.6, **shape) as (figure, axes):
        for corruption, of_one, (photo, curve) in zip(CORRUPTIONS, columns, axes.T, strict=True):
            image = corrupt(predictions.image(example), corruption, corruption.strengths[-1], SEED, example)
            show_image(photo, image, corruption.name)
            places = np.arange(1, len(of_one) + 1)
            accuracy = np.array([row["accuracy"] for row in of_one])
            low, high = np.array([row["accuracy_interval"] for row in of_one]).reshape(-1, 2).T
            curve.axhline(clean, color=GREY, linestyle="--")
            curve.errorbar(places, accuracy, [accuracy - low, high - accuracy], marker="o", color=BLUE, capsize=3)
            curve.set(ylim=(0, 1.02), xlim=(0.6, len(of_one) + 0.4))
            curve.set_xticks(places, ["weak", "", "strong"][: len(of_one)])
            if corruption is not CORRUPTIONS[0]:
                curve.set_yticklabels([])
        axes[1, 0].set_ylabel("share that is right")
        return save_figure(figure, path, title, caption)
