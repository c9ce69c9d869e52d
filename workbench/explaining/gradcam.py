"""Grad-CAM (Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks")."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from workbench.explaining.network import run_in_batches, select_outputs

SMALLEST_MAP = 3  # positions per side; a smaller map says too little about the place


def grad_cam(network: keras.Model, layer: str, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Compute where the maps A_k of a layer are evidence for a class.

    The heat map is ReLU(sum_k a_k A_k), where a_k is the mean over map k of the gradient of the class's logit.

    Args:
        network: from `workbench.explaining.network.build_float_model`.
        layer: name of a layer of maps, usually the last one.
        images: uint8 or float32 RGB, 0..255, shape (n, size, size, 3).
        classes: class index, one per image.

    Returns:
        float32 array of shape (n, height, width) of the layer's maps; 0 where there is no evidence for the class.
    """
    maps_and_logits = select_outputs(network, layer, None)

    def compute(images: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
        pixels = tf.cast(images, tf.float32)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(pixels)
            maps, logits = maps_and_logits(pixels, training=False)
            score = tf.gather(logits, classes, axis=1, batch_dims=1)
        weights = tf.reduce_mean(tape.gradient(score, maps), axis=(1, 2), keepdims=True)
        return tf.nn.relu(tf.reduce_sum(weights * maps, axis=-1))

    return run_in_batches(compute, images, classes)


def choose_cam_layer(network: keras.Model, stage_ends: Sequence[str]) -> str:
    """Return the deepest of these layers whose maps are large enough to show a place."""
    large = [name for name in stage_ends if network.get_layer(name).output.shape[1] >= SMALLEST_MAP]
    return large[-1] if large else stage_ends[0]
