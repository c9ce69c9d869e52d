import keras
import numpy as np
import pytest
import tensorflow as tf

from cnn_scratch.config import NetworkConfig
from cnn_scratch.fast_model import build_fast_model
from cnn_scratch.fused_block import ACTIVATIONS
from cnn_scratch.model import build_cnn
from cnn_scratch.small_map_layers import OneOperationBatchNorm, RowNormalization
from workbench.config import build


@pytest.mark.parametrize("shape", [(6, 7, 5, 4), (1, 1, 1, 4)])
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_batch_norm_is_keras_batch_norm(dtype, shape):
    """Values, gradients and moving statistics, with means far from zero; after that, what validation computes."""
    weights = [[1.5, -0.7, 0.0, 1.0], [0.1, -0.5, 0.3, 0.0], [0.1, 1.0, 9.0, -2.0], [1.0, 2.0, 0.1, 8.0]]
    maps = tf.random.stateless_normal(shape, (1, 2)) * [1.0, 2.0, 0.5, 3.0] + [0.0, 5.0, 10.0, -3.0]
    slopes = tf.random.stateless_normal(shape, (3, 4))
    outcomes = []
    for kind in (keras.layers.BatchNormalization, OneOperationBatchNorm):
        layer = kind(momentum=0.9, dtype=dtype)
        inputs = tf.cast(maps, layer.compute_dtype)
        layer.build(shape)
        layer.set_weights([np.array(values, np.float32) for values in weights])
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
            loss = tf.reduce_sum(tf.cast(outputs, tf.float32) * slopes)
        gradients = tape.gradient(loss, [inputs, layer.gamma.value, layer.beta.value])
        values = [outputs, *gradients, *layer.get_weights()[2:], layer(inputs, training=False)]
        assert outputs.dtype == inputs.dtype
        outcomes.append([tf.cast(value, tf.float32).numpy() for value in values])
    tolerance = 1e-4 if dtype == "float32" else 2e-2
    for expected, found in zip(*outcomes, strict=True):
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_batch_norm_works_between_a_convolution_and_every_activation(name, training):
    """In a graph, where TensorFlow makes one operation of several."""
    maps = tf.random.stateless_normal((2, 8, 8, 4), (1, 2))
    outcomes = []
    for kind in (keras.layers.BatchNormalization, OneOperationBatchNorm):
        convolution = keras.layers.Conv2D(4, 3, padding="same", use_bias=False, kernel_initializer="ones")
        network = keras.Sequential([convolution, kind(), keras.layers.Activation(name)])
        outcomes.append(tf.function(network)(maps, training=training))
    np.testing.assert_allclose(*outcomes, rtol=1e-4, atol=1e-4)


def test_normalization_is_that_of_keras_bit_for_bit():
    images = np.random.default_rng(0).integers(0, 256, (3, 9, 7, 3)).astype(np.uint8)
    plain = keras.layers.Normalization(mean=[123.675, 116.28, 103.53], variance=[3409.0, 3262.4, 3292.1])
    plain.build((None, None, None, 3))
    by_rows = RowNormalization(plain)
    np.testing.assert_array_equal(by_rows(images), plain(images))
    image = keras.Input((None, None, 3), dtype="uint8")
    of_any_size = keras.Model(image, by_rows(image))
    np.testing.assert_array_equal(of_any_size(images), plain(images))
    assert of_any_size.output_shape == (None, None, None, 3)


def test_gpus_and_several_devices_get_keras_own_layers(monkeypatch):
    network = build(NetworkConfig, num_filters=4, dense_units=4, batch_norm=True)

    def list_kinds():
        return {type(layer) for layer in build_fast_model(build_cnn(network, 32, 2)).layers}

    own = {OneOperationBatchNorm, RowNormalization}
    monkeypatch.setattr("cnn_scratch.fast_model.list_gpus", list)
    assert own <= list_kinds()
    monkeypatch.setattr("cnn_scratch.fast_model.count_replicas", lambda: 2)
    assert not own & list_kinds()
    monkeypatch.setattr("cnn_scratch.fast_model.count_replicas", lambda: 1)
    monkeypatch.setattr("cnn_scratch.fast_model.list_gpus", lambda: ["GPU:0"])
    assert not own & list_kinds()
