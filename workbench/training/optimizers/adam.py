"""Adam and AdamW whose step is one kernel of TensorFlow's."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from workbench.runtime import count_replicas
from workbench.training.optimizers.fused import AdamFactors, apply_adam, can_use_kernels, compute_adam_factors


@dataclasses.dataclass(eq=False)
class _Step:
    """The factors of the step that is being traced or run, betas -> factors; they are computed once for all variables.

    A class of its own, because Keras would track a dictionary that is an attribute.
    """

    factors: dict[tuple[float, float], AdamFactors] = dataclasses.field(default_factory=dict)


class FusedAdam(keras.optimizers.Adam):
    """Adam (or, with `weight_decay`, AdamW) whose step is one kernel of TensorFlow's.

    The kernel reads and writes the memory once, Keras' own step a dozen times.
    """

    def __init__(self, learning_rate: float = 1e-3, **kwargs: Any) -> None:
        """Set the rates.

        Args:
            learning_rate: of all variables.
            **kwargs: arguments of keras.optimizers.Adam.
        """
        super().__init__(learning_rate, **kwargs)
        self._step = _Step()

    def _backend_update_step(
        self, grads: Sequence[tf.Tensor], trainable_variables: Sequence[keras.Variable], learning_rate: Any
    ) -> None:
        """Update all variables. One device needs nothing of what Keras traces for each variable to distribute it."""
        self._step.factors.clear()
        if count_replicas() > 1 or not can_use_kernels():
            super()._backend_update_step(grads, trainable_variables, learning_rate)
        else:
            rate = tf.convert_to_tensor(learning_rate)
            for gradient, variable in zip(grads, trainable_variables, strict=True):
                self.update_step(gradient, variable, rate)
        self._step.factors.clear()

    def _find_factors(self, betas: tuple[float, float]) -> AdamFactors:
        """Return the factors of the present step."""
        if betas not in self._step.factors:
            self._step.factors[betas] = compute_adam_factors(self.iterations, betas, self.epsilon)
        return self._step.factors[betas]

    def update_step(
        self, gradient: tf.Tensor, variable: keras.Variable | tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Update one variable and its two moments."""
        if not can_use_kernels():
            super().update_step(gradient, variable, learning_rate)
            return
        index = self._get_variable_index(variable)
        momentum, velocity = self._momentums[index], self._velocities[index]
        factors = self._find_factors((self.beta_1, self.beta_2))
        apply_adam(variable, momentum, velocity, gradient, learning_rate, factors)

    def to_keras(self) -> keras.optimizers.Adam:
        """Build Keras' own Adam or AdamW with the same settings and variables of the same shapes."""
        config = keras.optimizers.Adam.get_config(self)
        kind = keras.optimizers.AdamW if self.weight_decay else keras.optimizers.Adam
        return kind.from_config({**config, "name": kind.__name__.lower()})
