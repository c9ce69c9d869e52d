"""The network as it is trained: what the plain one computes, in fewer passes over memory."""

import dataclasses
import math

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from cnn_scratch import kernels
from cnn_scratch.model import NetworkConfig, build_cnn, network_cost
from vision.optimization import compiled, takes_one_hot
from vision.precision import resolve_precision, shortest_seconds
from vision.runtime import gpus, num_replicas

LARGE_MAPS = 2**15  # values an image above which a compiled kernel pays for its compilation


class NormalizedPool(layers.BatchNormalization):
    """keras.layers.BatchNormalization, an activation and 2x2 max-pooling in one operation; trained, never saved.

    Args:
        activation: a name in `kernels.ACTIVATIONS`.
        **kwargs: those of keras.layers.BatchNormalization.
    """

    def __init__(self, activation, **kwargs):
        super().__init__(**kwargs)
        self._activation = activation

    def call(self, inputs, training=False):
        gamma, beta = tf.convert_to_tensor(self.gamma), tf.convert_to_tensor(self.beta)
        if not training:
            mean = tf.convert_to_tensor(self.moving_mean)
            scale = gamma * tf.math.rsqrt(self.moving_variance + self.epsilon)
            return kernels.normalized_pool(inputs, mean, scale, beta, self._activation)
        pooled, mean, variance = kernels.batch_normalized_pool(inputs, gamma, beta, self.epsilon, self._activation)
        self.moving_mean.assign(self.moving_mean * self.momentum + mean * (1 - self.momentum))
        self.moving_variance.assign(self.moving_variance * self.momentum + variance * (1 - self.momentum))
        return pooled

    def compute_output_shape(self, input_shape):
        return _pooled_shape(input_shape)


class ActivatedPool(layers.Layer):
    """An activation and 2x2 max-pooling in one operation; trained, never saved."""

    def __init__(self, activation, **kwargs):
        super().__init__(**kwargs)
        self._activation = activation

    def call(self, inputs):
        return kernels.activated_pool(inputs, self._activation)

    def compute_output_shape(self, input_shape):
        return _pooled_shape(input_shape)


def _pooled_shape(shape):
    return shape[0], shape[1] // 2, shape[2] // 2, shape[3]


def accelerated(plain, precision="float32", fused=None):
    """A model that computes what `plain` computes, faster, and is trained in its place.

    Args:
        plain: a chain of layers, as `build_cnn` makes it.
        precision: `float32`, or what maps and products are held in: `bfloat16` or `float16`. Weights,
            statistics and logits are float32 always.
        fused: whether each block's batch norm, activation and pooling become one operation; by default those
            of large maps do where there is no GPU, because a GPU's compiler does that itself.

    Returns:
        keras.Model with weights of its own, in the order of those of `plain`. Its attribute `plain` returns
        `plain`, which is saved in its place.
    """
    policy = "float32" if precision == "float32" else f"mixed_{precision}"
    x, remaining = plain.input, plain.layers[1:]
    while remaining:
        large = not gpus() and num_replicas() == 1 and math.prod(x.shape[1:]) > LARGE_MAPS
        block = _block(remaining) if fused or (fused is None and large) else []
        x = (_fused(block, policy) if block else _copy(remaining[0], policy))(x)
        remaining = remaining[len(block) or 1 :]
    model = keras.Model(plain.input, x, name=plain.name)
    model.set_weights(plain.get_weights())
    model.plain = lambda: plain  # a function, because Keras would take the model itself for a part of this one
    return model


def _block(remaining):
    """The next layers if they are a block's batch norm, if it has one, activation and pooling; else none."""
    block_kinds = layers.BatchNormalization, layers.Activation, layers.MaxPooling2D
    for kinds in (block_kinds, block_kinds[1:]):
        block = remaining[: len(kinds)]
        if len(block) == len(kinds) and all(map(isinstance, block, kinds)) and block[-1].pool_size == (2, 2):
            return block
    return []


def _fused(block, policy):
    *batch_norm, activation, pool = block
    name = activation.activation.__name__
    if batch_norm:
        return NormalizedPool(name, **{**batch_norm[0].get_config(), "dtype": policy})
    return ActivatedPool(name, name=pool.name, dtype=policy)


def _copy(layer, policy):
    """The layer anew in another precision; normalisation and dropout, which keep float32, serve both models."""
    if isinstance(layer, (layers.Normalization, layers.Dropout)):
        return layer
    dtype = "float32" if layer.name == "logits" else policy
    return type(layer).from_config({**layer.get_config(), "dtype": dtype})


def fastest_precision(config, image_size):
    """The format in which this machine trains the network fastest, or the one that `config` asks for.

    Args:
        config: has the fields of `NetworkConfig`, `PrecisionConfig` and those of a training.
    """
    network = [image_size, *(str(getattr(config, field.name)) for field in dataclasses.fields(NetworkConfig))]
    multiply_adds = network_cost(config, image_size, 10).multiply_adds
    return resolve_precision(
        config.precision, network, multiply_adds, lambda precision: step_seconds(config, image_size, precision)
    )


def step_seconds(config, image_size, precision, batch_size=32, steps=3):
    """Seconds of a training step, the shortest of a few on random images."""
    model = compiled(accelerated(build_cnn(config, image_size, 10), precision), config)
    images = np.random.default_rng(0).integers(0, 256, (batch_size, image_size, image_size, 3), np.uint8)
    labels = np.arange(batch_size) % 10
    if takes_one_hot(config):
        labels = np.eye(10, dtype="float32")[labels]
    return shortest_seconds(lambda: model.train_on_batch(images, labels), steps)
