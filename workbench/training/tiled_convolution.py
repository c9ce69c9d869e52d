"""Convolutions with kernels of 3x3 by products of matrices, which on CPUs are faster where there are many channels.

Winograd's method cuts the maps into tiles. With d a tile of 4x4 inputs, k the kernel, g the gradients of the 2x2
outputs that the tile gives, and * the product of elements, the outputs and the kernel's gradient are

    y        = A' (sum over channels of (G k G') * (B' d B)) A
    d_kernel = G' (sum over tiles of (B' d B) * (A g A')) G

Each takes 16 products where the definition takes 36; for each of the 16, the sum is a product of matrices. The gradient
of the inputs is the convolution of the outputs' gradient with the kernel turned by half a turn, whose transform is that
of the kernel with its first and last rows and columns exchanged. The matrices have entries of 0, 1, -1 and 1/2 only, so
that rounding errors stay as small as the definition's own.

The transformed tiles hold four times the values of the maps. That pays where a product has many terms; elsewhere, and
for other kernels and number formats, TensorFlow's own operations are called.

Source: Lavin and Gray, Fast algorithms for convolutional neural networks, CVPR 2016.
"""

import functools
import itertools
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

MIN_SIDE = 7  # pixels; smaller maps fill the tiles badly
LARGE = 3e7  # multiply-adds an image; below that, compiling the tiles' loops takes longer than they save
MIN_CHANNELS = 64  # of inputs and of outputs; with fewer, a product has too few terms to pay for its tiles

_INPUT_ROWS = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))  # B'
_GRADIENT_ROWS = ((1, 0), (1, 1), (1, -1), (0, -1))  # A
_OUTPUT_ROWS = tuple(zip(*_GRADIENT_ROWS, strict=True))  # A'
_KERNEL_ROWS = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))  # G
_TURNED = (3, 1, 2, 0)  # the rows of G in the order of a kernel that is turned by half a turn
_KERNEL_PRODUCTS = np.einsum("ua,vb->uvab", _KERNEL_ROWS, _KERNEL_ROWS).reshape(16, 9).astype(np.float32)
_compile = functools.partial(tf.function, jit_compile=True, autograph=False)  # XLA makes each a loop over the maps


def is_faster_by_tiles(maps: Sequence[int | None], kernel: Sequence[int]) -> bool:
    """Return whether a convolution of float32 maps is faster by tiles, from the shapes of its maps and its kernel."""
    sides, size, channels = [side or 0 for side in maps[1:3]], tuple(kernel[:2]), kernel[2:]  # 0: an open size
    is_large = math.prod(sides) * math.prod(kernel) >= LARGE
    return is_large and size == (3, 3) and min(sides) >= MIN_SIDE and min(channels) >= MIN_CHANNELS


