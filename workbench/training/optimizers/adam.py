"""Adam and AdamW whose step is one kernel of TensorFlow's."""

import keras
import tensorflow as tf

from workbench.training.optimizers.fused import apply_adam, can_use_kernels


class FusedAdam(keras.optimizers.Adam):
    """Adam (or, with `weight_decay`, AdamW) whose step is one kernel of TensorFlow's.

    The kernel reads and writes the memory once, Keras' own step a dozen times.
    """

    def update_step(
        self, gradient: tf.Tensor, variable: keras.Variable | tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Update one variable and its two moments."""
        if not can_use_kernels():
            super().update_step(gradient, variable, learning_rate)
            return
        index = self._get_variable_index(variable)
        apply_adam(
            variable,
            self._momentums[index],
            self._velocities[index],
            gradient,
            learning_rate,
            step=self.iterations,
            betas=(self.beta_1, self.beta_2),
            epsilon=self.epsilon,
        )

    def to_keras(self) -> keras.optimizers.Adam:
        """Build Keras' own Adam or AdamW with the same settings and variables of the same shapes."""
        config = keras.optimizers.Adam.get_config(self)
        kind = keras.optimizers.AdamW if self.weight_decay else keras.optimizers.Adam
        return kind.from_config({**config, "name": kind.__name__.lower()})
