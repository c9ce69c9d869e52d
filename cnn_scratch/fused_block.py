"""Convolution, batch norm or bias, activation and 2x2 max-pooling as one operation that touches large maps rarely.

Keras runs what follows the convolution as a dozen operations, each reading and writing maps of up to 100 million
values. Here the maps `y` of the convolution are read once for their statistics and once to find in each 2x2 window
the value whose activation is highest; everything else, activation and reductions of the gradient included, happens
on those winners, a quarter as many. The way back writes the maps' gradient in one pass. ReLU needs no winners: where
its gradient is not zero, the pooled maps are the normalised winners. XLA compiles each of these passes into one loop;
around whole layers it is slower on CPUs than TensorFlow's own kernels, around elementwise arithmetic it is several
times faster. All arithmetic is float32, whatever the maps are stored in.
"""

import functools
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


GROUP = 16  # neighbours that one loop sums
USUAL_BATCH = 32  # where the size of a batch is open
PART = 64 << 20  # bytes of maps whose gradient is still in the cache when the convolution's gradient reads it


def normalized(images, mean, deviation):
    """(images - mean) / deviation in one pass, float32."""
    return _jit(lambda images: (tf.cast(images, tf.float32) - mean) / deviation)(images)


def pooled_block(x, kernel, mean, scale, shift, activation):
    """Max-pooling of activation((convolution of x - mean) * scale + shift) with given statistics.

    Args:
        x: maps (batch, height, width, channels).
        kernel: (side, side, channels, filters), of the type of `x`.
        mean, scale, shift: (filters,), float32.
        activation: a name in `ACTIVATIONS`.

    Returns:
        (batch, height // 2, width // 2, filters) of the type of `x`.
    """
    return _pool(_convolution(x, kernel), mean, scale, shift, activation)[1]


