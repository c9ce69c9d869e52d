"""A copy of a network for inference: batch norm folded into the convolutions before it, in any precision."""

import keras
import numpy as np

from transfer.precision import anew
from workbench.keras_graph import consumers

_KERNELS = {
    keras.layers.Conv2D: "kernel",
    keras.layers.DepthwiseConv2D: "kernel",
    keras.layers.SeparableConv2D: "pointwise_kernel",
}


def folded(model, dtype="float32"):
    """A functional model that computes what `model` does in inference, with fewer operations.

    A batch norm that is the only consumer of a convolution without activation vanishes: the kernel is scaled by
    gamma / sqrt(variance + epsilon) and the bias shifted. Others stay as they are.

    Args:
        model: flat functional Keras model.
        dtype: of the arithmetic, `float32` or `bfloat16`.
    """
    norm_of = _foldable(model)
    norms = {norm.name for norm in norm_of.values()}

    def clone(layer):
        if layer.name in norms:
            return keras.layers.Identity(name=layer.name, dtype=dtype)
        return anew(layer, dtype, use_bias=True) if layer.name in norm_of else anew(layer, dtype)

    def call(layer, *args, **kwargs):
        return layer(*args) if layer.name in norms else layer(*args, **kwargs)  # Identity takes no mask

    copy = keras.models.clone_model(model, clone_function=clone, call_function=call)
    for layer in model.layers:
        if layer.name in norm_of:
            copy.get_layer(layer.name).set_weights(_folded_weights(layer, norm_of[layer.name]))
        elif layer.weights and layer.name not in norms:
            copy.get_layer(layer.name).set_weights(layer.get_weights())
    return copy


def _foldable(model):
    """Name of a convolution -> the batch norm that can be folded into it."""
    taken, found = consumers(model), {}
    for layer in model.layers:
        if type(layer) not in _KERNELS or layer.activation is not keras.activations.linear:
            continue
        following = taken[layer]
        if len(following) == 1 and isinstance(following[0], keras.layers.BatchNormalization):
            found[layer.name] = following[0]
    return found


def _folded_weights(layer, norm):
    """The convolution's weights with those of the batch norm in them, kernels first and the bias last."""
    mean, variance = norm.moving_mean.numpy(), norm.moving_variance.numpy()
    scale = (norm.gamma.numpy() if norm.scale else 1.0) / np.sqrt(variance + norm.epsilon)
    bias = (layer.bias.numpy() if layer.use_bias else 0.0) - mean
    shift = (norm.beta.numpy() if norm.center else 0.0) + bias * scale
    kernels = {weight.name: weight.numpy() for weight in layer.weights if weight.name != "bias"}
    name = _KERNELS[type(layer)]
    outputs = scale.reshape(kernels[name].shape[2:]) if type(layer) is keras.layers.DepthwiseConv2D else scale
    kernels[name] = kernels[name] * outputs
    return [*kernels.values(), shift]
