"""The figures of a test: confusion matrix, reliability, classes, a grid of test images, the most wrong ones."""

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from workbench.evaluation.calibration.saved_calibration import SavedCalibration
from workbench.evaluation.metrics.prediction_metrics import ClassMetrics, count_predictions
from workbench.evaluation.metrics.statistics import CALIBRATION_BINS, list_confusions, measure_calibration
from workbench.evaluation.model_predictions import ModelPredictions
from workbench.evaluation.probabilities import rank_classes
from workbench.evaluation.scoring import ModelMetrics
from workbench.reporting.figures import BLUE, GREY, RED, SKY, open_figure, save_figure, show_image
from workbench.reporting.robustness_figure import draw_robustness
from workbench.wording import agree, format_count

MAX_CLASSES = 25  # more classes are not readable in one matrix
GRID_CLASSES, GRID_IMAGES = 10, 3
MOST_WRONG = 12
INK = "Blues"  # most cells of a confusion matrix are 0, which is white here: it saves ink and shows rare confusions
RIGHT, WRONG = BLUE, RED


def draw_figures(
    folder: Path,
    class_names: Sequence[str],
    predictions: ModelPredictions,
    metrics: ModelMetrics,
    calibration: SavedCalibration | None = None,
) -> list[Path]:
    """Draw every figure of a test into a folder, and return their paths."""
    folder.mkdir(exist_ok=True)
    matrix = count_predictions(predictions.labels, predictions.predicted, len(class_names))
    calibrated = calibration.compute_probabilities(predictions.logits).max(axis=1) if calibration else None
    paths = [
        draw_confusion_matrix(folder / "confusion_matrix.png", matrix, class_names),
        draw_reliability(folder / "reliability.png", predictions.confidence, predictions.correct, calibrated),
        draw_class_metrics(folder / "per_class.png", metrics["per_class"]),
        draw_prediction_grid(folder / "prediction_grid.png", predictions, class_names),
        draw_most_wrong(folder / "most_wrong.png", predictions, class_names),
        draw_robustness(folder / "robustness.png", predictions, metrics.get("robustness", [])),
    ]
    return [path for path in paths if path]


def draw_confusion_matrix(path: Path, matrix: np.ndarray, class_names: Sequence[str]) -> Path:
    """Draw the confusion matrix; of more than 25 classes, those with the most frequent confusions.

    Args:
        path: of the PNG file; also returned.
        matrix: counts; rows are true classes.
        class_names: in the order of the rows.
    """
    shown = _select_most_confused(matrix)
    names = [_shorten(class_names[label]) for label in shown]
    counts = matrix[np.ix_(shown, shown)]
    recall = counts / np.maximum(matrix[shown].sum(axis=1, keepdims=True), 1)
    side = 2.6 + 0.42 * len(shown)
    title = _confusion_title(matrix, class_names)
    caption = "Rows are true classes, columns are predicted classes; numbers count images; the diagonal is correct."
    if len(shown) < len(class_names):
        caption += (
            f" Only {len(shown)} of {len(class_names)} classes are shown, those with the most frequent confusions."
        )
    with open_figure(side + 0.8, side) as (figure, axes):
        drawn = show_image(axes, recall, vmin=0, vmax=1, cmap=INK)
        axes.set_xticks(range(len(shown)), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(shown)), names)
        axes.set(xlabel="predicted class", ylabel="true class")
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "white" if recall[row, column] > 0.55 else "black"
            axes.text(column, row, counts[row, column], ha="center", va="center", color=colour, fontsize=8)
        figure.colorbar(drawn, ax=axes, label="share of the true class's images", shrink=0.8)
        return save_figure(figure, path, title, caption)


def _select_most_confused(matrix: np.ndarray) -> list[int]:
    """Return the labels, in order, of the classes with the most frequent confusions; all classes if there is room."""
    confused = itertools.chain.from_iterable(pair[:2] for pair in list_confusions(matrix))
    ranked = dict.fromkeys([*confused, *range(len(matrix))])
    return sorted(itertools.islice(ranked, MAX_CLASSES))


def _confusion_title(matrix: np.ndarray, class_names: Sequence[str]) -> str:
    correct, total, confusions = np.trace(matrix), matrix.sum(), list_confusions(matrix)
    if not confusions:
        return "The only test image is right" if total == 1 else f"All {total:,} test images are right"
    true, predicted, count = confusions[0]
    return (
        f"{correct:,} of {format_count(total, 'test image')} {agree(correct, 'is', 'are')} right; most often "
        f"{class_names[true]} is taken for {class_names[predicted]} ({count}x)"
    )


