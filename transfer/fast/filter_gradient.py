"""The gradient of a convolution's kernel by matrix products, which on CPUs are faster than the convolution's own.

For 1x1 it is the product of inputs and output gradients over all positions. For 3x3, with d a tile of 4x4 inputs, g the
gradients of the 2x2 outputs that it gives, and * the product of elements,

    d_kernel = G' (sum over tiles of (B' d B) * (A g A')) G

which takes 16 products where the definition takes 36. The matrices have entries of 0, 1, -1 and 1/2 only, so that
rounding errors stay as small as the convolution's own.

Source: Lavin and Gray, Fast algorithms for convolutional neural networks, CVPR 2016.
"""

import functools
import itertools
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

USUAL_BATCH = 32  # assumed for the choice of an algorithm
MIN_SIDE = 7  # smaller maps fill the tiles badly
LARGE = (
    3e7  # multiply-adds an image of a convolution; below that, compiling the tiles' loops takes longer than they save
)

_INPUT_ROWS = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))  # B'
_GRADIENT_ROWS = ((1, 0), (1, 1), (1, -1), (0, -1))  # A
_KERNEL_ROWS = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))  # G
_FROM_PRODUCTS = np.einsum("ua,vb->abuv", _KERNEL_ROWS, _KERNEL_ROWS).reshape(9, 16).astype(np.float32)
_compile = functools.partial(tf.function, jit_compile=True, autograph=False)  # XLA makes each a loop over the maps


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
    rows, columns = kernel.shape[:2]
    if x.dtype == tf.float32 and stride == 1:  # products of 16 bits would be summed in 16 bits
        if rows == columns == 1:
            return tf.reshape(_multiply_positions(x, gradient), kernel.shape)
        is_large = min(x.shape[1:3]) >= MIN_SIDE and math.prod(x.shape[1:3]) * math.prod(kernel.shape) >= LARGE
        if rows == columns == 3 and padding == "SAME" and is_large:
            return _compute_by_tiles(x, gradient)
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


def _compute_by_tiles(x: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """Return the gradient of a 3x3 kernel of stride 1 and padding `same`."""
    inputs, gradients = _transform_inputs(x), _transform_gradients(gradient)
    products = [tf.matmul(*pair, transpose_a=True) for pair in zip(inputs, gradients, strict=True)]
    channels, filters = x.shape[-1], gradient.shape[-1]
    kernel = tf.matmul(_FROM_PRODUCTS, tf.reshape(tf.stack(products), (16, channels * filters)))
    return tf.reshape(kernel, (3, 3, channels, filters))


@_compile
def _transform_inputs(x: tf.Tensor) -> list[tf.Tensor]:
    """Return the 16 entries of B' d B, each (tiles, channels)."""
    height, width = x.shape[1:3]
    x = tf.pad(x, ((0, 0), (1, 1 + height % 2), (1, 1 + width % 2), (0, 0)))
    ends = [height + height % 2 - 1, width + width % 2 - 1]
    places = [[x[:, i : i + ends[0] : 2, j : j + ends[1] : 2] for j in range(4)] for i in range(4)]
    return _transform(places, _INPUT_ROWS)


@_compile
def _transform_gradients(gradient: tf.Tensor) -> list[tf.Tensor]:
    """Return the 16 entries of A g A', each (tiles, filters)."""
    height, width = gradient.shape[1:3]
    gradient = tf.pad(gradient, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
    return _transform([[gradient[:, i::2, j::2] for j in range(2)] for i in range(2)], _GRADIENT_ROWS)


def _transform(places: Sequence[Sequence[tf.Tensor]], rows: Sequence[Sequence[int]]) -> list[tf.Tensor]:
    """Return the entries of the product rows * places * rows', row by row, each (tiles, channels)."""
    entries = []
    for upper, left in itertools.product(rows, rows):
        terms = [
            one * other * places[i][j]
            for (i, one), (j, other) in itertools.product(enumerate(upper), enumerate(left))
            if one * other
        ]
        entries.append(tf.reshape(sum(terms[1:], terms[0]), (-1, terms[0].shape[-1])))
    return entries
