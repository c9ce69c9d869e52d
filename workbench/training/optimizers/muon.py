"""Muon: momentum whose updates of matrices are orthogonalized, also those of convolutions; AdamW for all else."""

import math

import keras
import tensorflow as tf

from workbench.keras_graph import LOGITS
from workbench.training.optimizers.fused import apply_adam, can_use_kernels

_EPSILON = 1e-7  # is added to a norm
_SIZE = 0.2  # root mean square of an update that is multiplied by a learning rate of 1; Adam's typical one


class ConvolutionMuon(keras.optimizers.Muon):
    """Muon for the kernels of convolutions and hidden dense layers, AdamW for the last layer, biases and batch norm.

    Keras' Muon is for dense kernels only. Here a convolution's kernel is the matrix from all values under the filter to
    the filters. An update has the root mean square that an update of Adam's typically has, so learning rate and weight
    decay have the size of AdamW's.

    It is saved as keras.optimizers.Muon, and has the same variables. Those of convolutions include Adam's velocity,
    which stays 0 here.

    Source: Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024; Liu et al., Muon is scalable
    for LLM training, 2025, for the size of the updates.
    """

    def __init__(self, learning_rate: float = 1e-3, weight_decay: float | None = None, **kwargs: object) -> None:
        """Set the rates.

        Args:
            learning_rate: of all variables.
            weight_decay: decoupled weight decay of the kernels; None for none.
            **kwargs: arguments of keras.optimizers.Muon.
        """
        defaults = {"adam_weight_decay": weight_decay, "exclude_layers": [LOGITS], "name": "muon"}
        super().__init__(learning_rate, weight_decay=weight_decay, **{**defaults, **kwargs})

    def update_step(
        self, gradient: tf.Tensor, variable: keras.Variable | tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Update one variable and its momentum."""
        index = self._get_variable_index(variable)
        momentum, velocity = self.momentums[index], self.adam_velocities[index]
        rate = keras.ops.cast(learning_rate, variable.dtype)
        if len(variable.shape) == 4 or velocity is None:
            self.assign(momentum, gradient + self.momentum * tf.convert_to_tensor(momentum))
            ahead = gradient + self.momentum * tf.convert_to_tensor(momentum) if self.nesterov else momentum
            matrix = tf.reshape(ahead, (-1, variable.shape[-1]))
            update = orthogonalize(matrix, self.ns_steps, (self.muon_a, self.muon_b, self.muon_c))
            scale = _SIZE * math.sqrt(max(matrix.shape))
            self.assign_sub(variable, tf.reshape(update, variable.shape) * (rate * scale))
        elif can_use_kernels():
            betas = (self.adam_beta_1, self.adam_beta_2)
            apply_adam(
                variable, momentum, velocity, gradient, rate, step=self.iterations, betas=betas, epsilon=self.epsilon
            )
        else:
            self._adamw_update_step(gradient, variable, rate, momentum, velocity)

    def _apply_weight_decay(self, variables: list[keras.Variable]) -> None:
        """Decay the kernels. Keras' Muon has two rates and does not support several devices; the two are equal here."""
        keras.optimizers.Optimizer._apply_weight_decay(self, variables)

    def to_keras(self) -> keras.optimizers.Muon:
        """Build Keras' own Muon with the same settings and variables of the same shapes."""
        return keras.optimizers.Muon.from_config(self.get_config())


def orthogonalize(matrix: tf.Tensor, steps: int, coefficients: tuple[float, float, float]) -> tf.Tensor:
    """Return about the nearest matrix with orthonormal rows or columns: singular values become about 0.7 to 1.2.

    It is Newton and Schulz's iteration X <- (a + b A + c A^2) X with A = X X'. All these factors are polynomials of the
    first A, so A is updated instead of X, and the first X is multiplied at the end. That takes half the time for the
    kernels of convolutions, which are several times as long as wide.

    Args:
        matrix: (rows, columns), float32.
        steps: iterations.
        coefficients: a, b and c.

    Returns:
        A matrix of the same shape.
    """
    is_tall = matrix.shape[0] > matrix.shape[1]
    a, b, c = coefficients
    scaled = matrix / (tf.norm(matrix) + _EPSILON)
    gram = tf.matmul(scaled, scaled, transpose_a=is_tall, transpose_b=not is_tall)
    identity = tf.eye(min(matrix.shape), dtype=matrix.dtype)
    product = identity
    for step in range(steps):
        factor = a * identity + b * gram + c * tf.matmul(gram, gram)
        product = tf.matmul(factor, product) if step else factor
        if step < steps - 1:
            gram = tf.matmul(tf.matmul(factor, gram), factor)
    return tf.matmul(scaled, product) if is_tall else tf.matmul(product, scaled)
