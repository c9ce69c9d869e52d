"""The gradient of a convolution's kernel by matrix products, which on CPUs are faster than the convolution's own.

For 1x1 it is the product of inputs and output gradients over all positions; for 3x3 see
`workbench/training/tiled_convolution.py`.
"""

import math
from collections.abc import Sequence

import tensorflow as tf

from workbench.training import tiled_convolution

USUAL_BATCH = 32  # assumed for the choice of an algorithm


def compute_filter_gradient(
    x: tf.Tensor, kernel: tf.Tensor, gradient: tf.Tensor, stride: int, padding: str
) -> tf.Tensor:
    """Return the gradient of a convolution's kernel.

    Args:
        x: inputs (batch, height, width, channels).
        kernel: (rows, columns, channels, filters).
        gradient: of the convolution's output.
        stride: in both directions.
        padding: `SAME` or `VALID`.
    """
    is_float32 = x.dtype == tf.float32  # products of 16 bits would be summed in 16 bits
    if is_float32 and stride == 1 and kernel.shape[:2] == (1, 1):
        return tf.reshape(_multiply_positions(x, gradient), kernel.shape)
    if stride == 1 and padding == "SAME":
        return tiled_convolution.compute_filter_gradient(x, kernel, gradient)
    return _compute_by_definition(x, kernel.shape, gradient, stride, padding)


def _compute_by_definition(
    x: tf.Tensor, shape: Sequence[int], gradient: tf.Tensor, stride: int = 1, padding: str = "VALID"
) -> tf.Tensor:
    """Return the gradient of a kernel by TensorFlow's own operation."""
    return tf.raw_ops.Conv2DBackpropFilter(
        input=x, filter_sizes=shape, out_backprop=gradient, strides=[1, stride, stride, 1], padding=padding
    )


def _multiply_positions(x: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """Return the sum over all positions of the products of each input with each output gradient, (inputs, outputs)."""
    inputs, outputs = x.shape[-1], gradient.shape[-1]
    few, many = sorted((inputs, outputs))
    positions = USUAL_BATCH * math.prod(x.shape[1:3])
    if positions < 2 * many:  # the choices are those that were fastest with the shapes of ResNet50
        multiply, rows = _multiply_by_convolution, few
    else:
        multiply, rows = _multiply_transposed, few if positions > 8 * many else many
    return multiply(x, gradient) if rows == inputs else tf.transpose(multiply(gradient, x))


def _multiply_by_convolution(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Return the sum over all positions of the products of channels of x and of y."""
    shape = (x.shape[-1], y.shape[-1])
    return tf.reshape(_compute_by_definition(x, (1, 1, *shape), y), shape)


def _multiply_transposed(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Return what `_multiply_by_convolution` does, by a product of matrices."""
    x, y = (tf.reshape(maps, (-1, maps.shape[-1])) for maps in (x, y))
    return tf.matmul(x, y, transpose_a=True)
