"""Test a finished run on the held-out images: accuracy with its interval, calibration, confusions, figures."""

import dataclasses
import time

import numpy as np

from workbench import cli
from workbench.data.dataset import Dataset
from workbench.errors import UserError
from workbench.files import file_hash, read_csv, write_csv, write_json
from workbench.finished_run import open_run, softmax
from workbench.metrics import calibration, confused_pairs, in_top, ranking, wilson_interval

BATCH_SIZE = 64
PREDICTIONS = "test_predictions.csv"


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """Evaluate.

    Args:
        run: Folder of a finished run or sweep.
    """

    run: str | None = cli.positional()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run's model says about each test image; row i of everything belongs to image i.

    Attributes:
        dataset: the `workbench.data.dataset.Dataset` whose test rows these are.
        labels: int (n,), the true classes.
        probabilities: float64 (n, num_classes).
        seconds: that the model took.
    """

    dataset: Dataset
    labels: np.ndarray
    probabilities: np.ndarray
    seconds: float

    def image(self, index):
        """uint8 RGB (size, size, 3)."""
        return self.dataset.images[self.dataset.test[index]]

    @property
    def names(self):
        """The images' names."""
        return [self.dataset.names[row] for row in self.dataset.test]

    @property
    def predicted(self):
        """int (n,), the most probable classes."""
        return self.probabilities.argmax(axis=1)

    @property
    def confidence(self):
        """float64 (n,), their probabilities."""
        return self.probabilities.max(axis=1)

    @property
    def correct(self):
        """bool (n,)."""
        return self.predicted == self.labels


def evaluate(config):
    """Test a run, and leave what was found in its folder.

    Args:
        config: an `EvaluateConfig`.

    Returns:
        The numbers (see `measure`), as they stand under `test` in metrics.json; test_predictions.csv has a row an
        image, figures/ the pictures, report.html all of it. TensorBoard gets the pictures
        too, W&B where the run logged to it.

    Raises:
        UserError: the run cannot be opened or its data holds no test image.
    """
    run = open_run(config.run)
    from workbench.runtime import load_tensorflow

    load_tensorflow()
    from workbench.console import console
    from workbench.report import leave_report
    from workbench.reporting.evaluation_figures import draw
    from workbench.training.tracking import log_test

    outcome, numbers = score_run(run)
    for line in summary(numbers):
        console.print(line)
    figures = draw(run, outcome, numbers)
    logs = log_test(run, figures, numbers)
    lines = [
        ("numbers", f"{run.path / 'metrics.json'} (test), each image in {run.path / PREDICTIONS}"),
        ("figures", f"{run.path / 'figures'} ({len(figures)})" + (f", and in TensorBoard from {logs}" if logs else "")),
        ("report", leave_report(run.path)),
    ]
    console.print()
    for what, where in lines:
        console.print(f"{what + ':':14}{where}")
    return numbers


def score_run(run):
    """Test an opened run and write its numbers, without figures: (`Outcome`, numbers)."""
    from workbench.console import bar, decoding_progress

    model = run.model
    dataset = run.dataset(decoding_progress)
    if not len(dataset.test):
        raise UserError(f"--data {run.config['data']}: holds no test image that {run.path} could be tested on")
    with bar() as progress:
        outcome = _predict(model, dataset, lambda batches: progress.track(batches, description="testing"))
    numbers = {
        **measure(outcome.labels, outcome.probabilities, run.class_names),
        "images_per_second": len(outcome.labels) / outcome.seconds,
        "total_parameters": model.count_params(),
        "model_bytes": (run.path / "model.keras").stat().st_size,
        "model_sha256": model_digest(run),
    }
    write_csv(run.path / PREDICTIONS, _rows(outcome, run.class_names))
    write_json(run.path / "metrics.json", {**run.metrics, "test": numbers})
    return outcome, numbers


def earlier_score(run):
    """(rows of test_predictions.csv, numbers) of a run that was tested with its present model, else None."""
    numbers, rows = run.metrics.get("test"), read_csv(run.path / PREDICTIONS)
    if not isinstance(numbers, dict) or numbers.get("model_sha256") != model_digest(run):
        return None
    return (rows, numbers) if numbers.get("images") == len(rows) else None


def model_digest(run):
    """SHA-256 of a run's model file, to tell whether numbers belong to it; None where there is none."""
    try:
        return file_hash(run.path / "model.keras", "sha256")
    except FileNotFoundError:
        return None


