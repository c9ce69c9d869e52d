import math

import keras
import numpy as np
import pytest
from keras import layers

from tests.workbench.explaining.conftest import share_inside
from workbench.explaining.guided import build_guided_network, compute_guided_gradients


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def gelu_slope(x):
    return 0.5 * (1 + math.erf(x / math.sqrt(2))) + x * math.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


def mish_slope(x):
    inner = math.tanh(math.log1p(math.exp(x)))
    return inner + x * (1 - inner**2) * sigmoid(x)


# name -> (the function, its derivative), written out by hand
BY_HAND = {
    "relu": (lambda x: max(x, 0.0), lambda x: float(x > 0)),
    "gelu": (lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))), gelu_slope),
    "silu": (lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1 + x * (1 - sigmoid(x)))),
    "mish": (lambda x: x * math.tanh(math.log1p(math.exp(x))), mish_slope),
}
PIXEL = [10.0, 20.0, 30.0]
# The pixel gives hidden pre-activations 1.0 (active), -0.5 (inactive) and 0.8 (active).
FIRST = np.array([[0.10, -0.05, 0.02], [0.00, 0.00, 0.00], [0.00, 0.00, 0.02]])
SECOND = np.array([2.0, 3.0, -1.0])  # of the three: excites, would excite, inhibits


def two_layers(activation, style):
    image = keras.Input((1, 1, 3))
    x = image
    for number, filters in ((1, 3), (2, 1)):
        inside = activation if style == "argument" else None
        x = layers.Conv2D(filters, 1, use_bias=False, activation=inside, name=f"conv{number}")(x)
        if style == "Activation":
            x = layers.Activation(activation, name=f"unit{number}")(x)
        if style == "ReLU":
            x = layers.ReLU(name=f"unit{number}")(x)
    model = keras.Model(image, layers.Dense(2)(layers.Flatten()(x)))
    model.get_layer("conv1").set_weights([FIRST.reshape(1, 1, 3, 3)])
    model.get_layer("conv2").set_weights([SECOND.reshape(1, 1, 3, 1)])
    return model, "conv2" if style == "argument" else "unit2"


@pytest.mark.parametrize(
    ("activation", "style"),
    [(name, style) for name in BY_HAND for style in ("Activation", "argument")] + [("relu", "ReLU")],
)
def test_two_layers_by_hand(activation, style):
    model, layer = two_layers(activation, style)
    function, slope = BY_HAND[activation]
    hidden = [function(x) for x in (1.0, -0.5, 0.8)]
    last = 2 * hidden[0] + 3 * hidden[1] - hidden[2]
    assert last > 0
    # Only the first hidden unit is active and excites: the second is inactive, the third is reached by R < 0.
    expected = FIRST[:, 0] * slope(1.0) * 2 * slope(last)
    image = np.array(PIXEL, np.float32).reshape(1, 1, 1, 3)
    found = compute_guided_gradients(build_guided_network(model), layer, np.array([0]), image)
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-5)


@pytest.mark.parametrize("activation", BY_HAND)
def test_the_forward_pass_is_the_models(five_blocks, photos, activation):
    model = five_blocks(activation)
    np.testing.assert_allclose(build_guided_network(model)(np.float32(photos)), model(photos), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("activation", BY_HAND)
def test_nothing_comes_through_an_inactive_unit(activation):
    model, layer = two_layers(activation, "Activation")
    image = np.array([0.0, 0.0, 40.0], np.float32).reshape(1, 1, 1, 3)  # only what inhibits the last one is active
    assert not compute_guided_gradients(build_guided_network(model), layer, np.array([0]), image).any()


def test_relu_before_or_after_the_pooling_is_the_same(five_blocks, photos):
    found = []
    for pool_first in (False, True):
        network = build_guided_network(five_blocks("relu", pool_first))
        found.append(compute_guided_gradients(network, "block2_activation", np.arange(4), photos))
    assert found[0].any()
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-9)


def test_a_position_can_be_chosen(five_blocks, photos):
    corner, channels = np.zeros(4, int), np.arange(4)
    gradient = compute_guided_gradients(
        build_guided_network(five_blocks()), "block1_activation", channels, photos, corner
    )
    assert gradient.any()
    assert not gradient[:, 2:].any()  # the unit in the corner sees 3 x 3 pixels, one of them outside
    assert not gradient[:, :, 2:].any()


def test_a_planted_patch_is_found(planted):
    model, images, masks = planted
    channel = int(np.argmax(np.asarray(model.layers[-1].kernel)[:, 1]))  # what speaks most for the patch
    gradients = compute_guided_gradients(
        build_guided_network(model), "last_maps", np.full(len(images), channel), images
    )
    assert masks.mean() == 1 / 16
    assert share_inside(np.abs(gradients).sum(axis=-1), masks) > 0.6