def draw_reliability(
    path: Path, confidence: np.ndarray, correct: np.ndarray, calibrated: np.ndarray | None = None
) -> Path:
    """Draw accuracy against confidence, and a histogram of the confidence.

    Args:
        path: of the PNG file; also returned.
        confidence: (n,), probability of the predicted class.
        correct: (n,), whether the predicted class is the true one.
        calibrated: (n,), the confidence after temperature scaling, if there is one.
    """
    calibration = measure_calibration(confidence, correct)
    mean_confidence, accuracy = np.mean(confidence), np.mean(correct)
    if abs(mean_confidence - accuracy) < 0.02:
        finding = "Well calibrated"
    else:
        finding = "Over-confident" if mean_confidence > accuracy else "Under-confident"
    title = (
        f"{finding}: {mean_confidence:.0%} confident on average, {accuracy:.0%} right "
        f"(calibration error {calibration.error:.1%})"
    )
    scaled = None if calibrated is None else measure_calibration(calibrated, correct)
    if scaled:
        title += f"; after temperature scaling {scaled.error:.1%}"
    caption = (
        f"Test images in {CALIBRATION_BINS} bins of confidence. A bar below the dashed line means over-confidence. The "
        "calibration error is the distance from the line, averaged over images; bins of few images are uncertain."
    )
    with open_figure(6.5, 5.5, nrows=2, sharex=True, height_ratios=[3, 1]) as (figure, (curve, histogram)):
        curve.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="confidence equals accuracy")
        bars = {"width": 1 / CALIBRATION_BINS, "align": "edge", "edgecolor": "white"}
        curve.bar(calibration.low, calibration.accuracy, color=SKY, label="accuracy", **bars)
        curve.plot(calibration.confidence, calibration.accuracy, "o", color=BLUE, label="mean of a bin")
        if scaled:
            curve.plot(scaled.confidence, scaled.accuracy, "D", color=RED, label="after temperature scaling")
        curve.set(ylim=(0, 1.02), xlim=(0, 1), ylabel="share that is right")
        curve.legend(loc="upper left")
        histogram.bar(calibration.low, calibration.count, color=GREY, **bars)
        histogram.set(xlabel="confidence: probability of the predicted class", ylabel="images")
        return save_figure(figure, path, title, caption)


def draw_class_metrics(path: Path, rows: Iterable[ClassMetrics]) -> Path | None:
    """Draw precision, recall and F1 of each class, the best first; of more than 50 classes the best and the worst 25.

    Images of a single class have no precision; then the figure of an earlier test is removed.

    Args:
        path: of the PNG file; also returned.
        rows: metrics of each class.
    """
    rows = sorted((row for row in rows if row["images"]), key=lambda row: -row["f1"])
    if len(rows) < 2:
        path.unlink(missing_ok=True)
        return None
    best, worst = rows[0], rows[-1]
    title = f"F1 from {best['f1']:.2f} ({best['class']}) down to {worst['f1']:.2f} ({worst['class']})"
    caption = (
        "Recall: share of the class's images that are found. Precision: share of the images given this class that "
        "belong to it. F1: their harmonic mean. In brackets the number of test images."
    )
    if len(rows) > 2 * MAX_CLASSES:
        caption += f" The best and the worst {MAX_CLASSES} of {len(rows)} classes are shown."
        rows = rows[:MAX_CLASSES] + rows[-MAX_CLASSES:]
    places = np.arange(len(rows))
    with open_figure(6.5, 1.6 + 0.26 * len(rows)) as (figure, axes):
        axes.barh(places, [row["f1"] for row in rows], color=SKY, label="F1")
        axes.plot([row["precision"] for row in rows], places, "D", color=RED, markersize=5, label="precision")
        axes.plot([row["recall"] for row in rows], places, "o", color=BLUE, markersize=5, label="recall")
        axes.set_yticks(places, [f"{_shorten(row['class'])} ({row['images']})" for row in rows])
        axes.set(xlim=(0, 1.02), ylim=(len(rows) - 0.4, -0.6))
        figure.legend(ncols=3, loc="outside lower left")
        return save_figure(figure, path, title, caption)


