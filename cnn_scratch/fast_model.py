"""The network as it is trained: what the plain one computes, in fewer passes over memory."""

import dataclasses
import math

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from cnn_scratch import fused_block as kernels
from cnn_scratch.model import NetworkConfig, build_cnn, network_cost
from workbench.runtime import gpus, num_replicas
from workbench.training.callbacks import stand_in
from workbench.training.optimizer import compiled, step_seconds
from workbench.training.precision import dtype_policy, resolve_precision

LARGE_MAPS = 2**15  # values an image above which a compiled kernel pays for its compilation


class PooledBlock(layers.Layer):
    """Convolution, batch norm or bias, activation and 2x2 max-pooling in one operation; trained, never saved.

    Its weights are those of the layers in whose place it stands, in their order.

    Args:
        convolution: keras.layers.Conv2D with stride 1 and padding `same`.
        batch_norm: keras.layers.BatchNormalization, or None if the convolution has a bias.
        activation: a name in `kernels.ACTIVATIONS`.
        first: whether no layer before has weights, so that no gradient of the inputs is needed.
        **kwargs: those of keras.layers.Layer.
    """

    def __init__(self, convolution, batch_norm, activation, first, **kwargs):
        super().__init__(name=convolution.name, **kwargs)
        self._filters, self._size = convolution.filters, convolution.kernel_size
        self._activation, self._first = activation, first
        if batch_norm is None:
            self.momentum = None
        else:
            self.momentum, self._epsilon = batch_norm.momentum, batch_norm.epsilon

    def build(self, input_shape):
        def channels(name, initializer="zeros", **kwargs):
            return self.add_weight((self._filters,), initializer, name=name, autocast=False, **kwargs)

        self.kernel = self.add_weight((*self._size, input_shape[-1], self._filters), name="kernel")
        if self.momentum is None:
            self.bias = channels("bias")
        else:
            self.gamma, self.beta = channels("gamma", "ones"), channels("beta")
            self.moving_mean = channels("moving_mean", trainable=False)
            self.moving_variance = channels("moving_variance", "ones", trainable=False)

    def call(self, inputs, training=False):
        kernel, *weights = (tf.convert_to_tensor(weight) for weight in self.weights)
        kernel = tf.cast(kernel, inputs.dtype)
        if self.momentum is None:
            return kernels.biased_block(inputs, kernel, *weights, self._activation, self._first)
        gamma, beta, moving_mean, moving_variance = weights
        if not training:
            scale = gamma * tf.math.rsqrt(moving_variance + self._epsilon)
            return kernels.pooled_block(inputs, kernel, moving_mean, scale, beta, self._activation)
        pooled, mean, variance = kernels.batch_normalized_block(
            inputs, kernel, gamma, beta, self._epsilon, self._activation, self._first
        )
        self.moving_mean.assign(moving_mean * self.momentum + mean * (1 - self.momentum))
        self.moving_variance.assign(moving_variance * self.momentum + variance * (1 - self.momentum))
        return pooled

    def compute_output_shape(self, input_shape):
        batch, *sides, _ = input_shape
        return batch, *(side and side // 2 for side in sides), self._filters


class CompiledNormalization(layers.Layer):
    """A built keras.layers.Normalization in one pass over the images; never saved."""

    def __init__(self, plain):
        super().__init__(name=plain.name)
        self._mean, self._deviation = plain.mean, np.maximum(np.sqrt(plain.variance), keras.config.epsilon())

    def call(self, inputs):
        return kernels.normalized(inputs, self._mean, self._deviation)


def accelerated(plain, precision="float32", fused=None):
    """A model that computes what `plain` computes, faster, and is trained in its place.

    Args:
        plain: a chain of layers, as `build_cnn` makes it.
        precision: `float32`, or what maps and products are held in: `bfloat16` or `float16`. Weights,
            statistics and logits are float32 always.
        fused: whether normalisation, and each block's batch norm, activation and pooling, become one operation; by
            default those of large maps do where there is no GPU, because a GPU's compiler does that itself.

    Returns:
        keras.Model with weights of its own, in the order of those of `plain`; with a head that averages, of images
        of any size. Its attribute `plain` returns `plain`, which is saved in its place.
    """
    policy = dtype_policy(precision)
    averages = any(isinstance(layer, layers.GlobalAveragePooling2D) for layer in plain.layers)
    image = keras.Input((None, None, 3), dtype="uint8", name="image") if averages else plain.input  # of any size
    x, remaining, first = image, plain.layers[1:], True
    while remaining:
        large = not gpus() and num_replicas() == 1 and math.prod(remaining[0].output.shape[1:]) > LARGE_MAPS
        parts = _fusible(remaining) if fused or (fused is None and large) else []
        x = (_fused(parts, policy, first) if parts else _copy(remaining[0], policy))(x)
        first = first and not remaining[0].weights
        remaining = remaining[len(parts) or 1 :]
    return stand_in(keras.Model(image, x, name=plain.name), plain)


_FUSIBLE = (
    (layers.Normalization,),
    (layers.Conv2D, layers.BatchNormalization, layers.Activation, layers.MaxPooling2D),
    (layers.Conv2D, layers.Activation, layers.MaxPooling2D),
)


def _fusible(remaining):
    """The next layers if one operation can take their place, else none."""
    for kinds in _FUSIBLE:
        parts = remaining[: len(kinds)]
        matches = len(parts) == len(kinds) and all(map(isinstance, parts, kinds))
        if matches and getattr(parts[-1], "pool_size", (2, 2)) == (2, 2):
            return parts
    return []


def _fused(parts, policy, first):
    if isinstance(parts[0], layers.Normalization):
        return CompiledNormalization(parts[0])
    convolution, *batch_norm, activation, _ = parts
    return PooledBlock(convolution, *(batch_norm or [None]), activation.activation.__name__, first=first, dtype=policy)


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

    def seconds(precision):
        model = compiled(accelerated(build_cnn(config, image_size, 10), precision), config)
        return step_seconds(model, config, (32, image_size, image_size, 3), steps=3)

    return resolve_precision(config.precision, network, multiply_adds, seconds)
