"""The network as it is trained: the same variables and values as the plain one, in fewer passes over memory."""

import keras
from keras import layers

from cnn_scratch import kernels
from vision.runtime import gpus


class NormalizedPool(layers.BatchNormalization):
    """keras.layers.BatchNormalization, an activation and 2x2 max-pooling in one operation.

    Args:
        activation: a name in `kernels.ACTIVATIONS`.
        **kwargs: those of keras.layers.BatchNormalization.
    """

    def __init__(self, activation, **kwargs):
        super().__init__(**kwargs)
        self._activation = activation

    def call(self, inputs, training=False):
        gamma, beta = keras.ops.convert_to_tensor(self.gamma), keras.ops.convert_to_tensor(self.beta)
        if not training:
            scale = gamma * keras.ops.rsqrt(self.moving_variance + self.epsilon)
            mean = keras.ops.convert_to_tensor(self.moving_mean)
            return kernels.normalized_pool(inputs, mean, scale, beta, self._activation)
        pooled, mean, variance = kernels.batch_normalized_pool(inputs, gamma, beta, self.epsilon, self._activation)
        self.moving_mean.assign(self.moving_mean * self.momentum + mean * (1 - self.momentum))
        self.moving_variance.assign(self.moving_variance * self.momentum + variance * (1 - self.momentum))
        return pooled

    def compute_output_shape(self, input_shape):
        return _pooled_shape(input_shape)


class ActivatedPool(layers.Layer):
    """An activation and 2x2 max-pooling in one operation."""

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
        fused: whether each block's batch norm, activation and pooling become one operation; by default where
            there is no GPU, because a GPU's compiler does that itself.

    Returns:
        keras.Model with weights of its own, in the order of those of `plain`. Its attribute `plain` returns
        `plain`, which is saved in its place.
    """
    fused = not gpus() if fused is None else fused
    policy = "float32" if precision == "float32" else f"mixed_{precision}"
    x, pending = plain.input, []
    for layer in plain.layers[1:]:
        pending.append(layer)
        if fused and isinstance(layer, (layers.BatchNormalization, layers.Activation)) and layer.name[:5] == "block":
            continue
        for copy in _copies(pending, policy):
            x = copy(x)
        pending = []
    model = keras.Model(plain.input, x, name=plain.name)
    model.set_weights(plain.get_weights())
    model.plain = lambda: plain  # a function, because Keras would take the model itself for a part of this one
    return model


def _copies(pending, policy):
    """Layers that do what those of `plain` do that ended in a pooling, or what its next single one does."""
    *before, layer = pending
    if before:
        activation = before[-1].activation.__name__
        if len(before) == 1:
            return [ActivatedPool(activation, name=layer.name, dtype=policy)]
        return [NormalizedPool(activation, **{**before[0].get_config(), "dtype": policy})]
    if isinstance(layer, (layers.Normalization, layers.Dropout)):
        return [layer]
    dtype = "float32" if layer.name == "logits" else policy
    return [type(layer).from_config({**layer.get_config(), "dtype": dtype})]
