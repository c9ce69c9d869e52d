"""Batch norm, activation and 2x2 max-pooling as one operation that touches the large maps as rarely as it can.

Keras runs them as a dozen operations, each reading and writing maps of up to 100 million values. Here the maps `y`
of a convolution are read once for their statistics and once to find in each 2x2 window the value whose
activation is highest; everything else, activation and reductions of the gradient included, happens on those
winners, a quarter as many. The way back writes the maps' gradient in one pass. XLA compiles each of these passes
into one loop; around whole layers it is slower on CPUs than TensorFlow's own kernels, around elementwise
arithmetic it is several times faster. All arithmetic is float32, whatever the maps are stored in.
"""

import math

import tensorflow as tf


def _normal_share(x):
    """The normal distribution's share below x; zero where that is under 2e-8, since XLA's erf stops short of -1."""
    return tf.where(x < -5.5, 0.0, 0.5 + 0.5 * tf.math.erf(x * math.sqrt(0.5)))


def _gelu(x):
    return x * _normal_share(x)


def _gelu_slope(x):
    density = tf.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi))
    return _normal_share(x) + x * density


def _silu(x):
    return x * tf.sigmoid(x)


def _silu_slope(x):
    gate = tf.sigmoid(x)
    return gate * (1 + x * (1 - gate))


def _mish_terms(x):
    """With e = exp(x), tanh(log(1 + e)) = n / (n + 2) for n = e (e + 2); beyond x = 20 that is 1 in float32."""
    e = tf.exp(tf.minimum(x, 20.0))
    return e, e * (e + 2)


def _mish(x):
    _, n = _mish_terms(x)
    return x * (n / (n + 2))


def _mish_slope(x):
    e, n = _mish_terms(x)
    return n / (n + 2) + 4 * x * (e / (n + 2)) * ((e + 1) / (n + 2))


def _relu_slope(x):
    return tf.cast(x > 0, x.dtype)


ACTIVATIONS = {  # name -> the function and its derivative
    "gelu": (_gelu, _gelu_slope),
    "mish": (_mish, _mish_slope),
    "relu": (tf.nn.relu, _relu_slope),
    "silu": (_silu, _silu_slope),
}


def normalized_pool(y, mean, scale, shift, activation):
    """Max-pooling of activation((y - mean) * scale + shift) with given statistics.

    Args:
        y: maps (batch, height, width, channels).
        mean, scale, shift: (channels,), float32.
        activation: a name in `ACTIVATIONS`.

    Returns:
        (batch, height // 2, width // 2, channels) of the type of `y`.
    """
    function, _ = ACTIVATIONS[activation]
    winner = _jit(_winners)(y, mean, scale, shift, function)
    return _jit(_activate)(winner, mean, scale, shift, function)


def batch_normalized_pool(y, gamma, beta, epsilon, activation):
    """`normalized_pool` with the batch's own statistics, and its gradient.

    Returns:
        (pooled maps, mean, biased variance of the batch); no gradient flows through the last two.
    """
    function, slope = ACTIVATIONS[activation]

    @tf.custom_gradient
    def normalize(y, gamma, beta):
        mean, variance, count = _moments(y)
        inverse = tf.math.rsqrt(variance + epsilon)
        scale = gamma * inverse
        winner = _jit(_winners)(y, mean, scale, beta, function)
        pooled = _jit(_activate)(winner, mean, scale, beta, function)

        def gradient(upstream, *_):
            d_winner, product = _jit(_winner_gradient)(winner, upstream, mean, scale, beta, slope)
            d_beta = _channel_sum(d_winner)
            d_gamma = _channel_sum(product) * inverse
            constant, linear = -d_beta / count * scale, -d_gamma / count * scale * inverse
            return _jit(_spread)(y, winner, d_winner, mean, scale, constant, linear), d_gamma, d_beta

        return (pooled, mean, variance), gradient

    return normalize(y, gamma, beta)


