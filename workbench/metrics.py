"""What a classifier's predictions on labelled images are worth: intervals, calibration, confusions, paired tests."""

import dataclasses

import numpy as np

CALIBRATION_BINS = 15


def wilson_interval(successes, total):
    """(low, high) of a share with 95 % confidence, by Wilson's score interval (`scipy.stats.binomtest`).

    Unlike the usual plus-minus it holds for few images, and never leaves 0..1.
    """
    from scipy import stats

    interval = stats.binomtest(int(successes), int(total)).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def ranking(probabilities):
    """int array of class indices, most probable first; among equals the lower index first.

    Args:
        probabilities: (n, num_classes).
    """
    return np.argsort(-probabilities, axis=-1, kind="stable")


def in_top(probabilities, labels, k):
    """bool array (n,): whether the true class is among the `k` most probable ones."""
    return (ranking(probabilities)[:, :k] == np.asarray(labels)[:, None]).any(axis=1)


@dataclasses.dataclass(frozen=True)
class Calibration:
    """How far confidence can be believed. One value a bin of confidence, empty bins left out.

    Attributes:
        low, high: the bin's edges; a confidence belongs to the bin with low < confidence <= high.
        count: images in it.
        confidence: their mean confidence.
        accuracy: share of them that is right.
        error: expected calibration error: mean over images of |accuracy - confidence| of their bin.
    """

    low: np.ndarray
    high: np.ndarray
    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    error: float


def calibration(confidence, correct, num_bins=CALIBRATION_BINS):
    """The reliability curve and the expected calibration error in equally wide bins.

    Source: Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks, ICML 2017.

    Args:
        confidence: (n,), probability of the predicted class.
        correct: (n,), whether it is the true one.
        num_bins: over 0..1.
    """
    confidence, correct = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    edges = np.linspace(0, 1, num_bins + 1)
    bins = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, num_bins - 1)
    count = np.bincount(bins, minlength=num_bins)
    held = count > 0
    mean_confidence = np.bincount(bins, confidence, num_bins)[held] / count[held]
    accuracy = np.bincount(bins, correct, num_bins)[held] / count[held]
    error = np.average(np.abs(accuracy - mean_confidence), weights=count[held])
    return Calibration(edges[:-1][held], edges[1:][held], count[held], mean_confidence, accuracy, float(error))


def confused_pairs(matrix):
    """(true, predicted, count) of every pair of different classes that was confused, the most frequent first.

    Args:
        matrix: confusion counts, rows are true classes.
    """
    wrong = np.array(matrix)
    np.fill_diagonal(wrong, 0)
    pairs = [(int(true), int(predicted), int(wrong[true, predicted])) for true, predicted in np.argwhere(wrong)]
    return sorted(pairs, key=lambda pair: -pair[2])


def mcnemar(correct, other_correct):
    """McNemar's exact paired test of two classifiers on the same images.

    Only images that one classifies rightly and the other does not tell them apart; were they equally good, each
    such image would fall to either by the toss of a coin (binomial test, two-sided).

    Returns:
        (images that only the first has right, that only the other has right, p-value).
    """
    from scipy import stats

    correct, other_correct = np.asarray(correct, bool), np.asarray(other_correct, bool)
    only, only_other = int((correct & ~other_correct).sum()), int((other_correct & ~correct).sum())
    p = stats.binomtest(only, only + only_other).pvalue if only + only_other else 1.0
    return only, only_other, float(p)


def holm(p_values):
    """p-values adjusted for there being several (Holm's step-down method)."""
    p_values = np.asarray(p_values, np.float64)
    order = np.argsort(p_values, kind="stable")
    steps = p_values[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted.tolist()
