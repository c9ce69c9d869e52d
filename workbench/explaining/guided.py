"""Guided backpropagation (Springenberg et al. 2015, "Striving for Simplicity: The All Convolutional Net")."""

import keras
import numpy as np
import tensorflow as tf

from workbench.explaining.network import (
    TensorFunction,
    build_float_model,
    replace_gradient,
    run_in_batches,
    select_outputs,
)


def build_guided_network(model: keras.Model) -> keras.Model:
    """Copy `model` onto float32 pixels, with rectifiers that pass back only gradients that excite active units.

    Springenberg et al. define the rule for ReLU: the upstream gradient R of a rectifier f of pre-activation x is
    passed on where x > 0 (backpropagation) and R > 0 (the deconvnet), and is zero elsewhere. Here f is ReLU, GELU,
    SiLU or Mish, and the downstream gradient is

        R * f'(x)  where x > 0 and R > 0,  else 0.

    All of them are positive exactly where x > 0, so that x > 0 still means "the unit is active". There f' > 0 for
    all of them (1 for ReLU; between 0.5 and 1.13 for the others), so that the slope keeps its weight and no sign
    changes. Where x <= 0 the smooth ones have a small negative output, which falls and rises again; evidence through
    an inactive unit is what the method leaves out. For ReLU the rule is that of the paper.

    The forward pass is the model's. Gates that do not rectify (sigmoid, softmax) keep their gradient.
    """
    return build_float_model(model, lambda layer: replace_gradient(layer, _guide))


def compute_guided_gradients(
    network: keras.Model, layer: str, channels: np.ndarray, images: np.ndarray, positions: np.ndarray | None = None
) -> np.ndarray:
    """Compute the guided gradient of one unit per image, with respect to the pixels.

    Args:
        network: from `build_guided_network`.
        layer: name of the unit's layer.
        channels: channel of the unit, one per image.
        images: uint8 or float32 RGB, 0..255, shape (n, size, size, 3).
        positions: position of the unit in the flattened map, one per image; the strongest one by default.

    Returns:
        float32 array like `images`.
    """
    maps = select_outputs(network, layer)

    def compute(images: tf.Tensor, channels: tf.Tensor, *positions: tf.Tensor) -> tf.Tensor:
        pixels = tf.cast(images, tf.float32)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(pixels)
            values = maps(pixels, training=False)
            values = tf.reshape(values, (tf.shape(images)[0], -1, values.shape[-1]))
            values = tf.gather(values, channels, axis=2, batch_dims=1)
            unit = tf.gather(values, positions[0], axis=1, batch_dims=1) if positions else tf.reduce_max(values, axis=1)
        return tape.gradient(unit, pixels)

    return run_in_batches(compute, images, channels, *([] if positions is None else [positions]))


def _guide(x: tf.Tensor, upstream: tf.Tensor, backpropagate: TensorFunction) -> tf.Tensor:
    return backpropagate(tf.where((x > 0) & (upstream > 0), upstream, 0.0))