def activated_pool(y, activation):
    """Max-pooling of activation(y), and its gradient."""
    function, slope = ACTIVATIONS[activation]
    zeros, ones = tf.zeros(y.shape[-1]), tf.ones(y.shape[-1])

    @tf.custom_gradient
    def pool(y):
        winner = _jit(_winners)(y, zeros, ones, zeros, function)
        pooled = _jit(_activate)(winner, zeros, ones, zeros, function)

        def gradient(upstream):
            d_winner, _ = _jit(_winner_gradient)(winner, upstream, zeros, ones, zeros, slope)
            return _jit(_spread)(y, winner, d_winner, zeros, ones, zeros, zeros)

        return pooled, gradient

    return pool(y)


def _jit(function):
    return tf.function(function, jit_compile=True, autograph=False)


def _moments(y):
    """Mean and biased variance of each channel by the fused kernel, and how many values they are of."""
    channels = y.shape[-1]
    _, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=y, scale=tf.ones(channels), offset=tf.zeros(channels), mean=[], variance=[], is_training=True
    )
    count = tf.cast(tf.size(y) // channels, tf.float32)
    return mean, variance * ((count - 1) / count), count  # the kernel's variance is the unbiased one


def _channel_sum(maps):
    """Sum over all but the channels, as the product with a row of ones: the fastest reduction there is here."""
    flat = tf.reshape(maps, (-1, maps.shape[-1]))
    return tf.matmul(tf.ones((1, tf.shape(flat)[0])), flat)[0]


def _windows(y):
    """`y` without a last odd row and column, as (batch, height // 2, 2, width // 2, 2, channels)."""
    height, width = y.shape[1] // 2, y.shape[2] // 2
    return tf.reshape(y[:, : 2 * height, : 2 * width], (-1, height, 2, width, 2, y.shape[3]))


def _places(windows):
    """The four values of each window, in the order in which max-pooling looks at them."""
    return [windows[:, :, row, :, column] for row in (0, 1) for column in (0, 1)]


def _winners(y, mean, scale, shift, function):
    """The value of each window whose activation is highest, the first one among equals, in the type of `y`."""
    winner = highest = None
    for value in _places(_windows(y)):
        activated = function((tf.cast(value, tf.float32) - mean) * scale + shift)
        if winner is None:
            winner, highest = value, activated
        else:
            better = activated > highest
            winner, highest = tf.where(better, value, winner), tf.where(better, activated, highest)
    return winner


def _activate(winner, mean, scale, shift, function):
    return tf.cast(function((tf.cast(winner, tf.float32) - mean) * scale + shift), winner.dtype)


def _winner_gradient(winner, upstream, mean, scale, shift, slope):
    """The gradient of the normalised winners, and its product with their distance from the mean."""
    centred = tf.cast(winner, tf.float32) - mean
    gradient = tf.cast(upstream, tf.float32) * slope(centred * scale + shift)
    return gradient, gradient * centred


def _spread(y, winner, d_winner, mean, scale, constant, linear):
    """The gradient of `y`: what the winners pass on, at their places, and what all get through the statistics."""
    windows = _windows(y)
    first, second, third, _ = (value == winner for value in _places(windows))
    place = tf.where(first, 0, tf.where(second, 1, tf.where(third, 2, 3)))[:, :, None, :, None]
    is_winner = place == tf.reshape(tf.range(4), (1, 1, 2, 1, 2, 1))
    passed_on = tf.reshape(
        tf.where(is_winner, (d_winner * scale)[:, :, None, :, None], 0.0),
        (-1, 2 * winner.shape[1], 2 * winner.shape[2], winner.shape[3]),
    )
    odd = [[0, 0], [0, y.shape[1] % 2], [0, y.shape[2] % 2], [0, 0]]
    through_statistics = constant + linear * (tf.cast(y, tf.float32) - mean)
    return tf.cast(tf.pad(passed_on, odd) + through_statistics, y.dtype)
