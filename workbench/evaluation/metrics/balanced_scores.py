"""Balanced accuracy and macro-F1: means over classes, in which a rare class counts as much as a frequent one."""

from typing import TypedDict

import numpy as np

from workbench.evaluation.metrics.bootstrap import bootstrap_intervals
from workbench.evaluation.metrics.statistics import wilson_interval


class BalancedScores(TypedDict, total=False):
    """Means over the classes that have images; missing where all images are of one class.

    Attributes:
        balanced_accuracy: mean of the classes' recalls.
        macro_f1: mean of the classes' F1.
        balanced_accuracy_interval, macro_f1_interval: their 95 % intervals by the bootstrap over images.
    """

    balanced_accuracy: float
    balanced_accuracy_interval: tuple[float, float]
    macro_f1: float
    macro_f1_interval: tuple[float, float]


def measure_balanced_scores(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> BalancedScores:
    """Compute balanced accuracy and macro-F1 with their intervals.

    Where all predictions are right, every sample of them is, and the bootstrap would claim to be certain. Then the
    interval is that of the accuracy by Wilson's method.

    Args:
        labels: int (n,), the true classes.
        predicted: int (n,), the predicted classes.
        num_classes: number of classes.
    """
    accuracy, f1 = compute_balanced_scores(labels, predicted, num_classes)
    if np.array_equal(labels, predicted):
        intervals = [wilson_interval(len(labels), len(labels))] * 2
    else:
        bounds = bootstrap_intervals(
            lambda rows: compute_balanced_scores(labels[rows], predicted[rows], num_classes), len(labels)
        )
        intervals = [(low, high) for low, high in bounds.tolist()]
    return {
        "balanced_accuracy": float(accuracy),
        "balanced_accuracy_interval": intervals[0],
        "macro_f1": float(f1),
        "macro_f1_interval": intervals[1],
    }


def compute_balanced_scores(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Return (balanced accuracy, macro-F1), float64 (2,), over the classes that occur in `labels`."""
    images = np.bincount(labels, minlength=num_classes)
    chosen = np.bincount(predicted, minlength=num_classes)
    right = np.bincount(labels[labels == predicted], minlength=num_classes)
    has_images = images > 0
    recall = right[has_images] / images[has_images]
    f1 = 2 * right[has_images] / (images + chosen)[has_images]
    return np.array([recall.mean(), f1.mean()])
