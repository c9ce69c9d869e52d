"""The network as it is trained: it computes what the plain one computes, in fewer passes over memory."""

import dataclasses
import functools
import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from cnn_scratch import fused_block
from cnn_scratch.config import NetworkConfig
from cnn_scratch.model import build_cnn, compute_network_cost
from cnn_scratch.small_map_layers import OneOperationBatchNorm, RowNormalization
from workbench.config import TrainingConfig
from workbench.keras_graph import LOGITS
from workbench.runtime import count_replicas, list_gpus
from workbench.training.optimizer import compile_model, measure_step_seconds
from workbench.training.precision import choose_precision, get_dtype_policy
from workbench.training.tiled_convolution import is_faster_by_tiles
from workbench.training.training_model import TrainingModel

LARGE_MAPS = 2**15  # values an image above which a compiled kernel is worth its compilation


class FusedBlock(layers.Layer):
    """Convolution, batch norm or bias, activation and 2x2 max-pooling in one operation. It is trained, never saved.

    Its weights are those of the layers that it replaces, in the same order.
    """

    def __init__(
        self,
        convolution: layers.Conv2D,
        batch_norm: layers.BatchNormalization | None,
        activation: str,
        is_first: bool,
        **kwargs: Any,
    ) -> None:
        """Take over the settings of the layers to replace.

        Args:
            convolution: a convolution with stride 1 and padding `same`.
            batch_norm: None if the convolution has a bias instead.
            activation: a name in `fused_block.ACTIVATIONS`.
            is_first: whether no layer before has weights, so that no gradient of the inputs is needed.
            **kwargs: arguments of keras.layers.Layer.
        """
        super().__init__(name=convolution.name, **kwargs)
        self._filters, self._size = convolution.filters, convolution.kernel_size
        self._activation, self._is_first = activation, is_first
        self.momentum = None if batch_norm is None else batch_norm.momentum
        self._epsilon = 0.0 if batch_norm is None else batch_norm.epsilon

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the weights."""

        def add_vector(name: str, initializer: str = "zeros", trainable: bool = True) -> keras.Variable:
            return self.add_weight((self._filters,), initializer, name=name, autocast=False, trainable=trainable)

        self.kernel = self.add_weight((*self._size, input_shape[-1], self._filters), name="kernel")
        if self.momentum is None:
            self.bias = add_vector("bias")
        else:
            self.gamma, self.beta = add_vector("gamma", "ones"), add_vector("beta")
            self.moving_mean = add_vector("moving_mean", trainable=False)
            self.moving_variance = add_vector("moving_variance", "ones", trainable=False)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Compute the pooled maps; in training, update the moving statistics of batch norm."""
        kernel = tf.cast(tf.convert_to_tensor(self.kernel), inputs.dtype)
        if self.momentum is None:
            bias = tf.convert_to_tensor(self.bias)
            return fused_block.bias_block(inputs, kernel, bias, self._activation, self._is_first)
        gamma, beta, moving_mean, moving_variance = (tf.convert_to_tensor(weight) for weight in self.weights[1:])
        if not training:
            scale = gamma * tf.math.rsqrt(moving_variance + self._epsilon)
            affine = fused_block.Affine(moving_mean, scale, beta)
            return fused_block.infer_block(inputs, kernel, affine, self._activation)
        pooled, mean, variance = fused_block.train_batch_norm_block(
            inputs, kernel, gamma, beta, self._epsilon, self._activation, self._is_first
        )
        self.moving_mean.assign(moving_mean * self.momentum + mean * (1 - self.momentum))
        self.moving_variance.assign(moving_variance * self.momentum + variance * (1 - self.momentum))
        return pooled

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return (batch, height // 2, width // 2, filters)."""
        batch, *sides, _ = input_shape
        return batch, *(side and side // 2 for side in sides), self._filters


class FusedNormalization(layers.Layer):
    """A built keras.layers.Normalization in one pass over the images. It is never saved."""

    def __init__(self, plain: layers.Normalization) -> None:
        super().__init__(name=plain.name)
        self._mean, self._deviation = plain.mean, np.maximum(np.sqrt(plain.variance), keras.config.epsilon())

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Return (inputs - mean) / standard deviation, float32."""
        return fused_block.normalize(inputs, self._mean, self._deviation)


def build_fast_model(plain: keras.Model, precision: str = "float32", fuse: bool | None = None) -> TrainingModel:
    """Build a model that computes what `plain` computes, faster, and is trained in its place.

    It does not use `keras_graph.rebuild`, because that makes one layer of each layer, and here one layer replaces four.

    Args:
        plain: a chain of layers, as `build_cnn` makes it; it is what is saved.
        precision: number format of activations and products: `float32`, `bfloat16` or `float16`. Weights, statistics
            and logits are always float32.
        fuse: whether to replace the normalization, and the convolution, batch norm, activation and pooling of each
            block, by one operation; all other layers are Keras' own. By default this is done for large maps, and for
            convolutions that are faster by tiles, if one CPU trains; others get the layers of `small_map_layers`. On a
            GPU, XLA does it itself.

    Returns:
        A model with weights of its own. If its head averages over positions, it takes images of any size.
    """
    policy = get_dtype_policy(precision)
    averages = any(isinstance(layer, layers.GlobalAveragePooling2D) for layer in plain.layers)
    image = keras.Input((None, None, 3), dtype="uint8", name="image") if averages else plain.input  # of any size
    x, remaining, is_first = image, plain.layers[1:], True
    is_for_cpu = fuse is None and not list_gpus() and count_replicas() == 1
    while remaining:
        parts = _find_fusible(remaining) if fuse or (is_for_cpu and _is_large(remaining[0], precision)) else []
        x = (_fuse(parts, policy, is_first) if parts else _copy_layer(remaining[0], policy, is_for_cpu))(x)
        is_first = is_first and not remaining[0].weights
        remaining = remaining[len(parts) or 1 :]
    return TrainingModel(image, x, saved_as=plain, validates_saved=precision != "float32", name=plain.name)


def _is_large(layer: keras.Layer, precision: str) -> bool:
    """Return whether a compiled kernel for the layer, or for the block that it begins, is worth its compilation."""
    may_be_tiled = isinstance(layer, layers.Conv2D) and precision == "float32"
    is_tiled = may_be_tiled and is_faster_by_tiles(layer.input.shape, layer.kernel.shape)
    return is_tiled or math.prod(layer.output.shape[1:]) > LARGE_MAPS


_FUSIBLE: tuple[tuple[type[keras.Layer], ...], ...] = (
    (layers.Normalization,),
    (layers.Conv2D, layers.BatchNormalization, layers.Activation, layers.MaxPooling2D),
    (layers.Conv2D, layers.Activation, layers.MaxPooling2D),
)


def _find_fusible(remaining: list[keras.Layer]) -> list[keras.Layer]:
    """Return the next layers if one operation can replace them, else an empty list."""
    for kinds in _FUSIBLE:
        parts = remaining[: len(kinds)]
        matches = len(parts) == len(kinds) and all(map(isinstance, parts, kinds))
        if matches and getattr(parts[-1], "pool_size", (2, 2)) == (2, 2):
            return parts
    return []


def _fuse(parts: list[keras.Layer], policy: str, is_first: bool) -> keras.Layer:
    """Build the layer that replaces `parts`."""
    if isinstance(parts[0], layers.Normalization):
        return FusedNormalization(parts[0])
    convolution, *norms, activation, _ = parts
    return FusedBlock(
        convolution, norms[0] if norms else None, activation.activation.__name__, is_first=is_first, dtype=policy
    )


def _copy_layer(layer: keras.Layer, policy: str, is_for_cpu: bool) -> keras.Layer:
    """Copy a layer in another precision, or build one of `small_map_layers` in its place.

    Dropout, and a normalization that is not replaced, stay float32 and are used by both models.
    """
    if isinstance(layer, layers.Normalization):
        return RowNormalization(layer) if is_for_cpu else layer
    if isinstance(layer, layers.Dropout):
        return layer
    kind = OneOperationBatchNorm if is_for_cpu and isinstance(layer, layers.BatchNormalization) else type(layer)
    dtype = "float32" if layer.name == LOGITS else policy
    return kind.from_config({**layer.get_config(), "dtype": dtype})


def choose_cnn_precision(network: NetworkConfig, training: TrainingConfig, image_size: int) -> str:
    """Return the number format in which this machine trains the network fastest, or the one `training` asks for.

    Raises:
        UserError: float16 without a GPU.
    """
    names = [field.name for field in dataclasses.fields(NetworkConfig)]
    settings = (str(getattr(network, name)) for name in names)
    # The first one names the present layers, so that what was measured with earlier ones is measured again.
    facts: list[str | int | None] = ["convolved by tiles", image_size, training.batch_size, *settings]
    multiply_adds = compute_network_cost(network, image_size, 10).multiply_adds

    @functools.cache
    def build(precision: str) -> TrainingModel:
        model = build_fast_model(build_cnn(network, image_size, 10), precision)
        compile_model(model, training)
        return model

    def measure_step(precision: str) -> float:
        shape = (training.batch_size, image_size, image_size, 3)
        return measure_step_seconds(build(precision), training, shape)

    return choose_precision(training.precision, facts, multiply_adds, measure_step)
