"""Whether XLA compiles the training step."""

import functools

import tensorflow as tf

from workbench.console import console
from workbench.runtime import count_replicas, list_gpus


def uses_xla() -> bool:
    """Return whether XLA compiles the training step: if one GPU trains, and XLA works there. On CPUs it is slower."""
    gpus = list_gpus()
    return len(gpus) > 0 and count_replicas() == 1 and _can_compile(gpus[0])


@functools.cache
def _can_compile(gpu: str) -> bool:
    """Return whether XLA can compile for a GPU, and print why not: it needs parts of CUDA that may be missing."""
    try:
        with tf.init_scope(), tf.device(gpu):
            tf.function(_compute, autograph=False, jit_compile=True)(tf.ones((8, 8)))
    except tf.errors.OpError as error:
        reason = str(error).partition("\n")[0]
        console.print(f"training without XLA, which cannot compile for the GPU: {reason}", style="yellow")
        return False
    return True


def _compute(matrix: tf.Tensor) -> tf.Tensor:
    """Compute something that XLA compiles with CUDA's mathematical functions."""
    return tf.exp(tf.matmul(matrix, matrix))
