"""The pictures of a test: confusion matrix, reliability, classes, a grid of photos, the most wrong ones."""

import itertools
import textwrap

import numpy as np

from workbench.metrics import CALIBRATION_BINS, calibration, confused_pairs, ranking
from workbench.reporting import figures

MAX_CLASSES = 25  # more are not readable in one matrix
GRID_CLASSES, GRID_IMAGES = 10, 3
MOST_WRONG = 12
INK = "Blues"  # most cells of a matrix are empty: white spares ink, and shows few confusions too
RIGHT, WRONG = figures.BLUE, figures.RED


def draw(run, outcome, numbers):
    """Draw every figure into the run's `figures/`; their paths.

    Args:
        run: a `workbench.finished_run.FinishedRun`.
        outcome: its `workbench.evaluate.Outcome`.
        numbers: from `workbench.evaluate.measure`.
    """
    folder = run.path / "figures"
    folder.mkdir(exist_ok=True)
    matrix = np.zeros((len(run.class_names),) * 2, int)
    np.add.at(matrix, (outcome.labels, outcome.predicted), 1)
    paths = [
        confusion_matrix(folder / "confusion_matrix.png", matrix, run.class_names),
        reliability(folder / "reliability.png", outcome.confidence, outcome.correct),
        per_class(folder / "per_class.png", numbers["per_class"]),
        prediction_grid(folder / "prediction_grid.png", outcome, run.class_names),
        most_wrong(folder / "most_wrong.png", outcome, run.class_names),
    ]
    return [path for path in paths if path]


def confusion_matrix(path, matrix, class_names):
    """Draw how often each class was taken for each; of many classes those that were confused most.

    Args:
        path: of the PNG.
        matrix: counts, rows are true classes.
        class_names: in the order of the rows.
    """
    shown = _hardest(matrix)
    names = [_short(class_names[label]) for label in shown]
    counts = matrix[np.ix_(shown, shown)]
    recall = counts / np.maximum(matrix[shown].sum(axis=1, keepdims=True), 1)
    side = 2.6 + 0.42 * len(shown)
    title = _confusion_title(matrix, class_names)
    with figures.figure(side + 0.8, side) as (made, axes):
        drawn = figures.show_image(axes, recall, title=_wrapped(title, side), vmin=0, vmax=1, cmap=INK)
        axes.set_xticks(range(len(shown)), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(shown)), names)
        axes.set(xlabel="predicted class", ylabel="true class")
        for row, column in zip(*np.nonzero(counts), strict=True):
            colour = "white" if recall[row, column] > 0.55 else "black"
            axes.text(column, row, counts[row, column], ha="center", va="center", color=colour, fontsize=8)
        made.colorbar(drawn, ax=axes, label="share of the true class's images", shrink=0.8)
        caption = "Rows are true classes, columns what was predicted; numbers count images, the diagonal is right."
        if len(shown) < len(class_names):
            caption += (
                f" Only {len(shown)} of {len(class_names)} classes are shown, those of the most frequent confusions."
            )
        return figures.save(made, path, title, caption)


def _hardest(matrix):
    """Labels, in order, of the classes of the most frequent confusions; all where they can be shown."""
    confused = itertools.chain.from_iterable(pair[:2] for pair in confused_pairs(matrix))
    ranked = dict.fromkeys([*confused, *range(len(matrix))])
    return sorted(itertools.islice(ranked, MAX_CLASSES))


def _confusion_title(matrix, class_names):
    right, total, pairs = np.trace(matrix), matrix.sum(), confused_pairs(matrix)
    if not pairs:
        return f"All {total:,} test images are right"
    true, predicted, count = pairs[0]
    return (
        f"{right:,} of {total:,} test images are right; most often "
        f"{class_names[true]} is taken for {class_names[predicted]} ({count}x)"
    )


