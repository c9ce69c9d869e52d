"""Train a network in another number format, and choose the format in which this machine trains it fastest."""

import functools
import math

import keras

from transfer.fast.model import build_fast_model
from workbench.config import TrainingConfig
from workbench.keras_graph import rebuild
from workbench.training.optimizer import compile_model, measure_step_seconds
from workbench.training.precision import choose_precision, get_dtype_policy
from workbench.training.training_model import TrainingModel


def build_in_precision(model: keras.Model, precision: str) -> TrainingModel:
    """Build the model that is trained in place of `model`, its activations and products held in `precision`.

    Args:
        model: functional Keras model; it is what is saved.
        precision: `float32`, `bfloat16` or `float16`. Weights are always float32.

    Returns:
        A model with weights of its own; in float32, a model of the same layers.
    """
    copy = model if precision == "float32" else rebuild(model, dtype=get_dtype_policy(precision))
    return build_fast_model(copy, saved_as=model, validates_saved=precision != "float32")


def choose_model_precision(model: keras.Model, training: TrainingConfig) -> str:
    """Return the number format in which this machine trains a model fastest, or the one that `training` asks for.

    Args:
        model: functional Keras model, frozen as it is to be trained.
        training: settings with which it is to be trained.

    Raises:
        UserError: float16 without a GPU.
    """
    num_trained = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    settings = [training.batch_size, model.name, len(model.layers), num_trained, *model.input_shape[1:]]
    facts = ["training, convolved by tiles", *settings]

    @functools.cache
    def build(precision: str) -> TrainingModel:
        copy = rebuild(model, dtype=get_dtype_policy(precision))  # its weights change
        fast = build_fast_model(copy, saved_as=copy)
        compile_model(fast, training)
        return fast

    def measure_step(precision: str) -> float:
        return measure_step_seconds(build(precision), training, (training.batch_size, *model.input_shape[1:]))

    return choose_precision(training.precision, facts, count_multiply_adds(model), measure_step)


def count_multiply_adds(model: keras.Model) -> int:
    """Return the multiply-adds of one input's forward pass: each kernel's, at each position of its layer's output."""
    kernels = [(weight, layer) for layer in model.layers for weight in layer.weights if len(weight.shape) > 1]
    return sum(math.prod(weight.shape) * math.prod(layer.output.shape[1:-1]) for weight, layer in kernels)
