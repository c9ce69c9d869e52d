"""Layers for small maps, where broadcasting takes longer than convolving. The layers are trained, never saved."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers


class RowNormalization(layers.Layer):
    """A built keras.layers.Normalization of RGB images, the same bit for bit, in less time.

    TensorFlow subtracts three numbers from each pixel one pixel at a time, and whole rows by vector instructions.
    """

    def __init__(self, plain: layers.Normalization) -> None:
        super().__init__(name=plain.name)
        deviation = np.maximum(np.sqrt(plain.variance), keras.config.epsilon())
        self._mean, self._deviation = (np.ravel(values).astype(np.float32) for values in (plain.mean, deviation))

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Return (inputs - mean) / standard deviation, float32."""
        width = tf.shape(inputs)[2]
        rows = tf.reshape(tf.cast(inputs, tf.float32), (-1, width * len(self._mean)))
        rows = (rows - tf.tile(self._mean, [width])) / tf.tile(self._deviation, [width])
        return tf.ensure_shape(tf.reshape(rows, tf.shape(inputs)), inputs.shape)


class OneOperationBatchNorm(layers.BatchNormalization):
    """keras.layers.BatchNormalization of maps, in training one operation forwards and one backwards.

    It is for layers as `build_cnn` makes them: with scale and shift, not frozen, on one device.
    """

    def call(self, inputs: tf.Tensor, training: bool = False, mask: Any = None) -> tf.Tensor:
        """Normalize maps (batch, height, width, channels); in training, update the moving statistics."""
        if not training:
            # The single operation is for training only: with fixed statistics, TensorFlow 2.21 merges it with the
            # convolution before it and the activation after it, and fails if that is Mish.
            return super().call(inputs, training=False, mask=mask)
        gamma, beta, moving_mean, moving_variance = (tf.convert_to_tensor(weight) for weight in self.weights)
        normalized = tf.raw_ops.FusedBatchNormV3(
            x=inputs, scale=gamma, offset=beta, mean=[], variance=[], epsilon=self.epsilon, is_training=True
        )
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
        # The operation divides the sum of squares by count - 1, Keras by count.
        variance = normalized.batch_variance * (tf.maximum(count - 1, 1) / count)
        self.moving_mean.assign(moving_mean * self.momentum + normalized.batch_mean * (1 - self.momentum))
        self.moving_variance.assign(moving_variance * self.momentum + variance * (1 - self.momentum))
        return normalized.y
