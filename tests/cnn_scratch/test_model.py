import dataclasses
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import ops

from cnn_scratch.config import NetworkConfig
from cnn_scratch.model import build_cnn, check_memory, compute_network_cost, estimate_training_memory
from workbench.errors import UserError

CONFIGS = [NetworkConfig(num_filters=8, filter_org="double", head="gap", dense_units=0)] + [
    NetworkConfig(num_filters=16, activation=activation, filter_org=organisation, batch_norm=batch_norm, head=head)
    for (activation, batch_norm), (organisation, head) in zip(
        itertools.product(["mish", "gelu", "relu", "silu"], [True, False]),
        itertools.cycle(itertools.product(["same", "double", "half"], ["flatten", "gap"])),
        strict=False,
    )
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_uint8_in_logits_out(config):
    model = build_cnn(config, 64, 7)
    assert model.input_shape == (None, 64, 64, 3)
    assert model.input.dtype == "uint8"
    logits = model(np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8))
    assert logits.shape == (2, 7)
    assert logits.dtype == "float32"
    names = {layer.name for layer in model.layers}
    assert {"block1_conv", "block5_pool", "block3_activation", "logits"} <= names
    assert ("block2_bn" in names) == config.batch_norm
    assert ("dense" in names) == ("dense_activation" in names) == bool(config.dense_units)


@pytest.mark.parametrize("organisation", ["same", "double", "half"])
def test_filters_are_organised(organisation):
    model = build_cnn(NetworkConfig(num_filters=32, filter_org=organisation), 32, 3)
    filters = [model.get_layer(f"block{block}_conv").filters for block in range(1, 6)]
    expected = {"same": [32] * 5, "double": [32, 64, 128, 256, 512], "half": [32, 16, 8, 4, 2]}
    assert filters == expected[organisation]


def test_a_filter_size_for_each_block():
    model = build_cnn(NetworkConfig(filter_size=[5, 3, 3, 2, 1]), 32, 3)
    assert [model.get_layer(f"block{b}_conv").kernel_size[0] for b in range(1, 6)] == [5, 3, 3, 2, 1]


def test_normalisation_is_imagenets():
    model = build_cnn(NetworkConfig(), 32, 3)
    first = keras.Model(model.input, model.get_layer("normalization").output)
    pixel = np.full((1, 32, 32, 3), 255, np.uint8)
    expected = (np.array([1, 1, 1]) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(first(pixel)[0, 0, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("config", CONFIGS[:6], ids=str)
@pytest.mark.parametrize("size", [32, 75])
def test_closed_formulas_match_the_network(config, size):
    cost = compute_network_cost(config, size, 10)
    model = build_cnn(config, size, 10)
    assert cost.parameters == sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert cost.multiply_adds == _convolution_and_dense_flops(model, size) / 2


def _convolution_and_dense_flops(model, size):
    """TensorFlow's own count of the floating-point operations of one image."""
    graph = tf.function(model).get_concrete_function(tf.TensorSpec((1, size, size, 3), tf.uint8)).graph
    nodes = [node.node_def for node in graph.get_operations() if node.type in ("Conv2D", "MatMul")]
    return sum(ops.get_stats_for_node_def(graph, node, "flops").value for node in nodes)


@pytest.mark.parametrize(
    ("changes", "size", "says"),
    [
        ({}, 31, "--image-size 31.*32"),
        ({"num_filters": 8, "filter_org": "half"}, 64, "--num-filters 8 --filter-org half.*16"),
        ({"filter_size": [3, 3]}, 64, "--filter-size"),
        ({"filter_size": 0}, 64, "--filter-size"),
        ({"dropout": 1.0}, 64, "--dropout 1.0"),
        ({"num_filters": 0}, 64, "--num-filters"),
        ({"dense_units": -1}, 64, "--dense-units"),
    ],
)
def test_impossible_networks_are_refused_in_one_line(changes, size, says):
    with pytest.raises(UserError, match=says) as error:
        build_cnn(dataclasses.replace(NetworkConfig(), **changes), size, 3)
    assert "\n" not in str(error.value)


def test_a_saved_model_is_plain_keras(tmp_path):
    model = build_cnn(NetworkConfig(num_filters=16, activation="mish"), 32, 3)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    np.testing.assert_array_equal(loaded(images), model(images))


def test_initial_weights_within_one_over_the_root_of_the_inputs():
    model = build_cnn(NetworkConfig(num_filters=16, initializer="fan_in"), 64, 7)
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            bound = 1 / np.sqrt(np.prod(layer.kernel.shape[:-1]))
            assert 0.9 * bound < np.abs(layer.kernel).max() <= bound
            assert np.std(layer.kernel) == pytest.approx(bound / np.sqrt(3), rel=0.1)


@pytest.mark.parametrize("initializer", ["glorot", "fan_in"])
def test_no_two_layers_begin_alike(initializer):
    model = build_cnn(NetworkConfig(num_filters=16, initializer=initializer), 64, 7)
    second, third = (model.get_layer(f"block{block}_conv").kernel for block in (2, 3))
    assert not np.array_equal(second, third)


def test_the_memory_of_a_training_by_hand():
    network = NetworkConfig(num_filters=2, filter_size=1, dense_units=3, batch_norm=False)
    parameters = (3 * 2 + 2) + 4 * (2 * 2 + 2) + (2 * 3 + 3) + (3 * 5 + 5)
    outputs = 2 * (32**2 + 16**2 + 8**2 + 4**2 + 2**2)
    assert estimate_training_memory(network, 32, 5, batch_size=7) == 16 * parameters + 2 * 7 * outputs


def test_a_training_takes_at_least_the_memory_that_is_estimated():
    network = NetworkConfig(num_filters=8, dense_units=4096)
    model = build_cnn(network, 64, 10)
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    size = sum(4 * int(np.prod(v.shape)) for v in [*model.trainable_variables, *model.optimizer.variables])
    assert size <= estimate_training_memory(network, 64, 10, batch_size=1) < 2 * size


def test_a_network_that_does_not_fit_into_memory_is_refused(monkeypatch):
    monkeypatch.setattr("cnn_scratch.model.measure_memory", lambda: 10**9)
    check_memory(NetworkConfig(), 64)
    with pytest.raises(
        UserError, match=r"--image-size 64.* takes at least 9\.8 GB of memory; this machine has 1\.0 GB"
    ):
        check_memory(NetworkConfig(num_filters=4096), 64)
    with pytest.raises(UserError, match=r"with 100000 images at a time .* or --batch-size$"):
        check_memory(NetworkConfig(), 64, 10, batch_size=100_000)
    with pytest.raises(UserError, match=r"with one image at a time .* options$"):
        check_memory(NetworkConfig(num_filters=4096), 64, 10, batch_size=1)
    monkeypatch.setattr("cnn_scratch.model.list_gpus", lambda: ["/device:GPU:0"])
    check_memory(NetworkConfig(num_filters=4096), 64)  # the memory of a GPU is not known
