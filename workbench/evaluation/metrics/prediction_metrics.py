"""Metrics of predictions on labelled images: accuracy with its interval, F1 of each class, calibration, confusions."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from workbench.evaluation.metrics.balanced_scores import BalancedScores, measure_balanced_scores
from workbench.evaluation.metrics.statistics import list_confusions, measure_calibration, wilson_interval
from workbench.evaluation.probabilities import is_in_top

ClassMetrics = TypedDict(
    "ClassMetrics", {"class": str, "images": int, "precision": float, "recall": float, "f1": float}
)


class Confusion(TypedDict):
    """How many images of one class were predicted to be of another."""

    true: str
    predicted: str
    count: int


class PredictionMetrics(BalancedScores):
    """Metrics of predictions on labelled images, those of `BalancedScores` among them.

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


def measure(labels: npt.ArrayLike, probabilities: npt.ArrayLike, class_names: Sequence[str]) -> PredictionMetrics:
    """Compute the metrics of predictions on labelled images.

    Of images of a single class, the mean recall is the accuracy, and no image of another class can be taken for it; so
    there are no balanced scores.

    Args:
        labels: int (n,), the true classes.
        probabilities: (n, num_classes).
        class_names: in the order of the labels.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    predicted, confidence, k = probabilities.argmax(axis=1), probabilities.max(axis=1), min(3, len(class_names))
    correct, in_top_k = predicted == labels, is_in_top(probabilities, labels, k)
    matrix = count_predictions(labels, predicted, len(class_names))
    balanced: BalancedScores = {}
    if len(np.unique(labels)) > 1:
        balanced = measure_balanced_scores(labels, predicted, len(class_names))
    return {
        "images": len(labels),
        "accuracy": float(correct.mean()),
        "accuracy_interval": wilson_interval(correct.sum(), len(labels)),
        "top_k": k,
        "top_k_accuracy": float(in_top_k.mean()),
        "top_k_interval": wilson_interval(in_top_k.sum(), len(labels)),
        **balanced,
        "loss": measure_loss(labels, probabilities),
        "confidence": float(confidence.mean()),
        "ece": measure_calibration(confidence, correct).error,
        "per_class": measure_classes(matrix, class_names),
        "confused": [
            {"true": class_names[true], "predicted": class_names[predicted], "count": count}
            for true, predicted, count in list_confusions(matrix)
        ],
    }


def count_predictions(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the confusion matrix of counts, int (num_classes, num_classes); rows are true classes."""
    matrix = np.zeros((num_classes, num_classes), int)
    np.add.at(matrix, (labels, predicted), 1)
    return matrix


def measure_classes(matrix: np.ndarray, class_names: Sequence[str]) -> list[ClassMetrics]:
    """Return precision, recall and F1 of each class from the confusion matrix; 0 where one would divide by 0."""
    right, images, chosen = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    precision, recall = right / np.maximum(chosen, 1), right / np.maximum(images, 1)
    f1 = 2 * right / np.maximum(images + chosen, 1)
    return [
        {"class": name, "images": int(count), "precision": float(p), "recall": float(r), "f1": float(f)}
        for name, count, p, r, f in zip(class_names, images, precision, recall, f1, strict=True)
    ]


def measure_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean cross-entropy; a probability of 0 counts as the smallest step of its number format."""
    of_true = probabilities[np.arange(len(labels)), labels]
    epsilon = np.finfo(of_true.dtype).eps
    return float(-np.log(np.clip(of_true, epsilon, 1 - epsilon)).mean())
