"""Metrics of predictions on labelled images: accuracy with its interval, F1 of each class, calibration, confusions."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix, log_loss, precision_recall_fscore_support

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
        **measure_balanced_scores(labels, predicted, len(class_names)),
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
