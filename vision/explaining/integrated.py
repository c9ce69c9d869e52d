"""Integrated gradients (Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks")."""

import dataclasses

import numpy as np
import tensorflow as tf

from vision.explaining.network import in_batches

TOLERANCE = 0.02  # of the logit difference, or of one logit where it is smaller
FIRST_STEPS, MOST_STEPS = 16, 432


@dataclasses.dataclass(frozen=True)
class Attribution:
    """What each pixel adds to the logit of a class.

    Attributes:
        values: float32, shape (n, size, size, 3), in logits.
        difference: the logit of the image less that of the black baseline, shape (n,).
        gap: |sum of values - difference| / max(|difference|, 1): how far completeness is missed, shape (n,).
        steps: points of the path that were used, shape (n,).
    """

    values: np.ndarray
    difference: np.ndarray
    gap: np.ndarray
    steps: np.ndarray


def integrated_gradients(network, images, classes):
    """Gradients of a logit along the straight path from a black image, times the image.

    The baseline is black, as in the paper: it fits every preprocessing, and says that black pixels get nothing.
    The integral is a sum over midpoints of the path; where it misses completeness by more than `TOLERANCE`, the
    number of steps is tripled (the old midpoints are midpoints again) up to `MOST_STEPS`.

    Args:
        network: from `vision.explaining.network.floating`.
        images: uint8 or float32 RGB, 0..255, shape (n, size, size, 3).
        classes: class index, one an image.

    Returns:
        An `Attribution`.
    """
    images, classes = np.asarray(images, np.float32), np.asarray(classes)
    rows = [_attribution(network, image, label) for image, label in zip(images, classes, strict=True)]
    return Attribution(*(np.stack(values) for values in zip(*rows, strict=True)))


def _attribution(network, image, label):
    ends = np.asarray(network(np.stack([image, np.zeros_like(image)]), training=False))[:, label]
    difference = ends[0] - ends[1]
    steps, total = FIRST_STEPS, 0.0
    points = (np.arange(steps) + 0.5) / steps
    while True:
        total = total + _gradient_sum(network, image, label, points)
        values = total / steps * image
        gap = abs(values.sum(dtype=np.float64) - difference) / max(abs(difference), 1.0)
        if gap <= TOLERANCE or steps >= MOST_STEPS:
            return values, difference, gap, steps
        steps *= 3
        points = (np.delete(np.arange(steps), np.s_[1::3]) + 0.5) / steps


def _gradient_sum(network, image, label, points):
    """Sum over points t of the path of the logit's gradient at t * image."""

    def gradients(points):
        pixels = tf.constant(points[:, None, None, None] * image, tf.float32)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(pixels)
            score = network(pixels, training=False)[:, label]
        return tf.reduce_sum(tape.gradient(score, pixels), axis=0)[None]

    return in_batches(gradients, points).sum(axis=0)
