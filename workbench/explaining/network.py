"""A trained network as its explanations need it: on float32 pixels, unrounded, its layers found by type."""

import difflib
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from keras import activations, layers

from workbench.errors import UserError
from workbench.keras_graph import rebuild

BATCH = 32  # images a step
# Positive exactly where their input is positive, with a positive slope there.
_RECTIFIERS = {
    *(activations.relu, activations.relu6, activations.leaky_relu, activations.gelu, activations.silu),
    *(activations.mish, activations.elu, activations.selu, activations.hard_silu),
}
_RECTIFIER_LAYERS = layers.ReLU, layers.LeakyReLU, layers.ELU


def build_float_model(
    model: keras.Model, change_layer: Callable[[keras.Layer], keras.Layer] | None = None
) -> keras.Model:
    """Build a copy of `model` that takes float32 pixels, so that gradients reach them.

    The model's own input is uint8, and casting it has no gradient. The copy has the same layers, names and weights,
    computes in float32 even where the model was trained in mixed precision, and gives the same logits.

    Args:
        model: flat functional model from uint8 RGB to logits; it is not changed.
        change_layer: called with each copied layer, returns the layer to use in its place.

    Returns:
        keras.Model from float32 RGB (batch, size, size, 3), 0..255, to float32 logits (batch, num_classes).

    Raises:
        UserError: the model contains another model, whose layers cannot be reached.
    """
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            raise UserError(f"the model contains another model, '{layer.name}'; only flat models can be explained")
    pixels = keras.Input(model.input_shape[1:], dtype="float32", name="pixels")
    copy = rebuild(model, change_layer, "float32", input_tensor=pixels)
    return keras.Model(pixels, keras.tree.flatten(copy.output)[0])  # of a loaded model the output is a list


def rectifier(layer):
    """The function of the layer that rectifies (ReLU and its smooth kin), or None.

    It is an `Activation` layer's, a `ReLU` layer itself, or the `activation=` of a convolution or dense layer.
    """
    if isinstance(layer, _RECTIFIER_LAYERS):
        return layer.call
    activation = getattr(layer, "activation", None)
    return activation if activation in _RECTIFIERS else None


def first_convolution(network):
    """The first convolution over the colours of the image.

    Raises:
        UserError: there is none.
    """
    for layer in network.layers:
        if isinstance(layer, layers.Conv2D) and layer.kernel.shape[2] == 3:
            return layer
    raise UserError("the model has no convolution over an RGB image: nothing to explain")


def rectified_maps(network):
    """The layers that give rectified maps, shape (batch, height, width, channels), first to last."""
    return [layer for layer in network.layers if rectifier(layer) and len(layer.output.shape) == 4]


def stage_ends(network):
    """Names of the last layer of rectified maps at each map size, first to last.

    In the five-block CNN these are the blocks' activations, whether they stand before or after the pooling; in a
    ResNet the outputs of its stages. Maps that are smaller than later ones (the gates of squeeze-and-excitation)
    lie beside the main path and are passed over.

    Raises:
        UserError: the network has no such layer.
    """
    ends, side = [], 0
    for layer in reversed(rectified_maps(network)):
        if layer.output.shape[1] > side:
            side = layer.output.shape[1]
            ends.append(layer.name)
    if not ends:
        raise UserError("the model has no maps behind a ReLU, GELU, SiLU or Mish: nothing to explain")
    return ends[::-1]


def map_layer(network, name):
    """The name of a layer that gives maps.

    Raises:
        UserError: there is no such layer, or its output is no map; names the nearest.
    """
    inner = [layer for layer in network.layers if not isinstance(layer, layers.InputLayer)]
    with_maps = [layer.name for layer in inner if len(layer.output.shape) == 4]
    if name in with_maps:
        return name
    if name in {layer.name for layer in inner}:
        raise UserError(f"--layer {name}: gives no maps; the last that do are {', '.join(with_maps[-3:])}")
    near = difflib.get_close_matches(name, with_maps, n=3, cutoff=0)
    raise UserError(f"--layer {name}: no such layer; the nearest are {', '.join(near)}")


def output_of(network, *names):
    """The network up to the named layers, `None` standing for the logits."""
    outputs = [network.output if name is None else network.get_layer(name).output for name in names]
    return keras.Model(network.input, outputs if len(outputs) > 1 else outputs[0])


def with_gradient(layer, rule):
    """The layer with another gradient through its rectifier; a layer that has none is returned as it is.

    Args:
        layer: of a copy made by `build_float_model`, not yet called.
        rule: called with the pre-activation x, the gradient R that arrives, and a function that gives what ordinary
            backpropagation makes of such a gradient, R * f'(x); returns the gradient that goes on.
    """
    function = rectifier(layer)
    if function is None:
        return layer

    @tf.custom_gradient
    def rectify(x):
        def through(upstream):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = function(x)
            return tape.gradient(y, x, output_gradients=upstream)

        return function(x), lambda upstream: rule(x, upstream, through)

    if hasattr(layer, "activation"):
        layer.activation = rectify
        return layer
    return layers.Activation(rectify, name=layer.name)


def in_batches(function, *arrays):
    """`function` of tensors, over arrays of n rows, `BATCH` rows at a time; its results as arrays of n rows."""
    signature = [tf.TensorSpec((None, *array.shape[1:]), array.dtype) for array in arrays]
    function = tf.function(function, input_signature=signature)
    parts = []
    for start in range(0, len(arrays[0]), BATCH):
        result = function(*(array[start : start + BATCH] for array in arrays))
        parts.append([np.asarray(value) for value in (result if isinstance(result, tuple) else (result,))])
    joined = tuple(np.concatenate(values) for values in zip(*parts, strict=True))
    return joined if len(joined) > 1 else joined[0]
