"""Metrics of a classifier on labelled images: intervals, calibration, confusions, paired tests."""

import dataclasses
import math
from statistics import NormalDist
from typing import TypedDict

import numpy as np
import numpy.typing as npt

CALIBRATION_BINS = 15
_NORMAL_QUANTILE = NormalDist().inv_cdf(0.975)  # of 95 % intervals


def wilson_interval(successes: int, total: int) -> tuple[float, float]:
    """Return (low, high), the 95 % confidence interval of a share by Wilson's score method.

    Unlike the normal approximation it is valid for few images, and it stays within 0..1. It is not computed by SciPy,
    whose statistics take a second to import.

    Source: Wilson, Probable inference, the law of succession, and statistical inference, JASA 1927.
    """
    successes, total = int(successes), int(total)
    square = _NORMAL_QUANTILE**2
    middle = (successes + square / 2) / (total + square)
    spread = math.sqrt(successes * (total - successes) / total + square / 4) * _NORMAL_QUANTILE / (total + square)
    return (middle - spread if successes else 0.0), (middle + spread if successes < total else 1.0)


class Share(TypedDict):
    """How many of some images there are, and which share of them that is.

    Attributes:
        count, of: number of these images, and of all.
        share: count / of; 0 of no images.
        interval: its 95 % interval by Wilson's method; 0 to 1 of no images.
    """

    count: int
    of: int
    share: float
    interval: tuple[float, float]


def measure_share(count: int | np.integer, of: int | np.integer) -> Share:
    """Return a share with its interval."""
    count, of = int(count), int(of)
    interval = wilson_interval(count, of) if of else (0.0, 1.0)
    return {"count": count, "of": of, "share": count / of if of else 0.0, "interval": interval}


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A reliability curve: one value per bin of confidence. Empty bins are left out.

    Attributes:
        low, high: edges of the bin; a confidence belongs to the bin with low < confidence <= high.
        count: number of images in the bin.
        confidence: mean confidence of these images.
        accuracy: share of these images that is classified correctly.
        error: expected calibration error: |accuracy - confidence|, averaged over the images.
    """

    low: np.ndarray
    high: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    error: float


def measure_calibration(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, num_bins: int = CALIBRATION_BINS
) -> Calibration:
    """Return the reliability curve and the expected calibration error in bins of equal width.

    Source: Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks, ICML 2017.

    Args:
        confidence: (n,), probability of the predicted class.
        correct: (n,), whether the predicted class is the true one.
        num_bins: number of bins over 0..1.
    """
    confidence, correct = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    edges = np.linspace(0, 1, num_bins + 1)
    bins = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, num_bins - 1)
    count = np.bincount(bins, minlength=num_bins)
    used = count > 0
    mean_confidence = np.bincount(bins, confidence, num_bins)[used] / count[used]
    accuracy = np.bincount(bins, correct, num_bins)[used] / count[used]
    error = np.average(np.abs(accuracy - mean_confidence), weights=count[used])
    return Calibration(edges[:-1][used], edges[1:][used], count[used], mean_confidence, accuracy, float(error))


def list_confusions(matrix: npt.ArrayLike) -> list[tuple[int, int, int]]:
    """Return (true class, predicted class, count) of every confusion, the most frequent first.

    Args:
        matrix: confusion matrix of counts; rows are true classes.
    """
    wrong = np.array(matrix)
    np.fill_diagonal(wrong, 0)
    pairs = [(int(true), int(predicted), int(wrong[true, predicted])) for true, predicted in np.argwhere(wrong)]
    return sorted(pairs, key=lambda pair: -pair[2])


def mcnemar(correct: npt.ArrayLike, other_correct: npt.ArrayLike) -> tuple[int, int, float]:
    """Compare two classifiers on the same images by McNemar's exact test.

    Only the images that one classifier gets right and the other gets wrong count. If both were equally good, each of
    these would be an even chance for either classifier (two-sided binomial test).

    Returns:
        (number of images that only the first classifier gets right, number for the other one, p-value).
    """
    correct, other_correct = np.asarray(correct, bool), np.asarray(other_correct, bool)
    only, only_other = int((correct & ~other_correct).sum()), int((other_correct & ~correct).sum())
    return only, only_other, float(compute_mcnemar_p(only, only_other))


def compute_mcnemar_p(only: npt.ArrayLike, only_other: npt.ArrayLike) -> np.ndarray:
    """Return p-values of McNemar's exact test from the numbers of images that only one of two classifiers gets right.

    Args:
        only, only_other: numbers, or arrays of equal shape for many pairs of classifiers.
    """
    from scipy.special import bdtr  # imported late: only comparisons need it

    only, only_other = np.asarray(only), np.asarray(only_other)
    return np.minimum(1, 2 * bdtr(np.minimum(only, only_other), only + only_other, 0.5))


def holm(p_values: npt.ArrayLike) -> list[float]:
    """Return p-values adjusted for multiple tests by Holm's step-down method."""
    p_values = np.asarray(p_values, np.float64)
    order = np.argsort(p_values, kind="stable")
    steps = p_values[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted.tolist()