def convolve(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Return the convolution of maps with a kernel, with stride 1 and padding `same`.

    Args:
        x: maps (batch, height, width, channels).
        kernel: (rows, columns, channels, filters), of the type of `x`.

    Returns:
        (batch, height, width, filters) of the type of `x`.
    """
    if not _uses_tiles(x, kernel):
        return tf.nn.conv2d(x, kernel, 1, "SAME")
    products = zip(_transform_inputs(x), _transform_kernel(kernel), strict=True)
    return _transform_products([tf.matmul(*pair) for pair in products], *x.shape[1:3])


def compute_input_gradient(x: tf.Tensor, kernel: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """Return the gradient of `convolve` for the maps.

    Args:
        x: the maps, of which only the shape is used.
        kernel: as in `convolve`.
        gradient: of the convolution's output.
    """
    if not _uses_tiles(x, kernel):
        return tf.raw_ops.Conv2DBackpropInput(
            input_sizes=tf.shape(x), filter=kernel, out_backprop=gradient, strides=[1, 1, 1, 1], padding="SAME"
        )
    rows = _transform_kernel(kernel)
    turned = [rows[4 * row + column] for row, column in itertools.product(_TURNED, _TURNED)]
    products = zip(_transform_inputs(gradient), turned, strict=True)
    return _transform_products([tf.matmul(*pair, transpose_b=True) for pair in products], *x.shape[1:3])


def compute_filter_gradient(x: tf.Tensor, kernel: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """Return the gradient of `convolve` for the kernel; the arguments are those of `compute_input_gradient`."""
    if not _uses_tiles(x, kernel):
        return tf.raw_ops.Conv2DBackpropFilter(
            input=x, filter_sizes=kernel.shape, out_backprop=gradient, strides=[1, 1, 1, 1], padding="SAME"
        )
    pairs = zip(_transform_inputs(x), _transform_gradients(gradient), strict=True)
    products = tf.stack([tf.matmul(*pair, transpose_a=True) for pair in pairs])
    d_kernel = tf.matmul(_KERNEL_PRODUCTS, tf.reshape(products, (16, -1)), transpose_a=True)
    return tf.reshape(d_kernel, kernel.shape)


def _uses_tiles(x: tf.Tensor, kernel: tf.Tensor) -> bool:
    is_float32 = x.dtype == tf.float32  # products of 16 bits would be summed in 16 bits
    return is_float32 and is_faster_by_tiles(x.shape, kernel.shape)


def _transform_kernel(kernel: tf.Tensor) -> list[tf.Tensor]:
    """Return the 16 entries of G k G', each (channels, filters)."""
    *_, channels, filters = kernel.shape
    products = tf.matmul(_KERNEL_PRODUCTS, tf.reshape(kernel, (9, channels * filters)))
    return tf.unstack(tf.reshape(products, (16, channels, filters)))


@_compile
def _transform_inputs(x: tf.Tensor) -> list[tf.Tensor]:
    """Return the 16 entries of B' d B, each (tiles, channels)."""
    height, width = x.shape[1:3]
    x = tf.pad(x, ((0, 0), (1, 1 + height % 2), (1, 1 + width % 2), (0, 0)))
    ends = [height + height % 2 - 1, width + width % 2 - 1]
    places = [[x[:, i : i + ends[0] : 2, j : j + ends[1] : 2] for j in range(4)] for i in range(4)]
    return [tf.reshape(entry, (-1, entry.shape[-1])) for entry in _transform(places, _INPUT_ROWS)]


@_compile
def _transform_gradients(gradient: tf.Tensor) -> list[tf.Tensor]:
    """Return the 16 entries of A g A', each (tiles, filters)."""
    height, width = gradient.shape[1:3]
    gradient = tf.pad(gradient, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)))
    places = [[gradient[:, i::2, j::2] for j in range(2)] for i in range(2)]
    return [tf.reshape(entry, (-1, entry.shape[-1])) for entry in _transform(places, _GRADIENT_ROWS)]


@_compile
def _transform_products(products: list[tf.Tensor], height: int, width: int) -> tf.Tensor:
    """Return maps of some size, whose tiles are A' m A, from the 16 entries of m, each (tiles, filters)."""
    filters = products[0].shape[-1]
    rows, columns = -(-height // 2), -(-width // 2)
    places = [[products[4 * row + column] for column in range(4)] for row in range(4)]
    entries = [tf.reshape(entry, (-1, rows, 1, columns, 1, filters)) for entry in _transform(places, _OUTPUT_ROWS)]
    tiles = tf.concat([tf.concat(entries[:2], 4), tf.concat(entries[2:], 4)], 2)
    return tf.reshape(tiles, (-1, 2 * rows, 2 * columns, filters))[:, :height, :width]


def _transform(places: Sequence[Sequence[tf.Tensor]], rows: Sequence[Sequence[int]]) -> list[tf.Tensor]:
    """Return the entries of the product rows * places * rows', row by row."""
    lines = [[_add(column, row) for column in zip(*places, strict=True)] for row in rows]
    return [_add(line, row) for line in lines for row in rows]


def _add(values: Sequence[tf.Tensor], signs: Sequence[int]) -> tf.Tensor:
    """Return the sum of values, each multiplied by 0, 1 or -1."""
    terms = [value if sign > 0 else -value for value, sign in zip(values, signs, strict=True) if sign]
    return sum(terms[1:], terms[0])
