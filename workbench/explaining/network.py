"""Prepare a trained network for its explanation: copy it onto float32 pixels, and find its layers by their type."""

import difflib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import activations, layers

from workbench.errors import UserError
from workbench.keras_graph import rebuild

BATCH = 32  # images in one step
# Positive exactly where the input is positive, with a positive slope there.
_RECTIFIERS = {
    *(activations.relu, activations.relu6, activations.leaky_relu, activations.gelu, activations.silu),
    *(activations.mish, activations.elu, activations.selu, activations.hard_silu),
}
_RECTIFIER_LAYERS = layers.ReLU, layers.LeakyReLU, layers.ELU

TensorFunction = Callable[[tf.Tensor], tf.Tensor]
GradientRule = Callable[[tf.Tensor, tf.Tensor, TensorFunction], tf.Tensor]


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


def find_rectifier(layer: keras.Layer) -> TensorFunction | None:
    """Return the function by which a layer rectifies (ReLU or a smooth relative of it); None if it does not.

    It is that of an `Activation` layer, of a `ReLU` layer, or the `activation=` of a convolution or dense layer.
    """
    if isinstance(layer, _RECTIFIER_LAYERS):
        return layer.call
    activation = getattr(layer, "activation", None)
    return activation if activation in _RECTIFIERS else None


def find_first_convolution(network: keras.Model) -> layers.Conv2D:
    """Return the first convolution over the colours of the image.

    Raises:
        UserError: there is none.
    """
    for layer in network.layers:
        if isinstance(layer, layers.Conv2D) and layer.kernel.shape[2] == 3:
            return layer
    raise UserError("the model has no convolution over an RGB image: nothing to explain")


def read_rgb_kernel(network: keras.Model, layer: layers.Conv2D) -> np.ndarray:
    """Return the kernel of a convolution over the colours, shape (height, width, 3, filters), as red, green and blue.

    The preprocessing of some backbones reverses the colours, so that the kernel's own order is blue, green and red.

    Args:
        network: from `build_float_model`.
        layer: from `find_first_convolution`.
    """
    black_and_colours = np.concatenate([np.zeros((1, 3)), 255 * np.eye(3)]).astype(np.float32)
    images = np.broadcast_to(black_and_colours[:, None, None], (4, *network.input_shape[1:]))
    values = np.asarray(keras.Model(network.input, layer.input)(images, training=False)).mean(axis=(1, 2))
    channels = np.abs(values[1:] - values[0]).argmax(axis=1)  # those that change most with red, green and blue
    return np.asarray(layer.kernel)[:, :, channels]


def list_rectified_layers(network: keras.Model) -> list[keras.Layer]:
    """Return the layers whose outputs are rectified maps (batch, height, width, channels), first to last."""
    return [layer for layer in network.layers if find_rectifier(layer) and len(layer.output.shape) == 4]


def find_stage_ends(network: keras.Model) -> list[str]:
    """Return the names of the last layers with rectified maps of each map size, first to last.

    In the five-block CNN these are the activations of the blocks, whether they come before or after the pooling; in a
    ResNet the outputs of its stages. Maps that are smaller than later ones (the gates of squeeze-and-excitation) are
    not on the main path and are skipped.

    Raises:
        UserError: the network has no such layer.
    """
    ends, side = [], 0
    for layer in reversed(list_rectified_layers(network)):
        if layer.output.shape[1] > side:
            side = layer.output.shape[1]
            ends.append(layer.name)
    if not ends:
        raise UserError("the model has no feature maps after a ReLU, GELU, SiLU or Mish: nothing to explain")
    return ends[::-1]


def check_map_layer(network: keras.Model, name: str) -> str:
    """Return `name` if the layer of this name outputs maps.

    Raises:
        UserError: there is no such layer, or its output is not a map; names similar layers.
    """
    inner = [layer for layer in network.layers if not isinstance(layer, layers.InputLayer)]
    with_maps = [layer.name for layer in inner if len(layer.output.shape) == 4]
    if name in with_maps:
        return name
    if name in {layer.name for layer in inner}:
        raise UserError(f"--layer {name}: has no maps; the last layers with maps are {', '.join(with_maps[-3:])}")
    near = difflib.get_close_matches(name, with_maps, n=3, cutoff=0)
    raise UserError(f"--layer {name}: no such layer; the nearest are {', '.join(near)}")


def select_outputs(network: keras.Model, *names: str | None) -> keras.Model:
    """Return a network with the outputs of the named layers; `None` means the logits."""
    outputs = [network.output if name is None else network.get_layer(name).output for name in names]
    return keras.Model(network.input, outputs if len(outputs) > 1 else outputs[0])


def replace_gradient(layer: keras.Layer, rule: GradientRule) -> keras.Layer:
    """Return the layer with another gradient of its rectifier. A layer without a rectifier is returned unchanged.

    Args:
        layer: from the copy made by `build_float_model`, not called yet.
        rule: called with the pre-activation x, the upstream gradient R, and the function of ordinary backpropagation,
            which returns R * f'(x) for an upstream gradient R; returns the downstream gradient.
    """
    function = find_rectifier(layer)
    if function is None:
        return layer

    @tf.custom_gradient
    def rectify(x: tf.Tensor) -> tuple[tf.Tensor, TensorFunction]:
        def backpropagate(upstream: tf.Tensor) -> tf.Tensor:
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = function(x)
            return tape.gradient(y, x, output_gradients=upstream)

        return function(x), lambda upstream: rule(x, upstream, backpropagate)

    if hasattr(layer, "activation"):
        layer.activation = rectify
        return layer
    return layers.Activation(rectify, name=layer.name)


def run_in_batches(function: Callable[..., tf.Tensor | tuple[tf.Tensor, ...]], *arrays: np.ndarray) -> Any:
    """Call a function of tensors on arrays of n rows, `BATCH` rows at a time.

    A single batch is computed without a graph, because to trace one takes several times as long.

    Returns:
        The function's results as an array of n rows, or as a tuple of arrays if the function returns a tuple.
    """
    if len(arrays[0]) > BATCH:
        signature = [tf.TensorSpec((None, *array.shape[1:]), array.dtype) for array in arrays]
        function = tf.function(function, input_signature=signature)
    parts = []
    for start in range(0, len(arrays[0]), BATCH):
        result = function(*(tf.constant(array[start : start + BATCH]) for array in arrays))
        parts.append([np.asarray(value) for value in (result if isinstance(result, tuple) else (result,))])
    joined = tuple(np.concatenate(values) for values in zip(*parts, strict=True))
    return joined if len(joined) > 1 else joined[0]
