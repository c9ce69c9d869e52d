"""Units of a layer, and the images that excite them most."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from workbench.explaining.network import run_in_batches, select_outputs

PATCH_SHARE = 0.9  # of the gradient's magnitude that a patch contains


@dataclasses.dataclass(frozen=True)
class Survey:
    """The responses of a layer's channels, and the logits, for n images.

    Attributes:
        logits: shape (n, num_classes).
        strongest: each channel's largest value for each image, shape (n, channels).
        positions: its position in the flattened map, shape (n, channels).
    """

    logits: np.ndarray
    strongest: np.ndarray
    positions: np.ndarray

    def rank_photos(self, channel: int, count: int) -> np.ndarray:
        """Return the rows of the images that excite a channel most, the strongest first."""
        return np.argsort(-self.strongest[:, channel], kind="stable")[:count]


def survey_units(network: keras.Model, layer: str, images: np.ndarray) -> Survey:
    """Record the responses of a layer to images.

    Args:
        network: from `workbench.explaining.network.build_float_model`.
        layer: name of a layer of maps.
        images: uint8, shape (n, size, size, 3).
    """
    maps_and_logits = select_outputs(network, layer, None)

    def record(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        maps, logits = maps_and_logits(tf.cast(images, tf.float32), training=False)
        maps = tf.reshape(maps, (tf.shape(images)[0], -1, maps.shape[-1]))
        return logits, tf.reduce_max(maps, axis=1), tf.argmax(maps, axis=1)

    return Survey(*run_in_batches(record, images))


def select_distinctive_units(strongest: np.ndarray, count: int, photos: int = 5) -> np.ndarray:
    """Return the channels that respond to a few images much more than to all others, the most distinctive first.

    A channel's score is the mean over its `photos` strongest images minus the mean over all images, in standard
    deviations. Channels that respond to no image are left out. For variety, a channel comes later if a better channel
    shares one of its strongest images.

    Args:
        strongest: as in `Survey`.
        count: maximum number of channels.
        photos: number of strongest images.
    """
    favourites = np.argsort(-strongest, axis=0, kind="stable")[:photos]
    best = np.take_along_axis(strongest, favourites, axis=0)
    spread = strongest.std(axis=0) + 1e-6 * np.abs(strongest).max() + 1e-12
    score = (best.mean(axis=0) - strongest.mean(axis=0)) / spread
    varied: list[int] = []
    others: list[int] = []
    taken: set[int] = set()
    for channel in np.argsort(-score, kind="stable"):
        if best[0, channel] <= 0:
            continue
        is_new = taken.isdisjoint(favourites[:, channel])
        (varied if is_new else others).append(channel)
        taken.update(favourites[:, channel] if is_new else ())
    return np.array([*varied, *others][:count], np.int64)


def find_patch(gradient: np.ndarray) -> tuple[int, int, int]:
    """Return the square (top, left, side) around a gradient's centre that contains `PATCH_SHARE` of its magnitude.

    Args:
        gradient: with respect to the pixels of one image, shape (size, size, 3).
    """
    magnitude = np.abs(gradient).sum(axis=-1)
    size, total = len(magnitude), magnitude.sum()
    if not total:
        return 0, 0, size
    row, column = (round((magnitude.sum(axis=axis) @ np.arange(size)) / total) for axis in (1, 0))
    for half in range(2, size):
        rows, columns = (slice(max(0, at - half), at + half + 1) for at in (row, column))
        if magnitude[rows, columns].sum() >= PATCH_SHARE * total:
            break
    side = min(size, 2 * half + 1)
    top, left = (min(max(0, at - half), size - side) for at in (row, column))
    return top, left, side


def find_most_wrong(logits: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Return the rows of the images whose true class gets the lowest probability, the most wrong first.

    Args:
        logits: shape (n, num_classes).
        labels: class indices, shape (n,).
        count: maximum number of rows.
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return np.argsort(log_probabilities[np.arange(len(labels)), labels], kind="stable")[:count]
