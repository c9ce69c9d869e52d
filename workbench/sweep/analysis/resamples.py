"""Resamples of images, with which the bootstrap repeats a choice that was made on them."""

from collections.abc import Iterator

import numpy as np

_CHUNK = 4_000_000  # numbers that are held at once


def draw_resamples(num_images: int, count: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield resamples, as many images each as there are, drawn with replacement; a part of them at a time.

    About 37 % of the images are in no given resample: on these a choice that was made on the resample is scored.

    Args:
        num_images: number of images.
        count: number of resamples.
        seed: of the draws.

    Yields:
        How often each image is in each resample, int64 (part, num_images).
    """
    rng = np.random.default_rng(seed)
    size = max(1, _CHUNK // num_images)
    for first in range(0, count, size):
        yield rng.multinomial(num_images, np.full(num_images, 1 / num_images), min(size, count - first))
