"""What our optimizers share: steps that are one kernel of TensorFlow's, and a copy of Keras' own classes to save."""

from typing import NamedTuple, Protocol, runtime_checkable

import keras
import tensorflow as tf

from workbench.training.xla import uses_xla


@runtime_checkable
class SavedAsKeras(Protocol):
    """An optimizer of ours, saved as one of Keras'."""

    def to_keras(self) -> keras.Optimizer:
        """Build Keras' own optimizer with the same settings and variables of the same shapes."""
        ...


def can_use_kernels() -> bool:
    """Return whether an optimizer's step may be one of TensorFlow's kernels, which read and write memory once.

    Where XLA compiles the training step, it makes one kernel of what Keras' own optimizer computes.
    """
    return not uses_xla()


def get_handle(variable: keras.Variable | tf.Variable) -> tf.Tensor:
    """Return the resource that TensorFlow's kernels read and write."""
    return (variable.value if isinstance(variable, keras.Variable) else variable).handle


class AdamFactors(NamedTuple):
    """What all variables of a step of Adam's are updated with; scalars, float32.

    Attributes:
        beta_1, beta_2: how much of the momentum and of the velocity is kept.
        power_1, power_2: the betas to the power of the step's number, counted from 1.
        epsilon: is added to the root of the velocity.
    """

    beta_1: tf.Tensor
    beta_2: tf.Tensor
    power_1: tf.Tensor
    power_2: tf.Tensor
    epsilon: tf.Tensor


def compute_adam_factors(step: tf.Tensor, betas: tuple[float, float], epsilon: float) -> AdamFactors:
    """Compute the factors of a step, counted from 0."""
    beta_1, beta_2 = (tf.constant(beta) for beta in betas)
    number = tf.cast(tf.convert_to_tensor(step) + 1, tf.float32)
    return AdamFactors(beta_1, beta_2, beta_1**number, beta_2**number, tf.constant(epsilon))


def apply_adam(
    variable: keras.Variable | tf.Variable,
    momentum: keras.Variable,
    velocity: keras.Variable,
    gradient: tf.Tensor,
    learning_rate: tf.Tensor,
    factors: AdamFactors,
) -> None:
    """Update a variable and its two moments by one kernel of TensorFlow's.

    Args:
        variable, momentum, velocity: float32; are changed.
        gradient: of `variable`, of its shape.
        learning_rate: scalar.
        factors: of the step.

    Source: Kingma and Ba, Adam, ICLR 2015. It computes what keras.optimizers.Adam computes, but rounds differently.
    """
    tf.raw_ops.ResourceApplyAdam(
        var=get_handle(variable),
        m=get_handle(momentum),
        v=get_handle(velocity),
        beta1_power=factors.power_1,
        beta2_power=factors.power_2,
        lr=tf.convert_to_tensor(learning_rate),
        beta1=factors.beta_1,
        beta2=factors.beta_2,
        epsilon=factors.epsilon,
        grad=gradient,
    )
