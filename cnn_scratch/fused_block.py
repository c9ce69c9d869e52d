"""Convolution, batch norm or bias, activation and 2x2 max-pooling as one operation that reads large maps rarely.

Forward pass, for each channel, N being the number of positions of all images:

    y = convolution of x with the kernel
    m = sum(y) / N,  v = sum(y^2) / N - m^2
    z = (y - m) s + beta,  s = gamma / sqrt(v + epsilon)      (bias instead of batch norm: m = 0, s = 1, beta = bias)
    p = max of f(z) over each 2x2 window

The winner w is the value of y in each window whose f(z) is highest. So p = f((w - m) s + beta).

Backward pass, with g the gradient of p:

    h       = g f'((w - m) s + beta)                           the gradient of z at the winners; elsewhere it is 0
    d_beta  = sum(h)
    d_gamma = sum(h (w - m)) / sqrt(v + epsilon)
    d_y     = s (h - d_beta / N - d_gamma (y - m) / (N sqrt(v + epsilon)))      (with a bias: d_y = h)

d_x and d_kernel follow from d_y by the convolution's own gradients. No gradient flows through m and v as outputs.

Keras runs what follows the convolution as a dozen operations, each of which reads and writes maps of up to 100 million
values. Here y is read once for its statistics and once for the winners. Everything else, activation and sums of the
gradient included, is computed on the winners, a quarter as many values. The backward pass writes d_y in one pass.

ReLU keeps p instead of w: where h is not 0, p = (w - m) s + beta, and so sum(h (w - m)) = sum(h (p - beta)) / s.

XLA compiles each of these passes into one loop. Around whole layers XLA is slower on CPUs than TensorFlow's own
kernels; around elementwise arithmetic it is several times faster. All arithmetic is float32, whatever the type of the
maps. `reference_block` computes the same by plain operations.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from workbench.training.tiled_convolution import compute_filter_gradient, compute_input_gradient, convolve

Elementwise = Callable[[tf.Tensor], tf.Tensor]

GROUP = 16  # neighbours that one loop sums
USUAL_BATCH = 32  # assumed where the size of a batch is open
PART_BYTES = 64 << 20  # of maps whose gradient is still in the cache when the convolution's gradient reads it


class Affine(NamedTuple):
    """The map from y to z: z = (y - mean) * scale + shift. Each is (filters,), float32."""

    mean: tf.Tensor
    scale: tf.Tensor
    shift: tf.Tensor


class Statistics(NamedTuple):
    """The part of d_y that flows through mean and variance: constant + linear * (y - mean). Each is (filters,)."""

    constant: tf.Tensor
    linear: tf.Tensor


class Pooled(NamedTuple):
    """Output of the forward pass, and what the backward pass needs of each window.

    Attributes:
        residual: the winner, or with ReLU the pooled value; (batch, height // 2, width // 2, filters).
        output: the pooled maps, of the same shape.
    """

    residual: tf.Tensor
    output: tf.Tensor


class WinnerGradient(NamedTuple):
    """The gradient h of z at the winners, as upstream * slope(residual).

    A slope that costs more than a pass over the winners is in `upstream` already, and `slope` is None.
    """

    residual: tf.Tensor
    upstream: tf.Tensor
    slope: Elementwise | None


class BlockOutput(NamedTuple):
    """Pooled maps, and mean and biased variance of the batch, each (filters,)."""

    pooled: tf.Tensor
    mean: tf.Tensor
    variance: tf.Tensor


def _normal_cdf(x: tf.Tensor) -> tf.Tensor:
    """Return the standard normal distribution function; zero below 2e-8, where XLA's erf is inexact."""
    return tf.where(x < -5.5, 0.0, 0.5 + 0.5 * tf.math.erf(x * math.sqrt(0.5)))


def _gelu(x: tf.Tensor) -> tf.Tensor:
    return x * _normal_cdf(x)


def _gelu_slope(x: tf.Tensor) -> tf.Tensor:
    density = tf.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))
    return _normal_cdf(x) + x * density


