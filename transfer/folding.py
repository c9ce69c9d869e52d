"""Fold batch norm into the convolutions before it: a faster copy of a network for inference, in any number format."""

import keras
import numpy as np

from workbench.keras_graph import list_consumers, rebuild

_KERNELS = {
    keras.layers.Conv2D: "kernel",
    keras.layers.DepthwiseConv2D: "kernel",
    keras.layers.SeparableConv2D: "pointwise_kernel",
}


def fold_batch_norm(model: keras.Model, dtype: str = "float32") -> keras.Model:
    """Build a model that computes what `model` computes in inference, with fewer operations.

    A batch norm that is the only consumer of a convolution without activation is removed: the kernel is multiplied by
    gamma / sqrt(variance + epsilon), and the bias is shifted. Other batch norms are kept.

    Args:
        model: flat functional Keras model.
        dtype: number format of the arithmetic, `float32` or `bfloat16`.
    """
    norm_of = _find_foldable(model)
    removed = {norm.name for norm in norm_of.values()}

    def change(layer: keras.Layer) -> keras.Layer:
        if layer.name in removed:
            return keras.layers.Identity(name=layer.name, dtype=dtype)
        if layer.name in norm_of:
            return type(layer).from_config({**layer.get_config(), "use_bias": True})
        return layer

    folded = rebuild(model, change, dtype)
    for name, norm in norm_of.items():
        folded.get_layer(name).set_weights(_fold_weights(model.get_layer(name), norm))
    return folded


def _find_foldable(model: keras.Model) -> dict[str, keras.layers.BatchNormalization]:
    """Return name of a convolution -> the batch norm that can be folded into it."""
    consumers, found = list_consumers(model), {}
    for layer in model.layers:
        if type(layer) not in _KERNELS or layer.activation is not keras.activations.linear:
            continue
        following = consumers[layer]
        if len(following) == 1 and isinstance(following[0], keras.layers.BatchNormalization):
            found[layer.name] = following[0]
    return found


def _fold_weights(layer: keras.Layer, norm: keras.layers.BatchNormalization) -> list[np.ndarray]:
    """Return the convolution's weights with the batch norm folded in: the kernels first, the bias last."""
    mean, variance = norm.moving_mean.numpy(), norm.moving_variance.numpy()
    scale = (norm.gamma.numpy() if norm.scale else 1.0) / np.sqrt(variance + norm.epsilon)
    bias = (layer.bias.numpy() if layer.use_bias else 0.0) - mean
    shift = (norm.beta.numpy() if norm.center else 0.0) + bias * scale
    kernels = {weight.name: weight.numpy() for weight in layer.weights if weight.name != "bias"}
    name = _KERNELS[type(layer)]
    outputs = scale.reshape(kernels[name].shape[2:]) if type(layer) is keras.layers.DepthwiseConv2D else scale
    kernels[name] = kernels[name] * outputs
    return [*kernels.values(), shift]
