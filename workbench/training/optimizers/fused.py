"""What our optimizers share: steps that are one kernel of TensorFlow's, and a copy of Keras' own classes to save."""

from typing import Protocol, runtime_checkable

import keras
import tensorflow as tf

from workbench.runtime import count_replicas, list_gpus


@runtime_checkable
class SavedAsKeras(Protocol):
    """An optimizer of ours, saved as one of Keras'."""

    def to_keras(self) -> keras.Optimizer:
        """Build Keras' own optimizer with the same settings and variables of the same shapes."""
        ...


def can_use_kernels() -> bool:
    """Return whether an optimizer's step may be one of TensorFlow's kernels, which read and write memory once.

    With a GPU the compiler fuses Keras' own step, and where several devices mirror the variables the kernels do not
    work.
    """
    return not list_gpus() and count_replicas() == 1


def get_handle(variable: keras.Variable | tf.Variable) -> tf.Tensor:
    """Return the resource that TensorFlow's kernels read and write."""
    return (variable.value if isinstance(variable, keras.Variable) else variable).handle


def apply_adam(
    variable: keras.Variable | tf.Variable,
    momentum: keras.Variable,
    velocity: keras.Variable,
    gradient: tf.Tensor,
    learning_rate: tf.Tensor,
    *,
    step: tf.Tensor,
    betas: tuple[float, float],
    epsilon: float,
) -> None:
    """Update a variable and its two moments by one kernel of TensorFlow's.

    Args:
        variable, momentum, velocity: are changed.
        gradient: of `variable`, of its shape.
        learning_rate: scalar.
        step: number of the step, counted from 0.
        betas: how much of the momentum and of the velocity is kept.
        epsilon: is added to the root of the velocity.

    Source: Kingma and Ba, Adam, ICLR 2015. It computes what keras.optimizers.Adam computes, but rounds differently.
    """
    dtype = variable.dtype
    beta_1, beta_2 = (tf.constant(beta, dtype) for beta in betas)
    number = tf.cast(tf.convert_to_tensor(step) + 1, dtype)
    tf.raw_ops.ResourceApplyAdam(
        var=get_handle(variable),
        m=get_handle(momentum),
        v=get_handle(velocity),
        beta1_power=beta_1**number,
        beta2_power=beta_2**number,
        lr=tf.cast(learning_rate, dtype),
        beta1=beta_1,
        beta2=beta_2,
        epsilon=tf.constant(epsilon, dtype),
        grad=gradient,
    )
