"""Random erasing, MixUp and CutMix of a batch, drawn with TensorFlow's stateless random generators."""

from typing import NamedTuple

import tensorflow as tf

_MIN_AREA, _MAX_AREA, _MAX_RATIO = 0.02, 0.33, 3.3  # of an erased box


class BoxDraws(NamedTuple):
    """Random numbers of the boxes that are erased.

    Attributes:
        uniform: float32 (5, batch), uniform from 0 to 1: whether there is a box, its size, shape and place.
        colours: float32 (batch, 1, 1, 3), whole numbers from 0 to 255.
    """

    uniform: tf.Tensor
    colours: tf.Tensor


class MixDraws(NamedTuple):
    """Random numbers of MixUp and CutMix.

    Attributes:
        uniform: float32 (3, batch), uniform from 0 to 1: which of the two, and the box's place.
        mixup, cutmix: float32 (batch,), shares of the image itself; empty without MixUp or CutMix.
    """

    uniform: tf.Tensor
    mixup: tf.Tensor
    cutmix: tf.Tensor


def draw_boxes(key: tf.Tensor, count: tf.Tensor | int) -> BoxDraws:
    """Draw boxes for a batch of so many images; the same key, two integers, gives the same ones."""
    colours = tf.random.stateless_uniform([count, 1, 1, 3], tf.random.fold_in(key, 1), 0, 256, tf.int32)
    return BoxDraws(tf.random.stateless_uniform([5, count], key), tf.cast(colours, tf.float32))


def draw_mixing(key: tf.Tensor, count: tf.Tensor | int, *, mixup: float, cutmix: float) -> MixDraws:
    """Draw how a batch of so many images is mixed; the same key, two integers, gives the same. See `mix_images`."""
    uniform, none = tf.random.stateless_uniform([3, count], key), tf.zeros([0])
    pasted = _draw_beta(cutmix, count, tf.random.fold_in(key, 1)) if cutmix else none
    return MixDraws(uniform, _draw_beta(mixup, count, tf.random.fold_in(key, 2)) if mixup else none, pasted)


def erase_boxes(images: tf.Tensor, probability: float, draws: BoxDraws) -> tf.Tensor:
    """Fill a box with one random colour in some of the images (random erasing).

    Args:
        images: uint8 (batch, height, width, 3).
        probability: share of the images that get a box, of 2 to 33 % of their area.
        draws: what was drawn for the batch.

    Returns:
        uint8 of the same shape.

    Source: Zhong et al., Random Erasing Data Augmentation, AAAI 2020.
    """
    chosen, area, ratio, row, column = tf.unstack(draws.uniform)
    area = _MIN_AREA + (_MAX_AREA - _MIN_AREA) * area
    ratio = _MAX_RATIO ** (2 * ratio - 1)
    area = tf.where(chosen < probability, area, 0.0)
    box = _mark_boxes(tf.shape(images), tf.sqrt(area * ratio), tf.sqrt(area / ratio), row, column)
    return tf.where(box, tf.cast(draws.colours, images.dtype), images)


def mix_images(
    images: tf.Tensor, targets: tf.Tensor, draws: MixDraws, *, mixup: float, cutmix: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mix each image of a batch with its neighbour, and their targets in the same proportion.

    Args:
        images: uint8 (batch, height, width, channels).
        targets: float32 (batch, num_classes).
        draws: what `draw_mixing` has drawn for the batch, with the same `mixup` and `cutmix`.
        mixup: alpha of MixUp, which blends two images; 0 for none.
        cutmix: alpha of CutMix, which pastes a box of one into the other; 0 for none. With both, each image
            gets one of the two.

    Returns:
        (images, targets) of the same types and shapes.

    Source: Zhang et al., mixup, ICLR 2018; Yun et al., CutMix, ICCV 2019.
    """
    chosen, row, column = tf.unstack(draws.uniform)
    # The batch is in random order already. TensorFlow's roll takes no uint8 on GPUs.
    partners = tf.concat([images[-1:], images[:-1]], axis=0)
    if cutmix:
        side = tf.sqrt(1 - draws.cutmix)
        box = _mark_boxes(tf.shape(images), side, side, row, column)
        box &= (chosen < (0.5 if mixup else 1.0))[:, None, None, None]
        kept = 1 - tf.reduce_mean(tf.cast(box, tf.float32), axis=[1, 2, 3])
        pasted = tf.where(box, partners, images)
    if mixup:
        share = draws.mixup
        blended = _blend(images, partners, share[:, None, None, None])
    if mixup and cutmix:
        cut = chosen < 0.5
        images, share = tf.where(cut[:, None, None, None], pasted, blended), tf.where(cut, kept, share)
    else:
        images, share = (blended, share) if mixup else (pasted, kept)
    share = share[:, None]
    return images, share * targets + (1 - share) * tf.roll(targets, 1, axis=0)


def _blend(images: tf.Tensor, partners: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    blended = share * tf.cast(images, tf.float32) + (1 - share) * tf.cast(partners, tf.float32)
    return tf.cast(tf.round(blended), images.dtype)


def _draw_beta(alpha: float, count: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
    """Draw from Beta(alpha, alpha): the share that one of two gamma draws has of their sum."""
    one, other = tf.unstack(tf.random.stateless_gamma([2, count], key, alpha) + 1e-12)
    return one / (one + other)


def _mark_boxes(shape: tf.Tensor, height: tf.Tensor, width: tf.Tensor, row: tf.Tensor, column: tf.Tensor) -> tf.Tensor:
    """Return whether each pixel is inside its image's box, bool (batch, height, width, 1).

    Args:
        shape: of the images.
        height, width: of each box, as shares of the image's; the box is cut off at the image's edge.
        row, column: of each box's centre, likewise.
    """

    def is_inside(pixels: tf.Tensor, centre: tf.Tensor, extent: tf.Tensor) -> tf.Tensor:
        places = (tf.range(pixels, dtype=tf.float32) + 0.5) / tf.cast(pixels, tf.float32)
        return tf.abs(places - centre[:, None]) < extent[:, None] / 2

    rows, columns = is_inside(shape[1], row, height), is_inside(shape[2], column, width)
    return (rows[:, :, None] & columns[:, None, :])[..., None]
