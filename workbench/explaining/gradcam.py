"""Grad-CAM (Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks")."""

import tensorflow as tf

from workbench.explaining.network import in_batches, output_of

SMALLEST_MAP = 3  # a map of fewer positions a side says nothing about where


def grad_cam(network, layer, images, classes):
    """Where the maps of a layer speak for a class: ReLU(sum_k a_k A_k), a_k the mean gradient of its logit in map k.

    Args:
        network: from `workbench.explaining.network.build_float_model`.
        layer: name of a layer of maps A, usually the last.
        images: uint8 or float32 RGB, 0..255, shape (n, size, size, 3).
        classes: class index, one an image.

    Returns:
        float32 array of shape (n, height, width) of the layer's maps, 0 where nothing speaks for the class.
    """
    maps_and_logits = output_of(network, layer, None)

    def heat(images, classes):
        pixels = tf.cast(images, tf.float32)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(pixels)
            maps, logits = maps_and_logits(pixels, training=False)
            score = tf.gather(logits, classes, axis=1, batch_dims=1)
        weights = tf.reduce_mean(tape.gradient(score, maps), axis=(1, 2), keepdims=True)
        return tf.nn.relu(tf.reduce_sum(weights * maps, axis=-1))

    return in_batches(heat, images, classes)


def cam_layer(network, ends):
    """The deepest of the layers `ends` whose maps still tell a place."""
    large = [name for name in ends if network.get_layer(name).output.shape[1] >= SMALLEST_MAP]
    return large[-1] if large else ends[0]
