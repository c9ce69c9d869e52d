"""Make images that excite a unit (Erhan et al. 2009; Mahendran and Vedaldi 2015; Olah et al. 2017)."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from workbench.explaining.network import TensorFunction, build_float_model, replace_gradient, select_outputs

STEPS, LEARNING_RATE = 64, 0.05
JITTER = 16  # the image is shifted by up to 1/16 of its side in each step
SMOOTHNESS = 0.02  # weight of the total variation
# How red, green and blue are correlated in the photos of ImageNet, from Lucid (Olah et al. 2017).
_COLOURS = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]], np.float32)
_COLOURS /= np.linalg.norm(_COLOURS, axis=0).max()


def build_ascent_network(model: keras.Model, layer: str) -> keras.Model:
    """Copy `model` onto float32 pixels, with a `layer` that passes the gradient on even where its units are inactive.

    If the first image left a ReLU at 0, its gradient would be 0 (Olah et al. 2017, "redirected" gradients).
    """

    def redirect(x: tf.Tensor, upstream: tf.Tensor, backpropagate: TensorFunction) -> tf.Tensor:
        return tf.where(x > 0, backpropagate(upstream), upstream)

    return build_float_model(
        model, lambda copied: replace_gradient(copied, redirect) if copied.name == layer else copied
    )


def maximise_units(
    network: keras.Model, layer: str, channels: Sequence[int] | np.ndarray, scale: np.ndarray, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Make images that excite the middle unit of each channel as much as smooth images can.

    The method is gradient ascent with Adam from grey noise. The image is a spectrum whose frequencies are scaled by
    1/f and whose colours are correlated, as in natural images (Olah et al. 2017, "Feature Visualization"). It is
    shifted a little at random in each step (jitter), and its total variation is penalized (Mahendran and Vedaldi
    2015).

    Args:
        network: from `build_ascent_network`.
        layer: name of a layer of maps.
        channels: of the units.
        scale: a high value of each unit, such as that for the strongest photo; the weight of smoothness refers to it.
        seed: seed of noise and jitter.

    Returns:
        uint8 images, shape (len(channels), size, size, 3), and the strongest value in each channel's map.
    """
    maps = select_outputs(network, layer)
    size, count = network.input_shape[1], len(channels)
    rng = np.random.default_rng(seed)
    frequencies = _invert_frequencies(size)
    spectrum = tf.Variable(rng.normal(0, 0.01, (2, count, 3, *frequencies.shape)), dtype=tf.float32)

    @tf.function
    def descend(shift: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(spectrum)
            images = _render(spectrum, frequencies, size)
            excitement = _select_middle(maps(tf.roll(255 * images, shift, (1, 2)), training=False), channels) / scale
            roughness = tf.image.total_variation(images) / size
            loss = tf.reduce_sum(SMOOTHNESS * roughness - excitement)
        return tape.gradient(loss, spectrum)

    adam = keras.optimizers.Adam(LEARNING_RATE)
    for shift in rng.integers(-(size // JITTER), size // JITTER + 1, (STEPS, 2)):
        adam.apply([descend(tf.constant(shift, tf.int32))], [spectrum])
    images = tf.round(255 * _render(spectrum, frequencies, size))
    values = np.asarray(maps(images, training=False)).max(axis=(1, 2))
    return np.asarray(images, np.uint8), values[np.arange(count), channels]


def _render(spectrum: tf.Variable, frequencies: np.ndarray, size: int) -> tf.Tensor:
    """Return images 0..1, shape (n, size, size, 3).

    Args:
        spectrum: real and imaginary part, shape (2, n, 3, size, size // 2 + 1).
        frequencies: scale of each frequency.
        size: side of the images.
    """
    planes = tf.signal.irfft2d(tf.complex(spectrum[0] * frequencies, spectrum[1] * frequencies), (size, size))
    return tf.sigmoid(tf.einsum("nchw,dc->nhwd", planes, _COLOURS))


def _invert_frequencies(size: int) -> np.ndarray:
    """Return 1/f, scaled by the side of the image, for each frequency f of a real two-dimensional spectrum."""
    vertical, horizontal = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
    frequency = np.sqrt(vertical**2 + horizontal**2)
    return (size / np.maximum(frequency, 1 / size)).astype(np.float32)


def _select_middle(maps: tf.Tensor, channels: Sequence[int] | np.ndarray) -> tf.Tensor:
    """Return the value of the middle unit of each image's channel."""
    middle = maps[:, maps.shape[1] // 2, maps.shape[2] // 2]
    return tf.gather(middle, channels, axis=1, batch_dims=1)
