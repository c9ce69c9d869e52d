"""Images made to maximise a unit (Erhan et al. 2009; Mahendran and Vedaldi 2015; Olah et al. 2017)."""

import keras
import numpy as np
import tensorflow as tf

from workbench.explaining.network import build_float_model, output_of, with_gradient

STEPS, LEARNING_RATE = 64, 0.05
JITTER = 16  # the image moves by up to 1/16 of its side each step
SMOOTHNESS = 0.02  # weight of the total variation
# How red, green and blue vary together in ImageNet's photos, from Lucid (Olah et al. 2017).
_COLOURS = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]], np.float32)
_COLOURS /= np.linalg.norm(_COLOURS, axis=0).max()


def ascent_network(model, layer):
    """A copy of `model` on float32 pixels whose `layer` passes the gradient even where its units are inactive.

    From an image that leaves a ReLU at 0 there would be no way up (Olah et al. 2017, "redirected" gradients).
    """

    def redirected(x, upstream, through):
        return tf.where(x > 0, through(upstream), upstream)

    return build_float_model(model, lambda made: with_gradient(made, redirected) if made.name == layer else made)


def maximised(network, layer, channels, scale, seed=0):
    """Images that excite the middle unit of each channel as much as smooth images can.

    Ascent with Adam from grey noise. The image is a spectrum whose frequencies are scaled by 1/f and whose colours
    vary together, as in natural images (Olah et al. 2017, "Feature Visualization"); it is moved a little at random
    in each step (jitter), and its total variation is held down (Mahendran and Vedaldi 2015).

    Args:
        network: from `ascent_network`.
        layer: name of a layer of maps.
        channels: of the units.
        scale: a high value of each unit, such as its strongest photo's; smoothness is weighed against it.
        seed: fixes noise and jitter.

    Returns:
        uint8 images, shape (len(channels), size, size, 3), and the strongest value in each channel's map.
    """
    maps = output_of(network, layer)
    size, count = network.input_shape[1], len(channels)
    rng = np.random.default_rng(seed)
    frequencies = _inverse_frequencies(size)
    spectrum = tf.Variable(rng.normal(0, 0.01, (2, count, 3, *frequencies.shape)), dtype=tf.float32)

    @tf.function
    def downhill(shift):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(spectrum)
            images = _images(spectrum, frequencies, size)
            excitement = _middle(maps(tf.roll(255 * images, shift, (1, 2)), training=False), channels) / scale
            roughness = tf.image.total_variation(images) / size
            loss = tf.reduce_sum(SMOOTHNESS * roughness - excitement)
        return tape.gradient(loss, spectrum)

    adam = keras.optimizers.Adam(LEARNING_RATE)
    for shift in rng.integers(-(size // JITTER), size // JITTER + 1, (STEPS, 2)):
        adam.apply([downhill(tf.constant(shift, tf.int32))], [spectrum])
    images = tf.round(255 * _images(spectrum, frequencies, size))
    values = np.asarray(maps(images, training=False)).max(axis=(1, 2))
    return np.asarray(images, np.uint8), values[np.arange(count), channels]


def _images(spectrum, frequencies, size):
    """Images 0..1, shape (n, size, size, 3), of spectra (real and imaginary part, n, 3, size, size // 2 + 1)."""
    planes = tf.signal.irfft2d(tf.complex(spectrum[0] * frequencies, spectrum[1] * frequencies), (size, size))
    return tf.sigmoid(tf.einsum("nchw,dc->nhwd", planes, _COLOURS))


def _inverse_frequencies(size):
    vertical, horizontal = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
    frequency = np.sqrt(vertical**2 + horizontal**2)
    return (size / np.maximum(frequency, 1 / size)).astype(np.float32)


def _middle(maps, channels):
    """The unit in the middle of each image's channel."""
    middle = maps[:, maps.shape[1] // 2, maps.shape[2] // 2]
    return tf.gather(middle, channels, axis=1, batch_dims=1)
