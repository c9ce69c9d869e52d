import keras
import numpy as np
import pytest
from keras import layers

from tests.workbench.explaining.conftest import share_inside
from workbench.explaining.integrated import MAX_STEPS, TOLERANCE, integrated_gradients
from workbench.explaining.network import build_float_model


@pytest.mark.parametrize("activation", ["relu", "mish"])
def test_completeness(five_blocks, photos, activation):
    network = build_float_model(five_blocks(activation))
    classes = np.array([0, 1, 2, 0])
    found = integrated_gradients(network, photos, classes)
    black = np.asarray(network(np.zeros((1, 32, 32, 3))))[0]
    difference = (np.asarray(network(np.float32(photos))) - black)[np.arange(4), classes]
    np.testing.assert_allclose(found.difference, difference, rtol=1e-4, atol=1e-5)
    missed = np.abs(found.values.sum(axis=(1, 2, 3)) - difference) / np.maximum(np.abs(difference), 1)
    np.testing.assert_allclose(found.gap, missed, atol=1e-5)
    assert missed.max() < TOLERANCE or found.steps.max() == MAX_STEPS


def test_a_linear_network_is_attributed_exactly(photos):
    """Linearity: each pixel gets its weight times its value, whatever the number of steps."""
    image = keras.Input((32, 32, 3), dtype="uint8")
    network = build_float_model(
        keras.Model(image, layers.Dense(2, name="logits")(layers.Flatten()(layers.Rescaling(1.0)(image))))
    )
    found = integrated_gradients(network, photos, np.array([0, 1, 0, 1]))
    kernel = np.asarray(network.get_layer("logits").kernel).reshape(32, 32, 3, 2)
    np.testing.assert_allclose(found.values[1], photos[1] * kernel[..., 1], rtol=1e-4, atol=1e-4)


def test_what_the_network_does_not_see_gets_nothing(planted):
    """Dummy: black pixels equal the baseline and get exactly nothing."""
    model, images, _ = planted
    images = images[:2].copy()
    images[:, :, :16] = 0
    assert not integrated_gradients(build_float_model(model), images, np.ones(2, int)).values[:, :, :16].any()


def test_a_planted_patch_is_found(planted):
    model, images, masks = planted
    found = integrated_gradients(build_float_model(model), images[:8], np.ones(8, int))
    assert found.gap.max() < TOLERANCE
    assert share_inside(np.maximum(found.values.sum(axis=-1), 0), masks[:8]) > 0.4  # of 1/16 of the area
