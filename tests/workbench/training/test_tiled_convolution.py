import numpy as np
import pytest
import tensorflow as tf

from workbench.training import tiled_convolution
from workbench.training.tiled_convolution import (
    compute_filter_gradient,
    compute_input_gradient,
    convolve,
    is_faster_by_tiles,
)


def compute(x, kernel, upstream):
    """Return the output and both gradients of our convolution."""
    output = tf.function(convolve)(x, kernel)
    d_x = tf.function(compute_input_gradient)(x, kernel, upstream)
    return [output, d_x, tf.function(compute_filter_gradient)(x, kernel, upstream)]


def compute_by_definition(x, kernel, upstream):
    with tf.GradientTape() as tape:
        tape.watch([x, kernel])
        output = tf.nn.conv2d(x, kernel, 1, "SAME")
    return [output, *tape.gradient(output, [x, kernel], upstream)]


def draw(size=3, dtype=tf.float32, sides=(7, 10), channels=(5, 6)):
    """Return maps, kernel and gradient of the output; an odd and an even side, and values far from zero."""
    rng, (inputs, filters) = np.random.default_rng(0), channels
    shapes = [(3, *sides, inputs), (size, size, inputs, filters), (3, *sides, filters)]
    return [tf.cast(rng.normal(1, 2, shape), dtype) for shape in shapes]


def test_tiles_give_the_outputs_and_gradients_of_the_definition(monkeypatch):
    monkeypatch.setattr(tiled_convolution, "LARGE", 0)
    monkeypatch.setattr(tiled_convolution, "MIN_CHANNELS", 5)
    values = draw()
    assert is_faster_by_tiles(values[0].shape, values[1].shape)
    exact = compute_by_definition(*(tf.cast(value, tf.float64) for value in values))
    plain = compute_by_definition(*values)
    for found, expected, other in zip(compute(*values), exact, plain, strict=True):
        size = np.abs(expected).max()
        error, usual_error = (np.abs(tensor - tf.cast(expected, tf.float32)).max() / size for tensor in (found, other))
        assert error < 1e-6
        assert error < 10 * usual_error
        assert np.any(found != other)  # they were computed in another way


@pytest.mark.parametrize(
    "values",
    [draw(), draw(size=5), draw(dtype=tf.bfloat16), draw(sides=(6, 10)), draw(channels=(4, 6))],
    ids=["small", "5x5", "bfloat16", "short side", "few channels"],
)
def test_other_convolutions_are_tensorflows(values, monkeypatch, request):
    if "small" not in request.node.callspec.id:
        monkeypatch.setattr(tiled_convolution, "LARGE", 0)
        monkeypatch.setattr(tiled_convolution, "MIN_CHANNELS", 5)
    for found, expected in zip(compute(*values), compute_by_definition(*values), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_maps_of_open_size_are_tensorflows():
    kernel = tf.ones((3, 3, 64, 64))
    assert is_faster_by_tiles((None, 56, 56, 64), kernel.shape)
    maps = tf.TensorSpec((None, None, None, 64))
    convolve_any = tf.function(convolve, input_signature=[maps, tf.TensorSpec(kernel.shape)])
    assert convolve_any(tf.ones((1, 56, 56, 64)), kernel).shape == (1, 56, 56, 64)