def _predict(model, dataset, track):
    batches = [dataset.test[first : first + BATCH_SIZE] for first in range(0, len(dataset.test), BATCH_SIZE)]
    model.predict_on_batch(dataset.images[batches[0]])  # so that what is measured does not hold the set-up
    start = time.perf_counter()
    logits = [model.predict_on_batch(dataset.images[rows]) for rows in track(batches)]
    seconds = time.perf_counter() - start
    return Outcome(dataset, dataset.labels[dataset.test], softmax(np.concatenate(logits)), seconds)


def measure(labels, probabilities, class_names):
    """The numbers of a test.

    Args:
        labels: int (n,), the true classes.
        probabilities: (n, num_classes).
        class_names: in the order of the labels.

    Returns:
        Dictionary of plain values: images, accuracy (top-1) and accuracy_interval, top_k (3, or the number of
        classes), top_k_accuracy and top_k_interval, loss (mean cross-entropy), confidence (mean), ece, per_class
        (list of class, images, precision, recall, f1), confused (list of true, predicted, count, the most
        frequent first). Intervals are Wilson's, 95 %; the calibration error has 15 bins.
    """
    from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    classes = range(len(class_names))
    predicted, confidence, k = probabilities.argmax(axis=1), probabilities.max(axis=1), min(3, len(class_names))
    right, in_top_k = predicted == labels, in_top(probabilities, labels, k)
    scores = precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0)
    pairs = confused_pairs(confusion_matrix(labels, predicted, labels=classes))
    return {
        "images": len(labels),
        "accuracy": float(right.mean()),
        "accuracy_interval": wilson_interval(right.sum(), len(labels)),
        "top_k": k,
        "top_k_accuracy": float(in_top_k.mean()),
        "top_k_interval": wilson_interval(in_top_k.sum(), len(labels)),
        "loss": float(log_loss(labels, probabilities, labels=classes)),
        "confidence": float(confidence.mean()),
        "ece": calibration(confidence, right).error,
        "per_class": [
            {"class": name, "images": int(count), "precision": float(p), "recall": float(r), "f1": float(f)}
            for name, p, r, f, count in zip(class_names, *scores, strict=True)
        ],
        "confused": [
            {"true": class_names[true], "predicted": class_names[predicted], "count": count}
            for true, predicted, count in pairs
        ],
    }


def summary(numbers):
    """The numbers of a test as a few lines for a person in a hurry."""
    classes, k = len(numbers["per_class"]), numbers["top_k"]
    yield f"{numbers['images']:,} test images of {classes} classes, each seen once"
    yield f"top-1:       {_share(numbers, 'accuracy', 'accuracy_interval')}"
    if k < classes:
        yield f"top-{k}:       {_share(numbers, 'top_k_accuracy', 'top_k_interval')}"
    sure = f"{numbers['confidence']:.1%} sure and {numbers['accuracy']:.1%} right"
    yield f"calibration: {numbers['ece']:6.1%}   off on average (ECE); {sure}"
    weakest = sorted((row for row in numbers["per_class"] if row["images"]), key=lambda row: row["f1"])[:3]
    yield "weakest:      " + ", ".join(f"{row['class']} (F1 {row['f1']:.2f})" for row in weakest)
    if numbers["confused"]:
        pairs = (f"{pair['true']} as {pair['predicted']} ({pair['count']}x)" for pair in numbers["confused"][:3])
        yield "confused:     " + ", ".join(pairs)
    yield f"speed:        {numbers['images_per_second']:,.0f} images/s"


def _share(numbers, value, interval):
    low, high = numbers[interval]
    return f"{numbers[value]:6.1%}   (95 % interval {low:.1%} to {high:.1%})"


def _rows(outcome, class_names):
    """The rows of test_predictions.csv."""
    best = ranking(outcome.probabilities)[:, :3]
    true_probability = outcome.probabilities[np.arange(len(outcome.labels)), outcome.labels]
    return [
        {
            "image": name,
            "true": class_names[label],
            "predicted": class_names[top[0]],
            "confidence": round(float(probabilities[top[0]]), 6),
            "correct": int(top[0] == label),
            "true_probability": round(float(of_true), 6),
            "top_3": " | ".join(f"{class_names[c]} {probabilities[c]:.3f}" for c in top),
        }
        for name, label, probabilities, top, of_true in zip(
            outcome.names, outcome.labels, outcome.probabilities, best, true_probability, strict=True
        )
    ]


def main(argv=None):
    """Run the command line."""
    cli.main(evaluate, EvaluateConfig, prog="python -m workbench.evaluate", description=__doc__, argv=argv)


if __name__ == "__main__":
    main()
