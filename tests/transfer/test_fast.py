import functools

import keras
import numpy as np
import pytest
from keras import layers

from transfer.backbone import build_network
from transfer.config import BackboneConfig, FreezingConfig
from transfer.fast.model import FastModel
from transfer.fast.units import find_strides, find_units
from transfer.freezing import freeze
from transfer.precision import build_in_precision
from workbench.keras_graph import rebuild
from workbench.training.training_model import TrainingModel, get_saved_model

CLASSES, SIZE = 3, 64


def draw_statistics(model):
    """Give batch norms values as after a training: none is 0 or 1."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            for weight in layer.weights:
                low, high = (0.5, 1.5) if weight.name in ("gamma", "moving_variance") else (-0.3, 0.3)
                weight.assign(rng.uniform(low, high, weight.shape))


@functools.cache
def build(backbone):
    """Return the model of a network without dropout whose batch norms are frozen; tests do not change it."""
    network = build_network(BackboneConfig(backbone=backbone, weights="none", dropout=0.0), SIZE, CLASSES, seed=0)
    freeze(network, FreezingConfig(mode="all"))
    draw_statistics(network.model)
    return network.model


def build_beginning(backbone, last):
    """Return a copy of the model with its layers up to `last` and a head; it takes half as long to trace."""
    model = build(backbone)
    part = rebuild(keras.Model(model.input, model.get_layer(last).output))
    keras.utils.set_random_seed(0)
    pooled = layers.GlobalAveragePooling2D()(part.output)
    return keras.Model(part.input, layers.Dense(CLASSES, name="logits")(pooled))


def train_step(model, inputs, run_eagerly):
    """Train a model on one batch by plain gradient descent; return (loss, path of a weight -> its change)."""
    before = {weight.path: weight.numpy() for weight in model.weights}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=run_eagerly)
    found = model.train_on_batch(inputs, np.arange(len(inputs)) % CLASSES)
    return found, {weight.path: weight.numpy() - before[weight.path] for weight in model.weights}


def check_step(model, inputs):
    """Check that the fast model of `model` computes and learns what its layers do, called one by one."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for layer, original in zip(copy.layers, model.layers, strict=True):
        layer.trainable = original.trainable
    fast = FastModel(copy.input, copy.output, saved_as=copy)
    np.testing.assert_allclose(fast(inputs), model(inputs, training=False), rtol=1e-3, atol=1e-4)
    plain = TrainingModel(model.input, model.output, saved_as=model)
    expected_loss, expected = train_step(plain, inputs, run_eagerly=True)
    loss, found = train_step(fast, inputs, run_eagerly=False)
    assert loss == pytest.approx(expected_loss, rel=1e-4)
    for path, change in expected.items():
        size = np.abs(change).max()
        np.testing.assert_allclose(found[path], change, rtol=0, atol=2e-4 * size + 1e-7, err_msg=path)
    assert sum(bool(np.any(change)) for change in found.values()) > 0.5 * len(model.trainable_weights)
    return fast


@pytest.mark.parametrize(
    ("backbone", "last"), [("ResNet50", "conv3_block2_out"), ("MobileNetV2", "block_7_expand_relu")]
)
def test_a_step_is_that_of_the_plain_network(backbone, last, monkeypatch):
    """Up to a layer after which its blocks are repeated; each convolution of the whole network is in a unit."""
    monkeypatch.setattr("workbench.training.tiled_convolution.LARGE", 0)
    model = build_beginning(backbone, last)
    for each in (build(backbone), model):
        convolutions = [layer for layer in each.layers if isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D))]
        assert len(find_units(each)) == len(convolutions)
    images = np.random.default_rng(1).integers(0, 256, (3, SIZE, SIZE, 3)).astype(np.uint8)
    fast = check_step(model, images)
    saved = get_saved_model(fast)
    assert [weight.path for weight in saved.weights] == [weight.path for weight in model.weights]
    assert not isinstance(saved, TrainingModel)


def test_layers_of_every_kind():
    """Odd sides, paddings, strides, biases, depth multipliers, trained batch norms, sums of equal and shared maps."""

    def add_block(x, filters, size, activation, **settings):
        x = layers.Conv2D(filters, size, **settings)(x)
        return layers.Activation(activation)(layers.BatchNormalization(trainable=False)(x))

    image = keras.Input((29, 23, 3))
    x = add_block(image, 8, 3, "relu", strides=2, padding="same")
    y = add_block(x, 8, (3, 1), "relu6", padding="same", use_bias=False)
    y = layers.Conv2D(8, 1)(y)
    x = layers.ReLU()(layers.Add()([x, y]))
    y = layers.BatchNormalization(trainable=False, scale=False)(layers.Conv2D(8, 3, padding="same")(x))
    x = layers.ReLU(max_value=6.0)(layers.Add()([y, x]))  # only every second position is needed
    x, y = (layers.Conv2D(6, 1, strides=2, use_bias=bias)(x) for bias in (True, False))
    x = layers.ReLU()(layers.Add()([layers.BatchNormalization(trainable=False, center=False)(x), y]))
    x = layers.DepthwiseConv2D(3, depth_multiplier=2)(x)
    x = layers.ReLU(negative_slope=0.1)(layers.BatchNormalization(trainable=False)(x))
    x = layers.Add()([x, x])
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(layers.Conv2D(7, 3, dilation_rate=2, padding="same")(x)))
    x = layers.ReLU(name="last_relu")(layers.DepthwiseConv2D(2, padding="same", strides=2)(x))
    model = keras.Model(image, layers.Dense(CLASSES)(layers.Flatten()(x)))
    draw_statistics(model)
    units = find_units(model)
    assert [unit.activation for unit in units] == ["relu", "relu6", "relu", "relu6", "linear", "relu", "linear", "relu"]
    assert [unit.add is not None for unit in units] == [False, False, True, True, False, True, False, False]
    assert list(find_strides(model, units).values()) == [2]
    inputs = np.random.default_rng(1).normal(size=(3, 29, 23, 3)).astype(np.float32)
    check_step(model, inputs)


def test_what_is_not_needed_is_not_computed():
    model = build("ResNet50")
    strides = {operation.name: stride for operation, stride in find_strides(model, find_units(model)).items()}
    ends = ("conv2_block3", "conv3_block4", "conv4_block6")
    assert strides == {f"{block}_{name}": 2 for block in ends for name in ("out", "2_relu")}


def test_layers_that_are_called_twice_are_called_one_by_one():
    image = keras.Input((8, 8, 4))
    shared = layers.Conv2D(4, 3, padding="same")
    model = keras.Model(image, layers.ReLU()(shared(layers.ReLU()(shared(image)))))
    assert find_units(model) == []


def test_a_model_in_bfloat16_is_fast_and_lets_the_plain_one_validate():
    model = build_beginning("MobileNetV2", "block_7_expand_relu")
    fast = build_in_precision(model, "bfloat16")
    assert isinstance(fast, FastModel)
    images = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3)).astype(np.uint8)
    labels = np.arange(4) % CLASSES
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    fast.compile(keras.optimizers.SGD(0.0), loss)
    expected = float(loss(labels, model(images, training=False)))
    assert fast.evaluate(images, labels, verbose=0) == pytest.approx(expected, rel=1e-5)
    assert fast.train_on_batch(images, labels) == pytest.approx(expected, rel=0.05)
