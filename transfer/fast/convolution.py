"""A convolution with frozen batch norm, a residual sum and ReLU as one operation, whose gradient needs its output only.

A frozen batch norm is z = (y - mean) * scale + beta with a constant scale = gamma / sqrt(variance + epsilon). So with

    kernel' = kernel * scale,  bias' = (bias - mean) * scale + beta

the operation is p = activation(convolution(x, kernel') + bias' + residual), and TensorFlow computes it in one kernel.
With g = d_p where the activation passes its input, and 0 elsewhere (which the output p shows), the gradients are

    d_residual = g,  d_bias' = sum(g),  d_x and d_kernel' those of the convolution.

The gradients of kernel and bias follow from those of kernel' and bias' by a product with the scale.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from transfer.fast.filter_gradient import compute_filter_gradient
from workbench.training import tiled_convolution


class Folded(NamedTuple):
    """A convolution's weights with a batch norm folded in: kernel' and bias'."""

    kernel: tf.Tensor
    bias: tf.Tensor


@dataclasses.dataclass(frozen=True)
class Geometry:
    """How a kernel moves over the maps.

    Attributes:
        stride: in both directions.
        padding: `SAME` or `VALID`.
        is_depthwise: whether each channel has filters of its own.
        activation: `linear`, `relu` or `relu6`.
    """

    stride: int
    padding: str
    is_depthwise: bool
    activation: str


_GRADIENTS: dict[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {  # of (gradient of the output, output)
    "linear": lambda gradient, _: gradient,
    "relu": lambda gradient, output: tf.raw_ops.ReluGrad(gradients=gradient, features=output),
    "relu6": lambda gradient, output: tf.raw_ops.Relu6Grad(gradients=gradient, features=output),
}
_ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {
    "linear": tf.identity,
    "relu": tf.nn.relu,
    "relu6": tf.nn.relu6,
}


def fold(layer: keras.layers.Layer, norm: keras.layers.BatchNormalization | None, dtype: str) -> Folded:
    """Return the weights of a convolution with a frozen batch norm folded in, computed in float32, in `dtype`."""
    kernel = tf.convert_to_tensor(layer.kernel)
    bias = tf.convert_to_tensor(layer.bias) if layer.use_bias else None
    if norm is None:
        bias = tf.zeros(layer.output.shape[-1]) if bias is None else bias
        return Folded(tf.cast(kernel, dtype), tf.cast(bias, dtype))
    scale = tf.math.rsqrt(norm.moving_variance + norm.epsilon)
    scale = tf.stop_gradient(scale * norm.gamma if norm.scale else scale)
    shift = tf.stop_gradient((norm.beta if norm.center else 0.0) - norm.moving_mean * scale)
    is_depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    kernel = kernel * (tf.reshape(scale, kernel.shape[2:]) if is_depthwise else scale)
    return Folded(tf.cast(kernel, dtype), tf.cast(shift if bias is None else bias * scale + shift, dtype))


def convolve(x: tf.Tensor, weights: Folded, residual: tf.Tensor | None, geometry: Geometry) -> tf.Tensor:
    """Compute activation(convolution(x) + bias + residual).

    Args:
        x: maps (batch, height, width, channels).
        weights: kernel (rows, columns, channels, filters) and bias (outputs,), of the type of `x`.
        residual: of the output's shape; None for 0.
        geometry: of the convolution.

    Returns:
        (batch, height', width', outputs) of the type of `x`.
    """

    @tf.custom_gradient
    def compute(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, *residual: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        z = tf.nn.bias_add(_convolve(x, kernel, geometry), bias)
        output = _ACTIVATIONS[geometry.activation](tf.add(z, residual[0]) if residual else z)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
            g = _GRADIENTS[geometry.activation](upstream, output)
            d_x, d_kernel = _compute_gradients(x, kernel, g, geometry)
            return d_x, d_kernel, tf.raw_ops.BiasAddGrad(out_backprop=g), *([g] if residual else [])

        return output, gradient

    return compute(x, *weights, *([] if residual is None else [residual]))


def _describe(geometry: Geometry) -> dict[str, Any]:
    """Return the attributes of TensorFlow's convolutions."""
    return {"strides": [1, geometry.stride, geometry.stride, 1], "padding": geometry.padding}


def _has_tiles(geometry: Geometry) -> bool:
    """Return whether `tiled_convolution` computes such a convolution."""
    return geometry.stride == 1 and geometry.padding == "SAME" and not geometry.is_depthwise


def _convolve(x: tf.Tensor, kernel: tf.Tensor, geometry: Geometry) -> tf.Tensor:
    if geometry.is_depthwise:
        return tf.raw_ops.DepthwiseConv2dNative(input=x, filter=kernel, **_describe(geometry))
    if _has_tiles(geometry):
        return tiled_convolution.convolve(x, kernel)
    return tf.raw_ops.Conv2D(input=x, filter=kernel, **_describe(geometry))


def _compute_gradients(
    x: tf.Tensor, kernel: tf.Tensor, g: tf.Tensor, geometry: Geometry
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the gradients of maps and kernel from that of the convolution's output."""
    how = _describe(geometry)
    if geometry.is_depthwise:
        d_x = tf.raw_ops.DepthwiseConv2dNativeBackpropInput(
            input_sizes=tf.shape(x), filter=kernel, out_backprop=g, **how
        )
        d_kernel = tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
            input=x, filter_sizes=tf.shape(kernel), out_backprop=g, **how
        )
        return d_x, d_kernel
    if _has_tiles(geometry):
        d_x = tiled_convolution.compute_input_gradient(x, kernel, g)
    else:
        d_x = tf.raw_ops.Conv2DBackpropInput(input_sizes=tf.shape(x), filter=kernel, out_backprop=g, **how)
    return d_x, compute_filter_gradient(x, kernel, g, geometry.stride, geometry.padding)
