"""Random erasing, MixUp and CutMix of a batch, drawn with TensorFlow's stateless random generators."""

import tensorflow as tf

_MIN_AREA, _MAX_AREA, _MAX_RATIO = 0.02, 0.33, 3.3  # of an erased box


def erase_boxes(images: tf.Tensor, probability: float, key: tf.Tensor) -> tf.Tensor:
    """Fill a box with one random colour in some of the images (random erasing).

    Args:
        images: uint8 (batch, height, width, channels).
        probability: share of the images that get a box, of 2 to 33 % of their area.
        key: two integers; the same key gives the same result.

    Returns:
        uint8 of the same shape.

    Source: Zhong et al., Random Erasing Data Augmentation, AAAI 2020.
    """
    count = tf.shape(images)[0]
    chosen, area, ratio, row, column = tf.unstack(tf.random.stateless_uniform([5, count], key))
    area = _MIN_AREA + (_MAX_AREA - _MIN_AREA) * area
    ratio = _MAX_RATIO ** (2 * ratio - 1)
    area = tf.where(chosen < probability, area, 0.0)
    box = _mark_boxes(tf.shape(images), tf.sqrt(area * ratio), tf.sqrt(area / ratio), row, column)
    colour = tf.random.stateless_uniform([count, 1, 1, images.shape[-1]], tf.random.fold_in(key, 1), 0, 256, tf.int32)
    return tf.where(box, tf.cast(colour, images.dtype), images)


def mix_images(
    images: tf.Tensor, targets: tf.Tensor, *, mixup: float, cutmix: float, key: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mix each image of a batch with its neighbour, and their targets in the same proportion.

    Args:
        images: uint8 (batch, height, width, channels).
        targets: float32 (batch, num_classes).
        mixup: alpha of MixUp, which blends two images; 0 for none.
        cutmix: alpha of CutMix, which pastes a box of one into the other; 0 for none. With both, each image
            gets one of the two.
        key: two integers; the same key gives the same result.

    Returns:
        (images, targets) of the same types and shapes.

    Source: Zhang et al., mixup, ICLR 2018; Yun et al., CutMix, ICCV 2019.
    """
    count = tf.shape(images)[0]
    chosen, row, column = tf.unstack(tf.random.stateless_uniform([3, count], key))
    partners = tf.roll(images, 1, axis=0)  # the batch is in random order already
    if cutmix:
        side = tf.sqrt(1 - _draw_beta(cutmix, count, tf.random.fold_in(key, 1)))
        box = _mark_boxes(tf.shape(images), side, side, row, column)
        box &= (chosen < (0.5 if mixup else 1.0))[:, None, None, None]
        kept = 1 - tf.reduce_mean(tf.cast(box, tf.float32), axis=[1, 2, 3])
        pasted = tf.where(box, partners, images)
    if mixup:
        share = _draw_beta(mixup, count, tf.random.fold_in(key, 2))
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
