import functools

import keras
import numpy as np
import pytest

from transfer.backbone import build_network
from transfer.config import TransferConfig
from transfer.defaults import resolve
from transfer.freezing import freeze
from transfer.optimizer import build_optimizer
from transfer.precision import build_in_precision, choose_model_precision, count_multiply_adds
from workbench.config import build
from workbench.errors import UserError
from workbench.training.training_model import get_saved_model


def asked(**values):
    defaults = {"backbone": "MobileNetV2", "weights": "none", "image_size": 32, "mode": "all"}
    return resolve(build(TransferConfig, **{**defaults, **values}))


@functools.cache
def network(**values):
    """Build and freeze a network, which the tests that ask for the same one share."""
    config = asked(**values)
    made = build_network(config.backbone, config.data.image_size, 3, config.training.seed)
    freeze(made, config.freezing)
    return made


def test_the_copy_computes_the_same_in_bfloat16():
    model = network().model
    copy = build_in_precision(model, "bfloat16")
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    expected, found = np.asarray(model(images)), np.asarray(copy(images))
    assert found.dtype == np.float32
    assert np.abs(found - expected).mean() < 0.1 * np.abs(expected).mean()
    assert {weight.dtype for weight in copy.trainable_weights} == {"float32"}
    assert copy.get_layer("block_1_expand").compute_dtype == "bfloat16"
    assert get_saved_model(copy) is model


def test_the_rates_of_the_copy_are_those_of_the_network():
    settings = asked(lr_decay=0.5, learning_rate=1e-3, weight_decay=0.0)
    made = network()
    copy = build_in_precision(made.model, "bfloat16")
    variables, steps = copy.trainable_variables, build_optimizer(made, settings.training, copy)
    steps.build(variables)
    before = [variable.numpy() for variable in variables]
    steps.apply([np.ones(variable.shape, np.float32) for variable in variables])
    rates = [np.abs(after.numpy() - value).mean() for after, value in zip(variables, before, strict=True)]
    assert rates[-1] == pytest.approx(1e-3, rel=1e-2)  # Adam's first step is its learning rate
    assert rates[-3] == pytest.approx(1e-4, rel=1e-2)
    assert rates[0] < 1e-5


def test_no_part_of_a_backbone_has_the_heads_rate():
    """Not even where paths do not begin with the layers' names, as in NASNet."""
    made = network(backbone="NASNetMobile")
    factors = build_optimizer(made, asked().training, made.model).get_config()["factors"]
    assert {path for path, factor in factors.items() if factor == 1} == {"logits/kernel", "logits/bias"}
    assert len(factors) == len(made.model.trainable_variables)


def test_weight_decay_is_for_kernels_alone():
    made = network(backbone="ConvNeXtTiny", until="convnext_tiny_stage_2_block_8_identity", mode="first_k")
    steps = build_optimizer(made, asked(weight_decay=0.1).training, made.model)
    variables = made.model.trainable_variables
    steps.build(variables)
    before = [variable.assign(variable + 1).numpy() for variable in variables]
    steps.apply([np.zeros(variable.shape, np.float32) for variable in variables])
    shrunk = {len(v.shape) > 1: np.abs(v.numpy() - b).max() > 0 for v, b in zip(variables, before, strict=True)}
    assert shrunk == {True: True, False: False}


def test_multiply_adds_of_resnet50():
    model = keras.applications.ResNet50(weights=None)
    assert count_multiply_adds(model) == pytest.approx(3.86e9, rel=0.01)  # of He et al., strides in the 1x1 ones


def test_auto_measures_large_networks_alone_and_leaves_their_weights(config, monkeypatch, capsys):
    training = resolve(config).training
    model = build_network(config.backbone, 32, num_classes=3, seed=0).model
    before = model.get_weights()
    assert choose_model_precision(model, training) == "float32"
    assert "measuring" not in capsys.readouterr().out
    monkeypatch.setattr("workbench.training.precision.LARGE", 1e5)
    assert choose_model_precision(model, training) in ("float32", "bfloat16")
    assert "measuring" in capsys.readouterr().out
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_float16_needs_a_gpu():
    with pytest.raises(UserError, match="--precision float16: needs a GPU"):
        choose_model_precision(network().model, asked(precision="float16").training)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_dropout_is_applied_in_training_only(precision):
    features = keras.Input((50,))
    logits = keras.layers.Dense(3, name="logits")(keras.layers.Dropout(0.5)(features))
    model = build_in_precision(keras.Model(features, logits), precision)
    trained, validated = (
        [np.asarray(model(np.ones((1, 50), np.float32), training=training)) for _ in range(2)]
        for training in (True, False)
    )
    assert not np.allclose(*trained)
    assert np.array_equal(*validated)
