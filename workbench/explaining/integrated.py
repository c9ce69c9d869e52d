"""Integrated gradients (Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks")."""

import dataclasses

import numpy as np
import tensorflow as tf

from workbench.explaining.network import BATCH

TOLERANCE = 0.02  # of the logit difference, or of one logit where it is smaller
FIRST_STEPS, MOST_STEPS = 16, 144


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
    The path is walked as u^2 * image, u from 0 to 1, with more steps near black, where logits change fastest. The
    integral is a sum over midpoints u; where it misses completeness by more than `TOLERANCE`, the number of steps is
    tripled (the old midpoints are midpoints again) up to `MOST_STEPS`.

    Args:
        network: from `workbench.explaining.network.build_float_model`.
        images: uint8 or float32 RGB, 0..255, shape (n, size, size, 3).
        classes: class index, one an image.

    Returns:
        An `Attribution`.
    """
    images, classes = np.asarray(images, np.float32), np.asarray(classes, np.int32)
    gradient_sum = _gradient_sum(network)
    rows = [_attribution(network, gradient_sum, *row) for row in zip(images, classes, strict=True)]
    return Attribution(*(np.stack(values) for values in zip(*rows, strict=True)))


def _attribution(network, gradient_sum, image, label):
    ends = np.asarray(network(np.stack([image, np.zeros_like(image)]), training=False))[:, label]
    difference = ends[0] - ends[1]
    steps, total = FIRST_STEPS, 0.0
    points = _midpoints(steps, np.arange(steps))
    while True:
        for start in range(0, len(points), BATCH):
            total = total + gradient_sum(image, label, points[start : start + BATCH]).numpy()
        values = total / steps * image
        gap = abs(values.sum(dtype=np.float64) - difference) / max(abs(difference), 1.0)
        if gap <= TOLERANCE or steps >= MOST_STEPS:
            return values, difference, gap, steps
        steps *= 3
        points = _midpoints(steps, np.delete(np.arange(steps), np.s_[1::3]))


def _midpoints(steps, numbers):
    return ((numbers + 0.5) / steps).astype(np.float32)


def _gradient_sum(network):
    """A function of (image, class, points u): the sum of 2u times the gradient of the class's logit at u^2 * image."""

    @tf.function(
        input_signature=[tf.TensorSpec(network.input_shape[1:]), tf.TensorSpec((), tf.int32), tf.TensorSpec((None,))]
    )
    def gradient_sum(image, label, points):
        points = points[:, None, None, None]
        path = points**2 * image
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(path)
            score = network(path, training=False)[:, label]
        return tf.reduce_sum(2 * points * tape.gradient(score, path), axis=0)

    return gradient_sum
