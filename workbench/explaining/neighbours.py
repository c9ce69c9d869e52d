"""The training photos that a network finds most similar to a photo: the nearest ones in its last features.

The features are what the classifier's last layer takes; their similarity is the cosine of the angle between them, as in
Caron et al. 2021, "Emerging Properties in Self-Supervised Vision Transformers", section 4.1.
"""

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from workbench.explaining.network import run_in_batches


class Neighbour(NamedTuple):
    """An image that is similar to another one.

    Attributes:
        row: of the image.
        similarity: cosine of the angle between the features of both, at most 1.
    """

    row: int
    similarity: float


def compute_features(network: keras.Model, images: np.ndarray) -> np.ndarray:
    """Return the features that the network's last layer with weights takes, each of length 1.

    Args:
        network: from `workbench.explaining.network.build_float_model`.
        images: uint8 or float32 RGB, 0..255, shape (n, size, size, 3).

    Returns:
        float32, shape (n, num_features).
    """
    last = next(layer for layer in reversed(network.layers) if layer.weights)
    features = keras.Model(network.input, keras.ops.reshape(last.input, (-1, int(np.prod(last.input.shape[1:])))))
    values = run_in_batches(lambda batch: features(tf.cast(batch, tf.float32), training=False), images)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def find_neighbours(features: np.ndarray, of_image: np.ndarray, count: int) -> list[Neighbour]:
    """Return the images whose features are nearest to those of another image, the nearest first.

    Args:
        features: from `compute_features`, shape (n, num_features).
        of_image: the features of the other image, shape (num_features,).
        count: number of images, at most.
    """
    similarity = features @ of_image
    order = np.argsort(-similarity, kind="stable")[:count]
    return [Neighbour(int(row), float(similarity[row])) for row in order]
