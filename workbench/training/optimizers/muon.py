"""Muon: momentum whose updates of matrices are orthogonalized, also those of convolutions; AdamW for all else."""

import inspect
import math
from typing import Any

import keras
import tensorflow as tf

from workbench.keras_graph import LOGITS
from workbench.training.optimizers.adam import FusedAdam
from workbench.training.optimizers.fused import apply_adam, can_use_kernels

_EPSILON = 1e-7  # is added to a norm
_SIZE = 0.2  # root mean square of an update that is multiplied by a learning rate of 1; Adam's typical one
_MOMENTUM, _STEPS, _COEFFICIENTS = 0.95, 5, (3.4445, -4.7750, 2.0315)  # Jordan's: Nesterov's momentum, the iteration


class ConvolutionMuon(FusedAdam):
    """Muon for the kernels of convolutions and hidden dense layers, AdamW for the last layer, biases and batch norm.

    Keras' Muon is for dense kernels only. Here a convolution's kernel is the matrix from all values under the filter to
    the filters. An update has the root mean square that an update of Adam's typically has, so learning rate and weight
    decay have the size of AdamW's.

    It is saved as keras.optimizers.Muon, and has the same variables. Keras updates the kernels of convolutions as AdamW
    does, so their momentum is a mean of the gradients, as Adam's is, and Adam's velocity is kept for them. With a sum
    of gradients and a velocity of 0, a training that is continued there would take steps hundreds of times too large.

    Source: Jordan et al., Muon: An optimizer for hidden layers in neural networks, 2024; Liu et al., Muon is scalable
    for LLM training, 2025, for the size of the updates.
    """

    def __init__(self, learning_rate: float = 1e-3, weight_decay: float | None = None, **kwargs: Any) -> None:
        """Set the rates.

        Args:
            learning_rate: of all variables.
            weight_decay: decoupled weight decay of the kernels; None for none.
            **kwargs: arguments of keras.optimizers.Adam, whose betas and epsilon the other variables are updated with.
        """
        super().__init__(learning_rate, weight_decay=weight_decay, **{"name": "muon", **kwargs})

    def build(self, variables: list[keras.Variable]) -> None:
        """Make the variables of keras.optimizers.Muon: a momentum for each, and mostly Adam's velocity."""
        if self.built:
            return
        keras.optimizers.Optimizer.build(self, variables)
        self._momentums, self._velocities = [], []
        for variable in variables:
            self._momentums.append(self.add_variable_from_reference(variable, name="momentum"))
            has_velocity = len(variable.shape) != 2 or LOGITS in variable.path
            self._velocities.append(
                self.add_variable_from_reference(variable, name="velocity") if has_velocity else None
            )

    def update_step(
        self, gradient: tf.Tensor, variable: keras.Variable | tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Update one variable and its momentum."""
        index = self._get_variable_index(variable)
        if len(variable.shape) != 4 and self._velocities[index] is not None:
            super().update_step(gradient, variable, learning_rate)
            return
        momentum, velocity = self._momentums[index], self._velocities[index]
        if velocity is None:
            self.assign(momentum, gradient + _MOMENTUM * tf.convert_to_tensor(momentum))
            weight = 1.0
        else:
            self._average_gradients(gradient, variable, momentum, velocity)
            weight = 1 - _MOMENTUM
        ahead = weight * gradient + _MOMENTUM * tf.convert_to_tensor(momentum)
        matrix = tf.reshape(ahead, (-1, variable.shape[-1]))
        update = orthogonalize(matrix, _STEPS, _COEFFICIENTS)
        rate = keras.ops.cast(learning_rate, variable.dtype) * _SIZE * math.sqrt(max(matrix.shape))
        self.assign_sub(variable, tf.reshape(update, variable.shape) * rate)

    def _average_gradients(
        self,
        gradient: tf.Tensor,
        variable: keras.Variable | tf.Variable,
        momentum: keras.Variable,
        velocity: keras.Variable,
    ) -> None:
        """Update the moving averages of a variable's gradients and of their squares."""
        if can_use_kernels():  # a step of Adam whose learning rate is 0
            factors = self._find_factors((_MOMENTUM, self.beta_2))
            apply_adam(variable, momentum, velocity, gradient, tf.zeros(()), factors)
            return
        self.assign_add(momentum, (gradient - tf.convert_to_tensor(momentum)) * (1 - _MOMENTUM))
        self.assign_add(velocity, (gradient**2 - tf.convert_to_tensor(velocity)) * (1 - self.beta_2))

    def to_keras(self) -> keras.optimizers.Muon:
        """Build Keras' own Muon with the same settings and variables of the same shapes."""
        config = keras.optimizers.Adam.get_config(self)
        settings = {
            **{name: value for name, value in config.items() if name not in ("beta_1", "beta_2", "amsgrad")},
            **dict(zip(("muon_a", "muon_b", "muon_c"), _COEFFICIENTS, strict=True)),
            "adam_beta_1": self.beta_1,
            "adam_beta_2": self.beta_2,
            "adam_lr_ratio": 1.0,
            "adam_weight_decay": self.weight_decay,
            "exclude_layers": [LOGITS],
            "exclude_embeddings": False,
            "momentum": _MOMENTUM,
            "ns_steps": _STEPS,
            "rms_rate": _SIZE,
        }
        known = inspect.signature(keras.optimizers.Muon).parameters  # Keras 3.10 has neither decay of Adam nor the size
        return keras.optimizers.Muon.from_config({name: value for name, value in settings.items() if name in known})


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


def count_multiply_adds(rows: int, columns: int, steps: int = _STEPS) -> int:
    """Return the multiply-adds of the matrix products in `orthogonalize`, by default in an update of Muon."""
    short, long = sorted((rows, columns))
    return 2 * short**2 * long + (4 * steps - 3) * short**3
