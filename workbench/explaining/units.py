"""Units of a layer and the photos that excite them most."""

import dataclasses

import numpy as np
import tensorflow as tf

from workbench.explaining.network import in_batches, output_of

PATCH_SHARE = 0.9  # of the gradient's magnitude that a patch holds


@dataclasses.dataclass(frozen=True)
class Survey:
    """What the units of a layer and the logits say to n photos.

    Attributes:
        logits: shape (n, num_classes).
        strongest: each channel's strongest value in each photo, shape (n, channels).
        positions: where in the flattened map it is, shape (n, channels).
    """

    logits: np.ndarray
    strongest: np.ndarray
    positions: np.ndarray

    def top_photos(self, channel, count):
        """Rows of the photos that excite a channel most, the strongest first."""
        return np.argsort(-self.strongest[:, channel], kind="stable")[:count]


def survey(network, layer, images):
    """Look at uint8 photos, shape (n, size, size, 3), through a network from `network.build_float_model`."""
    maps_and_logits = output_of(network, layer, None)

    def look(images):
        maps, logits = maps_and_logits(tf.cast(images, tf.float32), training=False)
        maps = tf.reshape(maps, (tf.shape(images)[0], -1, maps.shape[-1]))
        return logits, tf.reduce_max(maps, axis=1), tf.argmax(maps, axis=1)

    return Survey(*in_batches(look, images))


def telling_units(strongest, count, photos=5):
    """The channels that their favourite photos excite most above all others, the most telling first.

    A channel's score is the mean over its `photos` strongest photos less the mean over all, in standard
    deviations. Channels that nothing excites are left out; those with favourites that no better channel has go
    first, so that the choice is varied.

    Args:
        strongest: as in `Survey`.
        count: how many channels at most.
    """
    favourites = np.argsort(-strongest, axis=0, kind="stable")[:photos]
    best = np.take_along_axis(strongest, favourites, axis=0)
    spread = strongest.std(axis=0) + 1e-6 * np.abs(strongest).max() + 1e-12
    score = (best.mean(axis=0) - strongest.mean(axis=0)) / spread
    varied, others, taken = [], [], set()
    for channel in np.argsort(-score, kind="stable"):
        if best[0, channel] <= 0:
            continue
        own = taken.isdisjoint(favourites[:, channel])
        (varied if own else others).append(channel)
        taken.update(favourites[:, channel] if own else ())
    return np.array([*varied, *others][:count], np.int64)


def patch(gradient):
    """The square (top, left, side) around a gradient's centre that holds `PATCH_SHARE` of its magnitude.

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


def most_wrong(logits, labels, count):
    """Rows of the photos whose class the network believes in least, the most wrong first.

    Args:
        logits: shape (n, num_classes).
        labels: class indices, shape (n,).
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return np.argsort(log_probabilities[np.arange(len(labels)), labels], kind="stable")[:count]