def batch_normalized_block(x, kernel, gamma, beta, epsilon, activation, first=False):
    """`pooled_block` with the batch's own statistics, and its gradient.

    Args:
        first: nobody needs the gradient of `x`, and it is None.

    Returns:
        (pooled maps, mean, biased variance of the batch); no gradient flows through the last two.
    """

    @tf.custom_gradient
    def compute(x, kernel, gamma, beta):
        y = _convolution(x, kernel)
        count = tf.cast(tf.size(y) // y.shape[-1], tf.float32)
        mean, mean_square = (total / count for total in _totals(_jit(_value_sums)(y)))
        variance = tf.maximum(mean_square - mean * mean, 0.0)
        inverse = tf.math.rsqrt(variance + epsilon)
        affine = mean, gamma * inverse, beta
        kept, pooled = _pool(y, *affine, activation)

        def gradient(upstream, *_):
            passed_on = _passed_on(kept, upstream, *affine, activation)
            d_beta, d_gamma = _affine_gradients(y, passed_on, affine, inverse)
            constant, linear = -d_beta / count * gamma * inverse, -d_gamma / count * gamma * inverse**2
            d_x, d_kernel = _convolution_gradients(x, kernel, y, passed_on, (*affine, constant, linear), first)
            return d_x, d_kernel, d_gamma, d_beta

        return (pooled, mean, variance), gradient

    return compute(x, kernel, gamma, beta)


def biased_block(x, kernel, bias, activation, first=False):
    """Max-pooling of activation(convolution of x + bias), and its gradient; see `batch_normalized_block`."""

    @tf.custom_gradient
    def compute(x, kernel, bias):
        y = _convolution(x, kernel)
        zeros, ones = tf.zeros_like(bias), tf.ones_like(bias)
        affine = zeros, ones, bias
        kept, pooled = _pool(y, *affine, activation)

        def gradient(upstream):
            passed_on = _passed_on(kept, upstream, *affine, activation)
            d_bias, _ = _totals(_jit(_gradient_sums)(*passed_on, zeros))
            d_x, d_kernel = _convolution_gradients(x, kernel, y, passed_on, (*affine, zeros, zeros), first)
            return d_x, d_kernel, d_bias

        return pooled, gradient

    return compute(x, kernel, bias)


def _jit(function):
    return tf.function(function, jit_compile=True, autograph=False)


def _convolution(x, kernel):
    return tf.nn.conv2d(x, kernel, 1, "SAME")


def _pool(y, mean, scale, shift, activation):
    """What the way back needs of each window, the winner or with ReLU the pooled value; and the pooled maps."""
    if activation == "relu":
        pooled = _jit(_pool_relu)(y, mean, scale, shift)
        return pooled, pooled
    function, _ = ACTIVATIONS[activation]
    winner = _jit(_winners)(y, mean, scale, shift, function)
    return winner, _jit(_activate)(winner, mean, scale, shift, function)


def _passed_on(kept, upstream, mean, scale, shift, activation):
    """(`kept`, a gradient, its slope), product of the last two being the gradient of the normalised winners.

    A slope that costs more than a pass over the winners is multiplied with the gradient here.
    """
    if activation == "relu":
        return kept, upstream, _relu_slope
    _, slope = ACTIVATIONS[activation]
    return kept, _jit(_activation_gradient)(kept, upstream, mean, scale, shift, slope), None


def _affine_gradients(y, passed_on, affine, inverse):
    """The gradients of batch norm's `beta` and `gamma`."""
    mean, scale, shift = affine
    _, upstream, slope = passed_on
    if slope is None:
        d_beta, d_scale = _totals(_jit(_gradient_sums)(*passed_on, mean))
        return d_beta, d_scale * inverse
    d_beta, product = _totals(_jit(_gradient_sums)(*passed_on, tf.zeros_like(mean)))
    gamma = scale / inverse

    def of_pooled():
        return (product - shift * d_beta) / gamma

    def of_winners():
        winner = _jit(_winners)(y, mean, scale, shift, tf.nn.relu)
        gradient = _jit(_activation_gradient)(winner, upstream, mean, scale, shift, slope)
        return _totals(_jit(_gradient_sums)(winner, gradient, None, mean))[1] * inverse

    is_exact = tf.reduce_all(tf.abs(gamma) > 0.01 * tf.abs(shift))  # else the pooled maps hold little but `shift`
    return d_beta, tf.cond(is_exact, of_pooled, of_winners)


def _convolution_gradients(x, kernel, y, passed_on, affine, first):
    """The gradients of a convolution's inputs, unless it is the first, and of its filters.

    One after the other: side by side they would push each other's maps out of the processor's cache.
    """
    kept, upstream, slope = passed_on
    stride = {"strides": [1, 1, 1, 1], "padding": "SAME"}
    spread, d_kernel = _jit(_spread), []
    for part, *maps in zip(*_in_parts(y, x, y, kept, upstream, whole=not first), strict=True):
        with tf.control_dependencies(d_kernel[-1:]):
            d_y = spread(*map(tf.identity, maps), slope, *affine)
        d_kernel.append(
            tf.raw_ops.Conv2DBackpropFilter(input=part, filter_sizes=kernel.shape, out_backprop=d_y, **stride)
        )
    if first:
        return None, tf.add_n(d_kernel)
    with tf.control_dependencies(d_kernel):
        size = tf.shape(x)
        d_x = tf.raw_ops.Conv2DBackpropInput(input_sizes=size, filter=kernel, out_backprop=d_y, **stride)
    return d_x, d_kernel[0]


def _in_parts(y, *maps, whole):
    """Each of `maps` in parts of the batch, so many that those of `y` have at most `PART` bytes; or as one."""
    batch, *shape = y.shape
    number = 1 if whole else math.ceil((batch or USUAL_BATCH) * math.prod(shape) * y.dtype.size / PART)
    ends = tf.range(number + 1) * tf.shape(y)[0] // number
    return [tf.split(values, ends[1:] - ends[:-1], num=number) for values in maps]


def _value_sums(y):
    """What the mean and the mean square of each channel are totals of."""

    def terms(y):
        y = tf.cast(y, tf.float32)
        return y, y * y

    return _grouped_sums(terms, y)


def _gradient_sums(kept, upstream, slope, mean):
    """What the gradients of the shift and, but for a factor, the scale are totals of."""

    def terms(kept, upstream):
        gradient = _sloped(kept, upstream, slope)
        return gradient, gradient * (tf.cast(kept, tf.float32) - mean)

    return _grouped_sums(terms, kept, upstream)


def _grouped_sums(terms, *maps):
    """Sums of two terms of `maps` over 16 neighbours, or what an image has left.

    XLA's own reduction over all positions is slow. Sums of a few values are one pass, and one for both terms if
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


def _totals(groups):
    """The two sums over the groups, as the product with a row of ones: the fastest reduction there is here."""
    flat = tf.reshape(tf.bitcast(groups, tf.float32), (-1, 2 * groups.shape[-1]))
    total = tf.matmul(tf.ones((1, tf.shape(flat)[0])), flat)
    return tf.unstack(tf.reshape(total, (-1, 2)), axis=1)


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


def _pool_relu(y, mean, scale, shift):
    """Max-pooling of ReLU of the normalised maps."""
    places = ((tf.cast(value, tf.float32) - mean) * scale + shift for value in _places(_windows(y)))
    return tf.cast(functools.reduce(tf.maximum, places, 0.0), y.dtype)


def _activate(winner, mean, scale, shift, function):
    return tf.cast(function((tf.cast(winner, tf.float32) - mean) * scale + shift), winner.dtype)


def _activation_gradient(winner, upstream, mean, scale, shift, slope):
    """The gradient of the normalised winners, float32."""
    normalised = (tf.cast(winner, tf.float32) - mean) * scale + shift
    return tf.cast(upstream, tf.float32) * slope(normalised)


def _sloped(kept, upstream, slope):
    upstream = tf.cast(upstream, tf.float32)
    return upstream if slope is None else upstream * slope(tf.cast(kept, tf.float32))


def _spread(y, kept, upstream, slope, mean, scale, shift, constant, linear):
    """The gradient of `y`: what the winners pass on, at their places, and what all get through the statistics."""
    places = _places(_windows(y))
    if slope is None:
        first, second, third, _ = (value == kept for value in places)
        place = tf.where(first, 0, tf.where(second, 1, tf.where(third, 2, 3)))
    else:
        one, two, three, four = ((tf.cast(value, tf.float32) - mean) * scale for value in places)
        upper = tf.maximum(one, two) >= tf.maximum(three, four)
        place = tf.where(upper, tf.where(one >= two, 0, 1), tf.where(three >= four, 2, 3))
    is_winner = place[:, :, None, :, None] == tf.reshape(tf.range(4), (1, 1, 2, 1, 2, 1))
    from_winners = (_sloped(kept, upstream, slope) * scale)[:, :, None, :, None]
    passed_on = tf.reshape(
        tf.where(is_winner, from_winners, 0.0), (-1, 2 * kept.shape[1], 2 * kept.shape[2], kept.shape[3])
    )
    odd = [[0, 0], [0, y.shape[1] % 2], [0, y.shape[2] % 2], [0, 0]]
    through_statistics = constant + linear * (tf.cast(y, tf.float32) - mean)
    return tf.cast(tf.pad(passed_on, odd) + through_statistics, y.dtype)
