import functools

import keras
import numpy as np
import pytest

from transfer.backbone import build_network
from transfer.config import BackboneConfig
from transfer.folding import fold_batch_norm


def with_random_statistics(model):
    """Batch norms as after a training: none of their values is 0 or 1."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            for weight in layer.weights:
                low, high = (0.5, 1.5) if weight.name in ("gamma", "moving_variance") else (-0.3, 0.3)
                weight.assign(rng.uniform(low, high, weight.shape))
    return model


@functools.cache
def features_of(backbone, last):
    """Return a backbone with random statistics up to a layer; the tests share it."""
    model = build_network(BackboneConfig(backbone=backbone, weights="none"), 32, num_classes=3, seed=0).model
    return with_random_statistics(keras.Model(model.input, model.get_layer(last).output))


def images():
    return np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)


@pytest.mark.parametrize(("backbone", "last"), [("ResNet50", "conv3_block2_out"), ("MobileNetV2", "head_pool")])
def test_folding_changes_nothing_but_the_number_of_operations(backbone, last):
    """ResNet50's blocks are repeated after that layer."""
    features = features_of(backbone, last)
    copy = fold_batch_norm(features)
    expected = features(images(), training=False)
    np.testing.assert_allclose(copy(images(), training=False), expected, rtol=2e-3, atol=1e-4 * np.abs(expected).max())
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in copy.layers)


def test_separable_convolutions_and_missing_scales_are_folded():
    image = keras.Input((8, 8, 3))
    x = keras.layers.SeparableConv2D(6, 3, depth_multiplier=2, use_bias=True)(image)
    x = keras.layers.BatchNormalization(scale=False, center=False)(x)
    x = keras.layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False)(x)
    x = keras.layers.BatchNormalization()(x)
    model = with_random_statistics(keras.Model(image, x))
    images = np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(fold_batch_norm(model)(images), model(images, training=False), rtol=1e-4, atol=1e-5)


def test_norms_that_cannot_be_folded_stay():
    image = keras.Input((8, 8, 3))
    x = keras.layers.BatchNormalization()(image)
    x = keras.layers.Conv2D(4, 3, name="others_need_it_too")(x)
    model = keras.Model(image, keras.layers.Add()([x, keras.layers.BatchNormalization(name="norm")(x)]))
    model = with_random_statistics(model)
    images = np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(fold_batch_norm(model)(images), model(images, training=False), rtol=1e-4, atol=1e-5)


def test_bfloat16_is_close():
    features = features_of("MobileNetV2", "head_pool")
    expected = np.asarray(features(images(), training=False))
    found = np.asarray(fold_batch_norm(features, "bfloat16")(images(), training=False), np.float32)
    assert np.abs(found - expected).mean() < 0.05 * np.abs(expected).mean()