def reliability(path, confidence, correct):
    """Draw accuracy against confidence, and how many images have which confidence.

    Args:
        path: of the PNG.
        confidence: (n,), probability of the predicted class.
        correct: (n,), whether it is the true one.
    """
    found = calibration(confidence, correct)
    sure, right = np.mean(confidence), np.mean(correct)
    if abs(sure - right) < 0.02:
        finding = "Confidence can be believed"
    else:
        finding = "Over-confident" if sure > right else "Under-confident"
    title = f"{finding}: {sure:.0%} sure on average, {right:.0%} right (calibration error {found.error:.1%})"
    with figures.figure(6.5, 5.5, nrows=2, sharex=True, height_ratios=[3, 1]) as (made, (curve, histogram)):
        curve.plot([0, 1], [0, 1], color=figures.GREY, linestyle="--", label="confidence equals accuracy")
        bars = {"width": 1 / CALIBRATION_BINS, "align": "edge", "edgecolor": "white"}
        curve.bar(found.low, found.accuracy, color=figures.SKY, label="accuracy", **bars)
        curve.plot(found.confidence, found.accuracy, "o", color=figures.BLUE, label="mean of a bin")
        curve.set(ylim=(0, 1.02), xlim=(0, 1), ylabel="share that is right", title=_wrapped(title, 6.5))
        curve.legend(loc="upper left")
        histogram.bar(found.low, found.count, color=figures.GREY, **bars)
        histogram.set(xlabel="confidence: probability of the predicted class", ylabel="images")
        caption = (
            f"Test images in {CALIBRATION_BINS} bins of confidence. Bars below the dashed line: surer than right. The "
            "calibration error is the distance from the line, averaged over images; bins of few images say little."
        )
        return figures.save(made, path, title, caption)


def per_class(path, rows):
    """Draw precision, recall and F1 of each class, best first; of many classes the ends of the list.

    Args:
        path: of the PNG.
        rows: `per_class` of `workbench.evaluate.measure`.
    """
    rows = sorted((row for row in rows if row["images"]), key=lambda row: -row["f1"])
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
    with figures.figure(7.5, 1.6 + 0.26 * len(rows)) as (made, axes):
        axes.barh(places, [row["f1"] for row in rows], color=figures.SKY, label="F1")
        axes.plot([row["precision"] for row in rows], places, "D", color=figures.RED, markersize=5, label="precision")
        axes.plot([row["recall"] for row in rows], places, "o", color=figures.BLUE, markersize=5, label="recall")
        axes.set_yticks(places, [f"{_short(row['class'])} ({row['images']})" for row in rows])
        axes.set(xlim=(0, 1.02), ylim=(len(rows) - 0.4, -0.6), title=_wrapped(title, 7.5))
        made.legend(ncols=3, loc="outside lower left")
        return figures.save(made, path, title, caption)


def prediction_grid(path, outcome, class_names):
    """Draw three test images of each of ten classes with what was predicted and how surely: one row a class.

    The images are drawn by lot. Of more than ten classes those shown are spread evenly from the best recognised
    to the worst, and the caption says so.

    Args:
        path: of the PNG.
        outcome: a `workbench.evaluate.Outcome`.
        class_names: in the order of the labels.
    """
    shown = _spread(outcome, len(class_names))
    rng = np.random.default_rng(0)
    cells = [rng.permutation(np.flatnonzero(outcome.labels == label))[:GRID_IMAGES] for label in shown]
    right = sum(outcome.correct[index] for index in itertools.chain(*cells))
    total = sum(map(len, cells))
    share, number = outcome.correct.mean(), len(outcome.labels)
    title = f"{right} of these {total} test images are right ({share:.0%} of all {number:,})"
    caption = (
        f"One row a class, {GRID_IMAGES} of its test images drawn by lot: blue and ✓ where the prediction is right, "
        "red and ✗ where it is wrong; the bar is the probability of the predicted class."
    )
    if len(shown) < len(class_names):
        caption += f" {len(shown)} of {len(class_names)} classes, evenly from the best recognised (top) to the worst."
    shape = {"nrows": len(shown), "ncols": GRID_IMAGES, "squeeze": False}
    with figures.figure(9.5, 0.7 + 0.95 * len(shown), **shape) as (made, axes):
        for row, label, indices in zip(axes, shown, cells, strict=True):
            for column, cell in enumerate(row):
                if column < len(indices):
                    _photo(cell, outcome, indices[column], class_names)
                else:
                    cell.axis("off")
            row[0].set_ylabel(_short(class_names[label]), rotation=0, ha="right", va="center", fontweight="bold")
        made.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        return figures.save(made, path, title, caption)


