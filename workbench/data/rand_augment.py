"""RandAugment: random distortions of a batch, drawn with TensorFlow's stateless random generators."""

import math

import tensorflow as tf

OPERATIONS = (
    *("identity", "autocontrast", "equalize", "solarize", "posterize"),
    *("brightness", "contrast", "colour", "sharpness"),
    *("rotate", "shear_x", "shear_y", "translate_x", "translate_y"),
)
_NUM_OPERATIONS = 2  # that each image gets, one after the other
_MOST = 10.0  # largest magnitude
_ANGLE, _SHEAR, _SHIFT, _FACTOR = math.radians(30), 0.3, 0.45, 0.9  # at the largest magnitude; the shift as a share
_BITS = 4  # that posterizing takes away at the largest magnitude
_GREY = 128.0  # outside the image
_SMOOTHING = ((1.0, 1.0, 1.0), (1.0, 5.0, 1.0), (1.0, 1.0, 1.0))  # weights of the neighbours, as in Pillow's SMOOTH


def draw_distortions(key: tf.Tensor, count: tf.Tensor | int) -> tf.Tensor:
    """Draw the operations of each image, and their directions.

    Args:
        key: two integers; the same key gives the same numbers.
        count: images of the batch.

    Returns:
        float32 (2, 2, batch), uniform from 0 to 1: for each of two operations, which one, and its direction.
    """
    keys = [tf.random.fold_in(key, number) for number in range(_NUM_OPERATIONS)]
    return tf.stack([tf.random.stateless_uniform([2, count], one) for one in keys])


def apply_rand_augment(images: tf.Tensor, magnitude: float, distortions: tf.Tensor) -> tf.Tensor:
    """Change each image of a batch by two operations, drawn from fourteen with equal probabilities.

    Args:
        images: float32 (batch, height, width, 3), 0 to 255.
        magnitude: strength of the operations, 0 to 10.
        distortions: what `draw_distortions` has drawn.

    Returns:
        float32 of the same shape, 0 to 255.

    Source: Cubuk et al., RandAugment, CVPR workshops 2020; the operations are those of AutoAugment, CVPR 2019.
    """
    for draw in tf.unstack(distortions):
        chosen = tf.cast(draw[0] * len(OPERATIONS), tf.int64)  # int32 would make a GPU wait for the processor
        strength = tf.where(draw[1] < 0.5, -1.0, 1.0) * magnitude / _MOST
        images = apply_operations(images, chosen, strength)
    return images


def apply_operations(images: tf.Tensor, chosen: tf.Tensor, strength: tf.Tensor) -> tf.Tensor:
    """Change each image by one operation.

    Args:
        images: float32 (batch, height, width, 3), 0 to 255.
        chosen: positions in `OPERATIONS`, integers (batch,).
        strength: float32 (batch,), -1 to 1; the sign is the direction, where an operation has one.

    Returns:
        float32 of the same shape, 0 to 255.
    """

    def is_chosen(name: str) -> tf.Tensor:
        return (chosen == OPERATIONS.index(name))[:, None, None, None]

    def find_strength(name: str) -> tf.Tensor:
        """Return the strength of the images that get an operation, and 0 for the others."""
        return tf.where(chosen == OPERATIONS.index(name), strength, 0.0)

    images = tf.where(is_chosen("autocontrast"), _stretch(images), images)
    images = tf.where(is_chosen("equalize"), _equalize(images), images)
    threshold = 256 * (1 - tf.abs(find_strength("solarize")))[:, None, None, None]
    images = tf.where(images < threshold, images, 255 - images)
    step = 2 ** tf.round(_BITS * tf.abs(find_strength("posterize")))[:, None, None, None]
    images = tf.where(is_chosen("posterize"), images - tf.math.floormod(images, step), images)

    grey = tf.reduce_sum(images * [0.299, 0.587, 0.114], axis=-1, keepdims=True)
    opposite = images  # what an image is blended with, or moved away from
    opposite = tf.where(is_chosen("brightness"), 0.0, opposite)
    opposite = tf.where(is_chosen("contrast"), tf.reduce_mean(grey, axis=[1, 2], keepdims=True), opposite)
    opposite = tf.where(is_chosen("colour"), grey, opposite)
    opposite = tf.where(is_chosen("sharpness"), _smooth(images), opposite)
    images = opposite + (1 + _FACTOR * strength)[:, None, None, None] * (images - opposite)

    height, width = images.shape[1:3]
    angle = _ANGLE * find_strength("rotate")
    matrix = (
        (tf.cos(angle), _SHEAR * find_strength("shear_x") - tf.sin(angle)),
        (_SHEAR * find_strength("shear_y") + tf.sin(angle), tf.cos(angle)),
    )
    shift = (_SHIFT * width * find_strength("translate_x"), _SHIFT * height * find_strength("translate_y"))
    return tf.clip_by_value(_transform(images, matrix, shift), 0.0, 255.0)


