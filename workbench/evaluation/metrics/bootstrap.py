"""Bootstrap intervals: how much a statistic of images varies from one sample of images to another."""

from collections.abc import Callable

import numpy as np

RESAMPLES = 1000


def bootstrap_intervals(
    statistics: Callable[[np.ndarray], np.ndarray], count: int, resamples: int = RESAMPLES, seed: int = 0
) -> np.ndarray:
    """Return 95 % confidence intervals of statistics of `count` images, float64 (k, 2), by the percentile bootstrap.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.

    Args:
        statistics: returns k statistics, (k,), of the images with the given indices, int (count,), some of which
            occur more than once.
        count: number of images.
        resamples: number of samples of `count` images that are drawn with replacement.
        seed: of the drawing; the same one gives the same intervals.
    """
    rng = np.random.default_rng(seed)
    values = np.stack([statistics(rng.integers(count, size=count)) for _ in range(resamples)])
    return np.quantile(values, [0.025, 0.975], axis=0).T
