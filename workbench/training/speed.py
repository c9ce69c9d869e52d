"""How fast this machine convolves: a measurement of a fraction of a second, from which a plan is made."""

import functools
import math
from collections.abc import Callable

import tensorflow as tf

from workbench.training.precision import Precision, measure_call

_SIDE, _CHANNELS, _FILTER = 32, 64, 3  # of the measured convolution
_MULTIPLY_ADDS = 3 * _SIDE**2 * _CHANNELS**2 * _FILTER**2  # of an image: forwards, and the two gradients
_IMAGES: dict[Precision, int] = {"float32": 8, "bfloat16": 1}  # measured; bfloat16 can be a hundred times as slow
_WORTH = 1.25  # bfloat16 must be so many times as fast: the layers between the convolutions gain nothing from it
_SHARE = 0.75  # of the measured speed that a training reaches, since not all of its work is multiply-adds


def estimate_speed(precision: str) -> float:
    """Estimate the multiply-adds a second of training steps in a number format; for `auto`, in the faster one."""
    if precision in _IMAGES:
        return measure_speed(precision)
    return max(map(measure_speed, _IMAGES))


def choose_fast_precision() -> Precision:
    """Return the number format in which a CPU trains faster."""
    return "bfloat16" if measure_speed("bfloat16") > _WORTH * measure_speed("float32") else "float32"


@functools.cache
def measure_speed(precision: Precision) -> float:
    """Estimate the multiply-adds a second of training steps, by measuring a convolution once."""
    count = _IMAGES[precision]
    return _SHARE * count * _MULTIPLY_ADDS / measure_call(_make_step(precision, count), 1)


def _make_step(precision: Precision, count: int) -> Callable[[], object]:
    """Return a function that computes a convolution of some images and its two gradients."""
    maps = tf.cast(tf.random.stateless_normal((count, _SIDE, _SIDE, _CHANNELS), (0, 0)), precision)
    shape = (_FILTER, _FILTER, _CHANNELS, _CHANNELS)
    kernel = tf.cast(tf.random.stateless_normal(shape, (0, 1)) / math.sqrt(_CHANNELS), precision)

    @tf.function(autograph=False)
    def step() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch([maps, kernel])
            y = tf.nn.conv2d(maps, kernel, 1, "SAME")
        return [tf.reshape(value, [-1])[0] for value in (y, *tape.gradient(y, [maps, kernel], y))]

    return lambda: [value.numpy() for value in step()]
