"""The answer "unknown": below which confidence it is given, and how often it is given rightly and wrongly."""

import math
from typing import TypedDict

import numpy as np

from workbench.evaluation.metrics.statistics import Share, measure_share

KEPT = 0.95  # share of the right predictions that stay known


class RejectionRates(TypedDict):
    """How often a prediction below a threshold of confidence is called unknown.

    Attributes:
        threshold: confidence below which a prediction is called unknown.
        right_unknown: right predictions that are called unknown, of all right ones.
        wrong_known: wrong predictions that are not called unknown, of all wrong ones.
        right_of_known: right predictions, of those that are not called unknown.
    """

    threshold: float
    right_unknown: Share
    wrong_known: Share
    right_of_known: Share


def choose_threshold(confidence: np.ndarray, correct: np.ndarray, kept: float = KEPT) -> float:
    """Return the highest threshold at which at least a share of the right predictions stays known.

    Args:
        confidence: (n,), probability of the predicted class.
        correct: bool (n,), whether the predicted class is the true one.
        kept: the share.

    Returns:
        A confidence; a prediction of exactly this confidence is known. It is rounded down to six digits, so that the
        rounding of sums in another batch does not matter. 0 without a right prediction.
    """
    right = np.sort(confidence[correct])
    rejected = math.floor((1 - kept) * len(right) + 1e-9)  # 5 % of 20 is 1, and not 0.9999
    return math.floor(1e6 * right[rejected]) / 1e6 if len(right) else 0.0


def measure_rejection(confidence: np.ndarray, correct: np.ndarray, threshold: float) -> RejectionRates:
    """Count the predictions that are called unknown below a threshold.

    Args:
        confidence: (n,), probability of the predicted class.
        correct: bool (n,), whether the predicted class is the true one.
        threshold: the lowest confidence that is known.
    """
    known = confidence >= threshold
    return {
        "threshold": threshold,
        "right_unknown": measure_share((correct & ~known).sum(), correct.sum()),
        "wrong_known": measure_share((~correct & known).sum(), (~correct).sum()),
        "right_of_known": measure_share((correct & known).sum(), known.sum()),
    }