def _spread(outcome, num_classes):
    """Labels of the classes to show: all, or some spread evenly over the ranking by recall."""
    counts = np.bincount(outcome.labels, minlength=num_classes)
    labels = np.flatnonzero(counts)
    if len(labels) <= GRID_CLASSES:
        return labels
    recall = np.bincount(outcome.labels, outcome.correct, num_classes)[labels] / counts[labels]
    ranked = labels[np.argsort(-recall, kind="stable")]
    return ranked[np.linspace(0, len(ranked) - 1, GRID_CLASSES).round().astype(int)]


def most_wrong(path, outcome, class_names):
    """Draw the test images whose true class was held least likely; None, and no figure, where all are right.

    Args:
        path: of the PNG.
        outcome: a `workbench.evaluate.Outcome`.
        class_names: in the order of the labels.
    """
    of_true = outcome.probabilities[np.arange(len(outcome.labels)), outcome.labels]
    wrong = np.flatnonzero(~outcome.correct)
    wrong = wrong[np.argsort(of_true[wrong], kind="stable")][:MOST_WRONG]
    if not len(wrong):
        path.unlink(missing_ok=True)  # of an earlier test
        return None
    first = wrong[0]
    title = (
        f"Most wrong: {class_names[outcome.labels[first]]} held to be "
        f"{class_names[outcome.predicted[first]]} with {outcome.confidence[first]:.0%} confidence"
    )
    caption = (
        "The test images whose true class was given the lowest probability, the worst first. They often show what the "
        "network really looks at, or a wrong label."
    )
    rows = -(-len(wrong) // GRID_IMAGES)
    shape = {"nrows": rows, "ncols": GRID_IMAGES, "squeeze": False}
    with figures.figure(9.5, 0.7 + 1.1 * rows, **shape) as (made, axes):
        for cell, index in itertools.zip_longest(axes.flat, wrong):
            if index is None:
                cell.axis("off")
            else:
                _photo(cell, outcome, index, class_names, name_true=True)
        made.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        return figures.save(made, path, title, caption)


def _photo(axes, outcome, index, class_names, name_true=False):
    """One image, and beside it what was predicted, with a bar for how surely."""
    predicted = ranking(outcome.probabilities[index])[0]
    correct, confidence = outcome.correct[index], outcome.confidence[index]
    colour = RIGHT if correct else WRONG
    axes.imshow(outcome.image(index), extent=(0, 1, 0, 1), interpolation="nearest")
    axes.set(xlim=(-0.04, 3.9), ylim=(-0.04, 1.04), xticks=[], yticks=[], facecolor="white" if correct else "#FBEDE4")
    axes.grid(False)
    for side in axes.spines.values():
        side.set(visible=True, color=colour, linewidth=1 if correct else 2.5)
    words = f"{'✓' if correct else '✗'} {_short(class_names[predicted], 20)}"
    axes.text(1.12, 0.72, words, color=colour, va="center", fontweight="bold", fontsize=9)
    if name_true:
        axes.text(1.12, 0.46, f"is {_short(class_names[outcome.labels[index]])}", va="center", fontsize=8)
    axes.barh(0.2, 2.2, 0.16, left=1.12, color="#E5E5E5")
    axes.barh(0.2, 2.2 * confidence, 0.16, left=1.12, color=colour)
    axes.text(3.38, 0.2, f"{confidence:.0%}", va="center", fontsize=8)


def _short(name, length=22):
    return name if len(name) <= length else name[: length - 1] + "…"


def _wrapped(title, inches):
    """A title broken into lines that fit a figure of this width."""
    return "\n".join(textwrap.wrap(title, int(inches * 9.3)))
