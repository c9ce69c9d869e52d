"""A network in another number format, and the format in which this machine trains it fastest."""

import math

import keras

from transfer.backbone import LOGITS
from workbench.training.callbacks import stand_in
from workbench.training.optimizer import compiled, step_seconds
from workbench.training.precision import dtype_policy, resolve_precision

EXACT = (keras.layers.Rescaling, keras.layers.Normalization)  # what turns pixels into inputs stays float32
_BATCH = 16  # images of a measured step


def anew(operation, dtype, **changes):
    """A copy of an operation of a functional model, without its weights, that computes in another format.

    Args:
        operation: a layer, or a bare operation such as a sum.
        dtype: dtype policy; what turns pixels into inputs, and the logits, keep to float32.
        **changes: of a layer's configuration.
    """
    if not isinstance(operation, keras.layers.Layer):
        return type(operation).from_config(operation.get_config())
    exact = isinstance(operation, EXACT) or operation.name == LOGITS
    return type(operation).from_config({**operation.get_config(), "dtype": "float32" if exact else dtype, **changes})


def in_precision(model, precision):
    """A model that is trained in the place of `model`, its maps and products held in `precision`.

    Args:
        model: functional Keras model.
        precision: `float32`, `bfloat16` or `float16`; weights are float32 always.

    Returns:
        keras.Model with weights of its own, in the order of those of `model`. Its attribute `plain` returns `model`,
        which is saved in its place.
    """
    policy = dtype_policy(precision)
    return stand_in(keras.models.clone_model(model, clone_function=lambda operation: anew(operation, policy)), model)


def fastest_precision(model, config):
    """The format in which this machine trains a model fastest, or the one that `config` asks for.

    Args:
        model: functional Keras model, frozen as it is to be trained.
        config: a `transfer.config.TransferConfig`.

    Raises:
        UserError: float16 without a GPU.
    """
    trained = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    network = ["training", model.name, len(model.layers), trained, *model.input_shape[1:]]

    def seconds(precision):
        return step_seconds(compiled(in_precision(model, precision), config), config, (_BATCH, *model.input_shape[1:]))

    return resolve_precision(config.precision, network, multiply_adds(model), seconds)


def multiply_adds(model):
    """Multiply-adds of one input's forward pass: each kernel's, at each position of its layer's output."""
    kernels = [(weight, layer) for layer in model.layers for weight in layer.weights if len(weight.shape) > 1]
    return sum(math.prod(weight.shape) * math.prod(layer.output.shape[1:-1]) for weight, layer in kernels)
