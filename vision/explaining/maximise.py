"""Images made to maximise a unit (Erhan et al. 2009; Yosinski et al. 2015; Olah et al. 2017)."""

import keras
import numpy as np
import tensorflow as tf

from vision.explaining.network import output_of

STEPS, LEARNING_RATE = 64, 0.05
JITTER = 16  # the image moves by up to 1/16 of its side each step
SMOOTHNESS = 0.5  # weight of the total variation


def maximised(network, layer, channels, seed=0):
    """Images that excite the middle unit of each channel as much as smooth images can.

    Ascent with Adam from grey noise. The image is a spectrum whose frequencies are scaled by 1/f, as in natural
    images (Olah et al. 2017, "Feature Visualization"), and is moved a little at random in each step (jitter,
    Mordvintsev et al. 2015); its total variation is held down (Mahendran and Vedaldi 2015).

    Args:
        network: from `vision.explaining.network.floating`.
        layer: name of a layer of maps.
        channels: of the units.
        seed: fixes noise and jitter.

    Returns:
        uint8 images, shape (len(channels), size, size, 3), and the strongest value in each channel's map.
    """
    maps = output_of(network, layer)
    size, count = network.input_shape[1], len(channels)
    rng = np.random.default_rng(seed)
    scale = _inverse_frequencies(size)
    spectrum = tf.Variable(rng.normal(0, 0.01, (2, count, 3, *scale.shape)), dtype=tf.float32)
    adam = keras.optimizers.Adam(LEARNING_RATE)
    for _ in range(STEPS):
        shift = rng.integers(-(size // JITTER), size // JITTER + 1, 2)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(spectrum)
            pixels = _image(spectrum, scale, size)
            excitement = _middle(maps(tf.roll(255 * pixels, shift, (1, 2)), training=False), channels)
            loss = SMOOTHNESS * tf.reduce_sum(tf.image.total_variation(pixels)) / size - tf.reduce_sum(excitement)
        adam.apply([tape.gradient(loss, spectrum)], [spectrum])
    images = np.asarray(tf.round(255 * _image(spectrum, scale, size))).astype(np.uint8)
    values = np.asarray(maps(images.astype(np.float32), training=False)).max(axis=(1, 2))
    return images, values[np.arange(count), channels]


def _image(spectrum, scale, size):
    """Images 0..1, shape (n, size, size, 3), of spectra (real and imaginary part, n, 3, size, size // 2 + 1)."""
    planes = tf.signal.irfft2d(tf.complex(spectrum[0] * scale, spectrum[1] * scale), (size, size))
    return tf.sigmoid(tf.transpose(planes, (0, 2, 3, 1)))


def _inverse_frequencies(size):
    vertical, horizontal = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
    frequency = np.sqrt(vertical**2 + horizontal**2)
    return (size / np.maximum(frequency, 1 / size)).astype(np.float32)


def _middle(maps, channels):
    """The unit in the middle of each image's channel."""
    middle = maps[:, maps.shape[1] // 2, maps.shape[2] // 2]
    return tf.gather(middle, channels, axis=1, batch_dims=1)