def _stretch(images: tf.Tensor) -> tf.Tensor:
    """Stretch the values of each channel to 0..255."""
    low = tf.reduce_min(images, axis=[1, 2], keepdims=True)
    extent = tf.reduce_max(images, axis=[1, 2], keepdims=True) - low
    return tf.where(extent > 0, (images - low) * 255 / tf.maximum(extent, 1.0), images)


def _equalize(images: tf.Tensor) -> tf.Tensor:
    """Change the values of each channel so that all are about equally frequent."""
    shape = tf.shape(images)
    count, pixels = shape[0] * shape[3], shape[1] * shape[2]
    values = tf.reshape(tf.transpose(tf.round(images), [0, 3, 1, 2]), [count, pixels])
    values = tf.clip_by_value(values, 0.0, 255.0)
    least, values = tf.cast(tf.reduce_min(values, axis=1), tf.int32), tf.cast(values, tf.int32)
    frequencies = tf.raw_ops.DenseBincount(input=values, size=256, weights=tf.zeros([0]))
    below = tf.cumsum(frequencies, axis=1)
    lowest = tf.gather(below, least, axis=1, batch_dims=1)[:, None]
    others = tf.cast(pixels, tf.float32) - lowest
    table = tf.where(others > 0, (below - lowest) * 255 / tf.maximum(others, 1.0), tf.range(256, dtype=tf.float32))
    equal = tf.reshape(tf.gather(table, values, axis=1, batch_dims=1), tf.gather(shape, [0, 3, 1, 2]))
    return tf.transpose(equal, [0, 2, 3, 1])


def _smooth(images: tf.Tensor) -> tf.Tensor:
    """Average each pixel with its neighbours."""
    kernel = tf.constant(_SMOOTHING)[:, :, None, None] / tf.reduce_sum(_SMOOTHING)
    padded = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    return tf.nn.depthwise_conv2d(padded, tf.tile(kernel, [1, 1, 3, 1]), [1, 1, 1, 1], "VALID")


def _transform(
    images: tf.Tensor, matrix: tuple[tuple[tf.Tensor, tf.Tensor], ...], shift: tuple[tf.Tensor, tf.Tensor]
) -> tf.Tensor:
    """Rotate, shear and move each image around its centre; what comes from outside of it is grey.

    Args:
        images: float32 (batch, height, width, 3).
        matrix: four values (batch,) each: a place of the result, (column, row), to that of its pixel in the image.
        shift: columns and rows that are added to it.
    """
    height, width = images.shape[1:3]
    x, y = (width - 1) / 2, (height - 1) / 2
    transforms = []
    for (of_column, of_row), centre, moved in zip(matrix, (x, y), shift, strict=True):
        transforms += [of_column, of_row, centre - of_column * x - of_row * y + moved]
    zeros = tf.zeros_like(shift[0])
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.stack([*transforms, zeros, zeros], axis=1),
        output_shape=tf.constant([height, width]),
        fill_value=_GREY,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
