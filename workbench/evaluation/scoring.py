"""The test of a run's model on the held-out images: its predictions and its metrics."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

from workbench.console import console, open_bar, show_decoding
from workbench.data.dataset import Dataset
from workbench.data.splits.earlier_runs import describe_unchecked_runs, find_base, list_unchecked_runs
from workbench.data.splits.leaks import describe_leaks
from workbench.devices.device import describe_device
from workbench.errors import UserError
from workbench.evaluation.metrics import list_confusions, measure_calibration, wilson_interval
from workbench.evaluation.probabilities import is_in_top, rank_classes, softmax
from workbench.files import read_csv, write_csv, write_json
from workbench.finished_run import FinishedRun
from workbench.saved_metrics import can_be_compared

BATCH_SIZE = 64
PREDICTIONS = "test_predictions.csv"


ClassMetrics = TypedDict(
    "ClassMetrics", {"class": str, "images": int, "precision": float, "recall": float, "f1": float}
)


class Confusion(TypedDict):
    """How many images of one class were predicted to be of another."""

    true: str
    predicted: str
    count: int


class PredictionMetrics(TypedDict):
    """Metrics of predictions on labelled images.

    Attributes:
        images: number of images.
        accuracy, accuracy_interval: top-1 accuracy, and its 95 % interval by Wilson's method.
        top_k: 3, or the number of classes if there are fewer.
        top_k_accuracy, top_k_interval: share of images whose true class is among the `top_k` most probable ones.
        loss: mean cross-entropy.
        confidence: mean probability of the predicted class.
        ece: expected calibration error over 15 bins.
        per_class: in the order of the labels.
        confused: the most frequent confusion first.
    """

    images: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    top_k: int
    top_k_accuracy: float
    top_k_interval: tuple[float, float]
    loss: float
    confidence: float
    ece: float
    per_class: list[ClassMetrics]
    confused: list[Confusion]


class LeakMetrics(TypedDict):
    """The accuracy without the test images that were also used for training or validation.

    Attributes:
        leaked: number of test images whose photo is also in the training or the validation set, also in those of an
            earlier run whose network was fine-tuned.
        accuracy_without_leaked, interval_without_leaked: top-1 accuracy on the other test images, with its 95 %
            interval; None if there are no others.
    """

    leaked: int
    accuracy_without_leaked: float | None
    interval_without_leaked: tuple[float, float] | None


class ModelMetrics(PredictionMetrics, LeakMetrics):
    """Metrics of a tested model, as they are saved under `test` in metrics.json.

    Attributes:
        keeps_split: whether the run keeps its split. If not, it is not known whether its data has changed.
        unchecked_runs: earlier runs whose network was fine-tuned and of which it is not known which images they used.
    """

    keeps_split: bool
    unchecked_runs: list[str]
    device: str
    images_per_second: float
    total_parameters: int
    model_bytes: int
    model_sha256: str | None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A model's predictions for each test image. Row i of every array belongs to image i.

    Attributes:
        dataset: the data set; these are its test images.
        labels: int (n,), the true classes.
        probabilities: float64 (n, num_classes).
        seconds: time that the predictions took.
    """

    dataset: Dataset
    labels: np.ndarray
    probabilities: np.ndarray
    seconds: float

    def image(self, index: int | np.integer) -> np.ndarray:
        """Return a test image, uint8 RGB (size, size, 3)."""
        return self.dataset.images[self.dataset.test[index]]

    @property
    def repeats(self) -> list[str]:
        """For each image the name of a training or validation image of the same photo, else an empty text.

        It may be one of an earlier run whose network was fine-tuned.
        """
        repeats = {image.name: image.repeats or image.seen_in for image in self.dataset.split}
        return [repeats.get(name, "") for name in self.names]

    @property
    def names(self) -> list[str]:
        """Names of the images."""
        return [self.dataset.names[row] for row in self.dataset.test]

    @property
    def predicted(self) -> np.ndarray:
        """int (n,), the most probable classes."""
        return self.probabilities.argmax(axis=1)

    @property
    def confidence(self) -> np.ndarray:
        """float64 (n,), the probabilities of the most probable classes."""
        return self.probabilities.max(axis=1)

    @property
    def correct(self) -> np.ndarray:
        """bool (n,), whether the most probable class is the true one."""
        return self.predicted == self.labels

    @property
    def true_probability(self) -> np.ndarray:
        """float64 (n,), the probabilities of the true classes."""
        return self.probabilities[np.arange(len(self.labels)), self.labels]


class SavedScore(NamedTuple):
    """The saved result of a test: rows of test_predictions.csv, and the metrics."""

    predictions: list[dict[str, str]]
    metrics: ModelMetrics