def draw_prediction_grid(path: Path, predictions: ModelPredictions, class_names: Sequence[str]) -> Path:
    """Draw three random test images of each of ten classes, with the predicted class and its probability.

    Of more than ten classes, those shown are spread evenly from the best recognised one to the worst.

    Args:
        path: of the PNG file; also returned.
        predictions: predictions of the test images.
        class_names: in the order of the labels.
    """
    shown = _select_grid_classes(predictions, len(class_names))
    rng = np.random.default_rng(0)
    cells = [rng.permutation(np.flatnonzero(predictions.labels == label))[:GRID_IMAGES] for label in shown]
    correct = sum(predictions.correct[index] for index in itertools.chain(*cells))
    total = sum(map(len, cells))
    share, number = predictions.correct.mean(), len(predictions.labels)
    these = agree(total, "this", "these")
    title = (
        f"{correct} of {these} {format_count(total, 'test image')} {agree(correct, 'is', 'are')} right "
        f"({share:.0%} of all {number:,})"
    )
    caption = (
        f"One row per class, with {GRID_IMAGES} random test images of it: blue and ✓ if the prediction is right, red "
        "and ✗ if it is wrong; the bar is the probability of the predicted class."
    )
    if len(shown) < len(class_names):
        caption += (
            f" {len(shown)} of {len(class_names)} classes, spread evenly from the best recognised (top) to the worst."
        )
    shape = {"nrows": len(shown), "ncols": GRID_IMAGES, "squeeze": False}
    with open_figure(9.5, 0.7 + 0.95 * len(shown), **shape) as (figure, axes):
        for row, label, indices in zip(axes, shown, cells, strict=True):
            for cell, index in itertools.zip_longest(row, indices):
                _draw_prediction(cell, predictions, index, class_names)
            row[0].set_ylabel(_shorten(class_names[label]), rotation=0, ha="right", va="center", fontweight="bold")
        return save_figure(figure, path, title, caption, [[[cell] for cell in row] for row in axes])


def _select_grid_classes(predictions: ModelPredictions, num_classes: int) -> np.ndarray:
    """Return the labels of the classes of the grid: all, or ten spread evenly over the ranking by recall."""
    counts = np.bincount(predictions.labels, minlength=num_classes)
    labels = np.flatnonzero(counts)
    if len(labels) <= GRID_CLASSES:
        return labels
    recall = np.bincount(predictions.labels, predictions.correct, num_classes)[labels] / counts[labels]
    ranked = labels[np.argsort(-recall, kind="stable")]
    return ranked[np.linspace(0, len(ranked) - 1, GRID_CLASSES).round().astype(int)]


def draw_most_wrong(path: Path, predictions: ModelPredictions, class_names: Sequence[str]) -> Path | None:
    """Draw the wrongly predicted images whose true class has the lowest probability.

    Args:
        path: of the PNG file; also returned. If all predictions are right, no figure is drawn and None is returned.
        predictions: predictions of the test images.
        class_names: in the order of the labels.
    """
    wrong = np.flatnonzero(~predictions.correct)
    wrong = wrong[np.argsort(predictions.true_probability[wrong], kind="stable")][:MOST_WRONG]
    if not len(wrong):
        path.unlink(missing_ok=True)  # of an earlier test
        return None
    first = wrong[0]
    title = (
        f"Most wrong: {class_names[predictions.labels[first]]} taken for "
        f"{class_names[predictions.predicted[first]]} with {predictions.confidence[first]:.0%} confidence"
    )
    caption = (
        "The test images whose true class got the lowest probability, the worst first. They often show what the "
        "network really looks at, or a wrong label."
    )
    rows = -(-len(wrong) // GRID_IMAGES)
    shape = {"nrows": rows, "ncols": GRID_IMAGES, "squeeze": False}
    with open_figure(9.5, 0.7 + 1.1 * rows, **shape) as (figure, axes):
        for cell, index in itertools.zip_longest(axes.flat, wrong):
            _draw_prediction(cell, predictions, index, class_names)
        return save_figure(figure, path, title, caption, [[[cell] for cell in row] for row in axes])


def _draw_prediction(
    axes: Axes, predictions: ModelPredictions, index: int | np.integer | None, class_names: Sequence[str]
) -> None:
    """Draw a test image and, to its right, the predicted class with a bar of its probability; nothing for None."""
    if index is None:
        axes.axis("off")
        return
    predicted = rank_classes(predictions.probabilities[index])[0]
    correct, confidence = predictions.correct[index], predictions.confidence[index]
    colour = RIGHT if correct else WRONG
    axes.imshow(predictions.image(index), extent=(0, 1, 0, 1), interpolation="nearest")
    axes.set(xlim=(-0.04, 3.9), ylim=(-0.04, 1.04), xticks=[], yticks=[], facecolor="white" if correct else "#FBEDE4")
    axes.grid(False)
    for side in axes.spines.values():
        side.set(visible=True, color=colour, linewidth=1 if correct else 2.5)
    text = f"{'✓' if correct else '✗'} {_shorten(class_names[predicted], 20)}"
    axes.text(1.12, 0.72, text, color=colour, va="center", fontweight="bold", fontsize=9)
    if not correct:
        axes.text(1.12, 0.46, f"is {_shorten(class_names[predictions.labels[index]])}", va="center", fontsize=8)
    axes.barh(0.2, 2.2, 0.16, left=1.12, color="#E5E5E5")
    axes.barh(0.2, 2.2 * confidence, 0.16, left=1.12, color=colour)
    axes.text(3.38, 0.2, f"{confidence:.0%}", va="center", fontsize=8)


def _shorten(name: str, length: int = 22) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"