def _silu(x: tf.Tensor) -> tf.Tensor:
    return x * tf.sigmoid(x)


def _silu_slope(x: tf.Tensor) -> tf.Tensor:
    gate = tf.sigmoid(x)
    return gate * (1 + x * (1 - gate))


def _mish_terms(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return e = exp(x) and n = e (e + 2). tanh(log(1 + e)) = n / (n + 2); above x = 20 that is 1 in float32."""
    e = tf.exp(tf.minimum(x, 20.0))
    return e, e * (e + 2)


def _mish(x: tf.Tensor) -> tf.Tensor:
    _, n = _mish_terms(x)
    return x * (n / (n + 2))


def _mish_slope(x: tf.Tensor) -> tf.Tensor:
    e, n = _mish_terms(x)
    return n / (n + 2) + 4 * x * (e / (n + 2)) * ((e + 1) / (n + 2))


def _relu_slope(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(x > 0, x.dtype)


ACTIVATIONS: dict[str, tuple[Elementwise, Elementwise]] = {  # name -> the function and its derivative
    "gelu": (_gelu, _gelu_slope),
    "mish": (_mish, _mish_slope),
    "relu": (tf.nn.relu, _relu_slope),
    "silu": (_silu, _silu_slope),
}


def reference_block(
    x: tf.Tensor,
    kernel: tf.Tensor,
    beta: tf.Tensor,
    activation: str,
    gamma: tf.Tensor | None = None,
    epsilon: float = 0.0,
) -> BlockOutput:
    """Compute a block by plain operations, whose gradients TensorFlow derives; `beta` is the bias without `gamma`."""
    y = tf.cast(tf.nn.conv2d(x, kernel, 1, "SAME"), tf.float32)
    mean, variance = tf.nn.moments(y, (0, 1, 2))
    z = y + beta if gamma is None else (y - mean) * tf.math.rsqrt(variance + epsilon) * gamma + beta
    pooled = tf.nn.max_pool2d(keras.activations.get(activation)(z), 2, 2, "VALID")
    return BlockOutput(tf.cast(pooled, x.dtype), mean, variance)


def normalize(images: tf.Tensor, mean: tf.Tensor, deviation: tf.Tensor) -> tf.Tensor:
    """Return (images - mean) / deviation, computed in one pass, float32."""
    return _jit(lambda images: (tf.cast(images, tf.float32) - mean) / deviation)(images)


def infer_block(x: tf.Tensor, kernel: tf.Tensor, affine: Affine, activation: str) -> tf.Tensor:
    """Compute a block with given statistics.

    Args:
        x: maps (batch, height, width, channels).
        kernel: (side, side, channels, filters), of the type of `x`.
        affine: the statistics of batch norm.
        activation: a name in `ACTIVATIONS`.

    Returns:
        (batch, height // 2, width // 2, filters) of the type of `x`.
    """
    y = tf.nn.conv2d(x, kernel, 1, "SAME")  # not by tiles, whose loops would be compiled for each size of a batch
    return _pool(y, affine, activation).output


def train_batch_norm_block(
    x: tf.Tensor,
    kernel: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    epsilon: float,
    activation: str,
    is_first: bool = False,
) -> BlockOutput:
    """Compute a block with the statistics of the batch, and its gradient.

    Args:
        x: maps (batch, height, width, channels).
        kernel: (side, side, channels, filters), of the type of `x`.
        gamma: scale of batch norm, (filters,), float32.
        beta: shift of batch norm, (filters,), float32.
        epsilon: is added to the variance.
        activation: a name in `ACTIVATIONS`.
        is_first: whether the gradient of `x` is not needed; it is None then.

    Returns:
        The block's output; no gradient flows through its mean and variance.
    """

    @tf.custom_gradient
    def compute(
        x: tf.Tensor, kernel: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor
    ) -> tuple[tuple[tf.Tensor, tf.Tensor, tf.Tensor], Callable]:
        y = convolve(x, kernel)
        count = tf.cast(tf.size(y) // y.shape[-1], tf.float32)
        mean, mean_square = (total / count for total in _add_groups(_jit(_sum_values)(y)))
        variance = tf.maximum(mean_square - mean * mean, 0.0)
        inverse = tf.math.rsqrt(variance + epsilon)
        affine = Affine(mean, gamma * inverse, beta)
        residual, pooled = _pool(y, affine, activation)

        def gradient(upstream: tf.Tensor, *_: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
            winners = _compute_winner_gradient(residual, upstream, affine, activation)
            d_beta, d_gamma = _compute_affine_gradients(y, winners, affine, inverse)
            scale = gamma * inverse
            statistics = Statistics(-d_beta / count * scale, -d_gamma / count * scale * inverse)
            d_x, d_kernel = _compute_convolution_gradients(x, kernel, y, winners, affine, statistics, is_first)
            return d_x, d_kernel, d_gamma, d_beta

        return (pooled, mean, variance), gradient

    return BlockOutput(*compute(x, kernel, gamma, beta))


def bias_block(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, activation: str, is_first: bool = False) -> tf.Tensor:
    """Compute the pooled maps of a block with a bias instead of batch norm; see `train_batch_norm_block`."""

    @tf.custom_gradient
    def compute(x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        y = convolve(x, kernel)
        zeros, ones = tf.zeros_like(bias), tf.ones_like(bias)
        affine = Affine(zeros, ones, bias)
        residual, pooled = _pool(y, affine, activation)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
            winners = _compute_winner_gradient(residual, upstream, affine, activation)
            d_bias, _ = _add_groups(_jit(_sum_gradients)(*winners, zeros))
            statistics = Statistics(zeros, zeros)
            d_x, d_kernel = _compute_convolution_gradients(x, kernel, y, winners, affine, statistics, is_first)
            return d_x, d_kernel, d_bias

        return pooled, gradient

    return compute(x, kernel, bias)


def _jit(function: Callable) -> Callable:
    return tf.function(function, jit_compile=True, autograph=False)


def _pool(y: tf.Tensor, affine: Affine, activation: str) -> Pooled:
    """Return (residual for the backward pass, pooled output)."""
    if activation == "relu":
        pooled = _jit(_pool_relu)(y, affine)
        return Pooled(pooled, pooled)
    function, _ = ACTIVATIONS[activation]
    winner = _jit(_find_winners)(y, affine, function)
    return Pooled(winner, _jit(_activate)(winner, affine, function))


def _compute_winner_gradient(
    residual: tf.Tensor, upstream: tf.Tensor, affine: Affine, activation: str
) -> WinnerGradient:
    """Return the gradient h of z at the winners from that of the pooled maps."""
    if activation == "relu":
        return WinnerGradient(residual, upstream, _relu_slope)
    _, slope = ACTIVATIONS[activation]
    return WinnerGradient(residual, _jit(_multiply_slope)(residual, upstream, affine, slope), None)


def _compute_affine_gradients(
    y: tf.Tensor, winners: WinnerGradient, affine: Affine, inverse: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return (d_beta, d_gamma); `inverse` is 1 / sqrt(variance + epsilon)."""
    mean, scale, shift = affine
    if winners.slope is None:
        d_beta, d_scale = _add_groups(_jit(_sum_gradients)(*winners, mean))
        return d_beta, d_scale * inverse
    d_beta, product = _add_groups(_jit(_sum_gradients)(*winners, tf.zeros_like(mean)))
    gamma = scale / inverse

    def from_pooled() -> tf.Tensor:
        return (product - shift * d_beta) / gamma

    def from_winners() -> tf.Tensor:
        winner = _jit(_find_winners)(y, affine, tf.nn.relu)
        gradient = _jit(_multiply_slope)(winner, winners.upstream, affine, winners.slope)
        return _add_groups(_jit(_sum_gradients)(winner, gradient, None, mean))[1] * inverse

    is_exact = tf.reduce_all(tf.abs(gamma) > 0.01 * tf.abs(shift))  # else the pooled maps hold little but `shift`
    return d_beta, tf.cond(is_exact, from_pooled, from_winners)


def _compute_convolution_gradients(
    x: tf.Tensor,
    kernel: tf.Tensor,
    y: tf.Tensor,
    winners: WinnerGradient,
    affine: Affine,
    statistics: Statistics,
    is_first: bool,
) -> tuple[tf.Tensor | None, tf.Tensor]:
    """Return (d_x, or None if the block is the first; d_kernel).

    The operations run one after the other: in parallel they would evict each other's maps from the processor's cache.
    """
    residual, upstream, slope = winners
    spread = _jit(_spread_gradient)
    d_kernel: list[tf.Tensor] = []
    for part, *maps in zip(*_split(y, x, y, residual, upstream, whole=not is_first), strict=True):
        with tf.control_dependencies(d_kernel[-1:]):
            d_y = spread(*map(tf.identity, maps), slope, affine, statistics)
        d_kernel.append(compute_filter_gradient(part, kernel, d_y))
    if is_first:
        return None, tf.add_n(d_kernel)
    with tf.control_dependencies(d_kernel):
        d_x = compute_input_gradient(x, kernel, d_y)
    return d_x, d_kernel[0]


def _split(y: tf.Tensor, *maps: tf.Tensor, whole: bool) -> list[list[tf.Tensor]]:
    """Split each of `maps` along the batch, so that a part of `y` has at most `PART_BYTES`; or keep them `whole`."""
    batch, *shape = y.shape
    number = 1 if whole else math.ceil((batch or USUAL_BATCH) * math.prod(shape) * y.dtype.size / PART_BYTES)
    ends = tf.range(number + 1) * tf.shape(y)[0] // number
    return [tf.split(values, ends[1:] - ends[:-1], num=number) for values in maps]


def _sum_values(y: tf.Tensor) -> tf.Tensor:
    """Sum y and y^2 of each channel over groups; see `_sum_groups`."""

    def terms(y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        y = tf.cast(y, tf.float32)
        return y, y * y

    return _sum_groups(terms, y)


def _sum_gradients(residual: tf.Tensor, upstream: tf.Tensor, slope: Elementwise | None, mean: tf.Tensor) -> tf.Tensor:
    """Sum h and h (residual - mean) of each channel over groups; see `_sum_groups`."""

    def terms(residual: tf.Tensor, upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        gradient = _apply_slope(residual, upstream, slope)
        return gradient, gradient * (tf.cast(residual, tf.float32) - mean)

    return _sum_groups(terms, residual, upstream)


def _sum_groups(terms: Callable[..., tuple[tf.Tensor, tf.Tensor]], *maps: tf.Tensor) -> tf.Tensor:
    """Sum two terms of `maps` over groups of 16 neighbours; the last group of an image may be smaller.

    XLA's own reduction over all positions is slow. Sums of a few values are one pass, and one pass for both terms if
    they are the two parts of complex numbers.

    Returns:
        (groups, channels), complex.
    """
    _, height, width, channels = maps[0].shape
    positions = height * width
    whole = positions // GROUP * GROUP
    groups = []
    for start, stop, size in ((0, whole, GROUP), (whole, positions, positions - whole)):
        if start < stop:
            flat = [tf.reshape(values, (-1, positions, channels))[:, start:stop] for values in maps]
            flat = [tf.reshape(values, (-1, size, channels)) for values in flat]
            places = [terms(*(values[:, place] for values in flat)) for place in range(size)]
            groups.append(tf.complex(*map(sum, zip(*places, strict=True))))
    return tf.concat(groups, 0)


def _add_groups(groups: tf.Tensor) -> Sequence[tf.Tensor]:
    """Return the two sums over all groups. The product with a row of ones is the fastest reduction on CPUs."""
    flat = tf.reshape(tf.bitcast(groups, tf.float32), (-1, 2 * groups.shape[-1]))
    total = tf.matmul(tf.ones((1, tf.shape(flat)[0])), flat)
    return tf.unstack(tf.reshape(total, (-1, 2)), axis=1)


def _windows(y: tf.Tensor) -> tf.Tensor:
    """Return `y` without a last odd row and column, as (batch, height // 2, 2, width // 2, 2, channels)."""
    height, width = y.shape[1] // 2, y.shape[2] // 2
    return tf.reshape(y[:, : 2 * height, : 2 * width], (-1, height, 2, width, 2, y.shape[3]))


def _places(windows: tf.Tensor) -> list[tf.Tensor]:
    """Return the four values of each window, in the order in which max-pooling compares them."""
    return [windows[:, :, row, :, column] for row in (0, 1) for column in (0, 1)]


def _apply_affine(y: tf.Tensor, affine: Affine) -> tf.Tensor:
    """Return z, float32."""
    return (tf.cast(y, tf.float32) - affine.mean) * affine.scale + affine.shift


def _find_winners(y: tf.Tensor, affine: Affine, function: Elementwise) -> tf.Tensor:
    """Return the value of each window whose activation is highest, the first among equal ones, in the type of `y`."""
    winner, *others = _places(_windows(y))
    highest = function(_apply_affine(winner, affine))
    for value in others:
        activated = function(_apply_affine(value, affine))
        is_higher = activated > highest
        winner, highest = tf.where(is_higher, value, winner), tf.where(is_higher, activated, highest)
    return winner


def _pool_relu(y: tf.Tensor, affine: Affine) -> tf.Tensor:
    """Return max-pooling of ReLU of z, in the type of `y`."""
    places = (_apply_affine(value, affine) for value in _places(_windows(y)))
    return tf.cast(functools.reduce(tf.maximum, places, 0.0), y.dtype)


def _activate(winner: tf.Tensor, affine: Affine, function: Elementwise) -> tf.Tensor:
    """Return the pooled maps from the winners."""
    return tf.cast(function(_apply_affine(winner, affine)), winner.dtype)


def _multiply_slope(winner: tf.Tensor, upstream: tf.Tensor, affine: Affine, slope: Elementwise) -> tf.Tensor:
    """Return h, float32: the gradient of the pooled maps multiplied by the activation's slope at the winners."""
    return tf.cast(upstream, tf.float32) * slope(_apply_affine(winner, affine))


def _apply_slope(residual: tf.Tensor, upstream: tf.Tensor, slope: Elementwise | None) -> tf.Tensor:
    """Return h, float32, from the fields of a `WinnerGradient`."""
    upstream = tf.cast(upstream, tf.float32)
    return upstream if slope is None else upstream * slope(tf.cast(residual, tf.float32))


def _spread_gradient(
    y: tf.Tensor,
    residual: tf.Tensor,
    upstream: tf.Tensor,
    slope: Elementwise | None,
    affine: Affine,
    statistics: Statistics,
) -> tf.Tensor:
    """Return d_y: h * scale at the places of the winners, plus what flows through the statistics."""
    mean, scale, _ = affine
    places = _places(_windows(y))
    if slope is None:
        first, second, third, _ = (value == residual for value in places)
        place = tf.where(first, 0, tf.where(second, 1, tf.where(third, 2, 3)))
    else:  # ReLU keeps no winners, but is monotone
        one, two, three, four = ((tf.cast(value, tf.float32) - mean) * scale for value in places)
        upper = tf.maximum(one, two) >= tf.maximum(three, four)
        place = tf.where(upper, tf.where(one >= two, 0, 1), tf.where(three >= four, 2, 3))
    is_winner = place[:, :, None, :, None] == tf.reshape(tf.range(4), (1, 1, 2, 1, 2, 1))
    from_winners = (_apply_slope(residual, upstream, slope) * scale)[:, :, None, :, None]
    height, width = 2 * residual.shape[1], 2 * residual.shape[2]
    at_winners = tf.reshape(tf.where(is_winner, from_winners, 0.0), (-1, height, width, residual.shape[3]))
    odd = [[0, 0], [0, y.shape[1] % 2], [0, y.shape[2] % 2], [0, 0]]
    through_statistics = statistics.constant + statistics.linear * (tf.cast(y, tf.float32) - mean)
    return tf.cast(tf.pad(at_winners, odd) + through_statistics, y.dtype)
