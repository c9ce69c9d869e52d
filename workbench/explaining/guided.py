"""Guided backpropagation (Springenberg et al. 2015, "Striving for Simplicity: The All Convolutional Net")."""

import tensorflow as tf

from workbench.explaining.network import build_float_model, in_batches, output_of, with_gradient


def guided_network(model):
    """A copy of `model` on float32 pixels whose rectifiers pass back what excites and nothing else.

    Springenberg et al. define the rule for ReLU: the gradient R that arrives at a rectifier f of pre-activation x
    goes on where x > 0 (backpropagation) and R > 0 (the deconvnet), and is zero elsewhere. Here f is ReLU, GELU,
    SiLU or Mish, and what goes on is

        R * f'(x)  where x > 0 and R > 0,  else 0.

    All of them are positive exactly where x > 0, so that x > 0 still means "the unit is active". There f' > 0 for
    all of them (1 for ReLU; between 0.5 and 1.13 for the others), so that the true slope keeps its weight and no
    sign turns. Where x <= 0 the smooth ones have a small output below zero, which falls and rises again; evidence
    through an inactive unit is what the method leaves out. For ReLU the rule is the paper's own.

    The forward pass is the model's. Gates that do not rectify (sigmoid, softmax) keep their gradient.
    """
    return build_float_model(model, lambda layer: with_gradient(layer, _guided))


def guided_gradients(network, layer, channels, images, positions=None):
    """Guided gradient of one unit an image, with respect to the pixels.

    Args:
        network: from `guided_network`.
        layer: name of the unit's layer.
        channels: channel of the unit, one an image.
        images: uint8 or float32 RGB, 0..255, shape (n, size, size, 3).
        positions: position of the unit in the flattened map, one an image; the strongest by default.

    Returns:
        float32 array like `images`.
    """
    maps = output_of(network, layer)

    def gradients(images, channels, *positions):
        pixels = tf.cast(images, tf.float32)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(pixels)
            values = maps(pixels, training=False)
            values = tf.reshape(values, (tf.shape(images)[0], -1, values.shape[-1]))
            values = tf.gather(values, channels, axis=2, batch_dims=1)
            unit = tf.gather(values, positions[0], axis=1, batch_dims=1) if positions else tf.reduce_max(values, axis=1)
        return tape.gradient(unit, pixels)

    return in_batches(gradients, images, channels, *([] if positions is None else [positions]))


def _guided(x, upstream, through):
    return through(tf.where((x > 0) & (upstream > 0), upstream, 0.0))