def score_run(run: FinishedRun) -> tuple[Outcome, ModelMetrics]:
    """Test a run's model on the test images, and save predictions and metrics in the run folder.

    Raises:
        UserError: the model or the data cannot be loaded, or the data has no test image.
    """
    dataset = run.load_dataset(show_decoding, use="test")
    unchecked = list_unchecked_runs(find_base(run.path))
    for line in (*describe_leaks(dataset.split, run.data_config.data), *describe_unchecked_runs(unchecked)):
        console.print(line)
    if not len(dataset.test):
        raise UserError(f"--data {run.data_config.data}: has no test image, so that {run.path} cannot be tested")
    with open_bar() as progress:
        outcome = _predict(run, dataset, lambda batches: progress.track(batches, description="testing"))
    metrics: ModelMetrics = {
        **measure(outcome.labels, outcome.probabilities, run.class_names),
        **measure_without_leaked(outcome),
        "keeps_split": run.keeps_split,
        "unchecked_runs": unchecked,
        "device": describe_device(),
        "images_per_second": len(outcome.labels) / outcome.seconds,
        "total_parameters": run.model.count_params(),
        "model_bytes": (run.path / "model.keras").stat().st_size,
        "model_sha256": run.hash_model(),
    }
    write_csv(run.results_path / PREDICTIONS, _list_predictions(outcome, run.class_names))
    write_json(run.results_path / "metrics.json", {**run.metrics, "test": metrics})
    return outcome, metrics


def find_score(run: FinishedRun) -> SavedScore | None:
    """Return the saved score of a run; None if its present model has not been tested, or the files do not agree."""
    metrics, predictions = run.metrics.get("test"), read_csv(run.find_result(PREDICTIONS))
    if not isinstance(metrics, dict) or metrics.get("model_sha256") != run.hash_model():
        return None
    is_whole = all(None not in (row.get(name) for name in ("image", "true", "correct")) for row in predictions)
    if not is_whole or not can_be_compared(metrics) or metrics.get("images") != len(predictions):
        return None
    num_correct = sum(row["correct"] == "1" for row in predictions)
    agrees = math.isclose(num_correct, metrics["accuracy"] * len(predictions), abs_tol=1e-6)
    return SavedScore(predictions, metrics) if agrees else None  # type: ignore[arg-type]


def _predict(
    run: FinishedRun, dataset: Dataset, track: Callable[[Sequence[np.ndarray]], Iterable[np.ndarray]]
) -> Outcome:
    """Predict the test images in batches. `track` shows the progress over the batches."""
    model = run.model
    batches = [dataset.test[first : first + BATCH_SIZE] for first in range(0, len(dataset.test), BATCH_SIZE)]
    model.predict_on_batch(dataset.images[batches[0]])  # so that the measured time does not include tracing
    start = time.perf_counter()
    logits = [model.predict_on_batch(dataset.images[rows]) for rows in track(batches)]
    seconds = time.perf_counter() - start
    return Outcome(dataset, dataset.labels[dataset.test], softmax(np.concatenate(logits)), seconds)


def measure(labels: npt.ArrayLike, probabilities: npt.ArrayLike, class_names: Sequence[str]) -> PredictionMetrics:
    """Compute the metrics of predictions on labelled images.

    Args:
        labels: int (n,), the true classes.
        probabilities: (n, num_classes).
        class_names: in the order of the labels.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    classes = range(len(class_names))
    predicted, confidence, k = probabilities.argmax(axis=1), probabilities.max(axis=1), min(3, len(class_names))
    correct, in_top_k = predicted == labels, is_in_top(probabilities, labels, k)
    scores = precision_recall_fscore_support(labels, predicted, labels=classes, zero_division=0)
    confusions = list_confusions(confusion_matrix(labels, predicted, labels=classes))
    return {
        "images": len(labels),
        "accuracy": float(correct.mean()),
        "accuracy_interval": wilson_interval(correct.sum(), len(labels)),
        "top_k": k,
        "top_k_accuracy": float(in_top_k.mean()),
        "top_k_interval": wilson_interval(in_top_k.sum(), len(labels)),
        "loss": float(log_loss(labels, probabilities, labels=classes)),
        "confidence": float(confidence.mean()),
        "ece": measure_calibration(confidence, correct).error,
        "per_class": [
            {"class": name, "images": int(count), "precision": float(p), "recall": float(r), "f1": float(f)}
            for name, p, r, f, count in zip(class_names, *scores, strict=True)
        ],
        "confused": [
            {"true": class_names[true], "predicted": class_names[predicted], "count": count}
            for true, predicted, count in confusions
        ],
    }


def measure_without_leaked(outcome: Outcome) -> LeakMetrics:
    """Compute the accuracy on the test images whose photo is in neither the training nor the validation set."""
    is_clean = np.array([not name for name in outcome.repeats], bool)
    correct = outcome.correct[is_clean]
    return {
        "leaked": len(is_clean) - len(correct),
        "accuracy_without_leaked": float(correct.mean()) if len(correct) else None,
        "interval_without_leaked": wilson_interval(correct.sum(), len(correct)) if len(correct) else None,
    }


def _list_predictions(outcome: Outcome, class_names: Sequence[str]) -> list[dict[str, str | int | float]]:
    """Return the rows of test_predictions.csv."""
    top_3 = rank_classes(outcome.probabilities)[:, :3]
    return [
        {
            "image": name,
            "true": class_names[label],
            "predicted": class_names[top[0]],
            "confidence": round(float(probabilities[top[0]]), 6),
            "correct": int(top[0] == label),
            "true_probability": round(float(true_probability), 6),
            "top_3": " | ".join(f"{class_names[c]} {probabilities[c]:.3f}" for c in top),
            "repeats": repeats,
        }
        for name, label, probabilities, top, true_probability, repeats in zip(
            outcome.names,
            outcome.labels,
            outcome.probabilities,
            top_3,
            outcome.true_probability,
            outcome.repeats,
            strict=True,
        )
    ]
