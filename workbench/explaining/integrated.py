"""Integrated gradients (Sundararajan et al. 2017, "Axiomatic Attribution for Deep Networks")."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from workbench.explaining.network import BATCH

TOLERANCE = 0.02  # of the difference of the logits, or of 1 if the difference is smaller
FIRST_STEPS, MAX_STEPS = 16, 144


@dataclasses.dataclass(frozen=True)
class Attribution:
    """The contribution of each pixel to the logit of a class.

    Attributes:
        values: float32, shape (n, size, size, 3), in logits.
        difference: the logit of the image minus that of the black baseline, shape (n,).
        gap: |sum of values - difference| / max(|difference|, 1), the error of completeness, shape (n,).
        steps: number of points on the path, shape (n,).
    """

    values: np.ndarray
    difference: np.ndarray
    gap: np.ndarray
    steps: np.ndarray


def integrated_gradients(network: keras.Model, images: np.ndarray, classes: np.ndarray) -> Attribution:
    """Integrate the gradient of a logit along the straight path from a black image, and multiply by the image.

    The baseline is black, as in the paper: it is valid for every preprocessing, and black pixels contribute nothing.
    The points of the path are u^2 * image with u from 0 to 1, which are denser near black, where logits change
    fastest. The integral is a sum over midpoints u. If the error of completeness is above `TOLERANCE`, the number of
    steps is tripled (the old midpoints are midpoints again), up to `MAX_STEPS`.

    Args:
        network: from `workbench.explaining.network.build_float_model`.
        images: uint8 or float32 RGB, 0..255, shape (n, size, size, 3).
        classes: class index, one per image.
    """
    images, classes = np.asarray(images, np.float32), np.asarray(classes, np.int32)
    sum_gradients = _build_gradient_sum(network)
    rows = [_attribute(network, sum_gradients, *row) for row in zip(images, classes, strict=True)]
    return Attribution(*(np.stack(values) for values in zip(*rows, strict=True)))


def _attribute(
    network: keras.Model, sum_gradients: Callable[..., tf.Tensor], image: np.ndarray, label: int
) -> tuple[np.ndarray, float, float, int]:
    """Return the fields of `Attribution` for one image."""
    ends = np.asarray(network(np.stack([image, np.zeros_like(image)]), training=False))[:, label]
    difference = ends[0] - ends[1]
    steps, total = FIRST_STEPS, 0.0
    points = _midpoints(steps, np.arange(steps))
    while True:
        for start in range(0, len(points), BATCH):
            total = total + sum_gradients(image, label, points[start : start + BATCH]).numpy()
        values = total / steps * image
        gap = abs(values.sum(dtype=np.float64) - difference) / max(abs(difference), 1.0)
        if gap <= TOLERANCE or steps >= MAX_STEPS:
            return values, difference, gap, steps
        steps *= 3
        points = _midpoints(steps, np.delete(np.arange(steps), np.s_[1::3]))


def _midpoints(steps: int, numbers: np.ndarray) -> np.ndarray:
    return ((numbers + 0.5) / steps).astype(np.float32)


def _build_gradient_sum(network: keras.Model) -> Callable[..., tf.Tensor]:
    """Return a compiled function of (image, class, points u).

    It sums 2u times the gradient of the class's logit at u^2 * image, over the points.
    """

    @tf.function(
        input_signature=[tf.TensorSpec(network.input_shape[1:]), tf.TensorSpec((), tf.int32), tf.TensorSpec((None,))]
    )
    def sum_gradients(image: tf.Tensor, label: tf.Tensor, points: tf.Tensor) -> tf.Tensor:
        points = points[:, None, None, None]
        path = points**2 * image
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(path)
            score = network(path, training=False)[:, label]
        return tf.reduce_sum(2 * points * tape.gradient(score, path), axis=0)

    return sum_gradients
