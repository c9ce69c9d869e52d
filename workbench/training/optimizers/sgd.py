"""Stochastic gradient descent whose step is one kernel of TensorFlow's."""

import keras
import tensorflow as tf

from workbench.training.optimizers.fused import can_use_kernels, get_handle


class FusedSGD(keras.optimizers.SGD):
    """SGD with momentum, by default Nesterov's, and decoupled weight decay, whose step is one kernel of TensorFlow's.

    Source: Sutskever et al., On the importance of initialization and momentum in deep learning, ICML 2013.
    """

    def update_step(
        self, gradient: tf.Tensor, variable: keras.Variable | tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Update one variable and its momentum."""
        if not can_use_kernels():
            super().update_step(gradient, variable, learning_rate)
            return
        dtype = variable.dtype
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=get_handle(variable),
            accum=get_handle(self.momentums[self._get_variable_index(variable)]),
            lr=tf.cast(learning_rate, dtype),
            grad=gradient,
            momentum=tf.constant(self.momentum, dtype),
            use_nesterov=self.nesterov,
        )

    def to_keras(self) -> keras.optimizers.SGD:
        """Build Keras' own SGD with the same settings and variables of the same shapes."""
        return keras.optimizers.SGD.from_config({**self.get_config(), "name": "sgd"})
