"""The graph of a functional Keras model: walk it, find where it can be cut in two, and rebuild it with other layers.

This is the one module that uses private names of Keras. Importing it makes Keras save and load models faster.
"""

import collections
import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras.src.backend.common import global_state
from keras.src.saving import saving_lib

from workbench.runtime import is_multi_worker

LOGITS = "logits"  # name of the layer that gives the logits
FLOAT32_LAYERS = (keras.layers.Rescaling, keras.layers.Normalization)  # they turn pixels into the network's inputs

# Keras skips the attributes that any layer has when it saves or loads one. It keeps their names under one key and looks
# for them under another, so it makes a new layer for each one that is saved: a fifth of the time for saving ResNet50.
saving_lib.get_attr_skipset = functools.cache(saving_lib.get_attr_skipset)


@contextlib.contextmanager
def naming_from_start() -> Iterator[None]:
    """Let Keras name layers as in a new process, such as `add` and `add_1`, whatever was built before.

    Afterwards, Keras uses no name again that it has given inside or before: the names in a model must differ.
    """
    counters = "object_name_uids"  # Keras' name for them: prefix of a name -> how many names have it
    before = global_state.get_global_attribute(counters) or {}
    inside: collections.defaultdict[str, int] = collections.defaultdict(int)
    global_state.set_global_attribute(counters, inside)
    try:
        yield
    finally:
        for prefix, count in before.items():
            inside[prefix] = max(inside[prefix], count)


def list_inputs(operation: keras.Operation) -> list[keras.Operation]:
    """Return the operations whose outputs an operation takes, in order, one entry for each use."""
    return [tensor._keras_history.operation for tensor in operation._inbound_nodes[0].input_tensors]


def list_outputs(model: keras.Model) -> list[keras.Operation]:
    """Return the operations whose outputs are a functional model's."""
    return [tensor._keras_history.operation for tensor in model.outputs]


def list_consumers(model: keras.Model) -> dict[keras.Operation, list[keras.Operation]]:
    """Return operation -> the operations of `model` that take its output."""
    consumers = collections.defaultdict(list)
    for operation in model.operations:
        for source in list_inputs(operation):
            consumers[source].append(operation)
    return consumers


def count_calls(model: keras.Model) -> int:
    """Return how often the operations of a functional model are called in it, its inputs included."""
    return len(model._nodes)


def run_graph(model: keras.Model, inputs: Any, call: Callable[..., Any], **context: Any) -> Any:
    """Compute the outputs of a functional model, its operations called in another way.

    Args:
        model: functional Keras model.
        inputs: as of the model.
        call: called as `call(operation, *args, **kwargs)`, returns the operation's output.
        **context: keyword arguments for those operations that take them, such as `training`.
    """

    def wrap(operation: keras.Operation) -> Callable[..., Any]:
        taken = getattr(operation, "_call_context_args", {})
        known = {name: value for name, value in context.items() if name in taken and value is not None}
        # The graph may hold a value of its own: Keras stores `training=False` for a dropout when it builds the model.
        return lambda *args, **kwargs: call(operation, *args, **{**kwargs, **known})

    outputs = model._run_through_graph(model._standardize_inputs(inputs), operation_fn=wrap)
    return outputs[0] if isinstance(outputs, list) and len(outputs) == 1 else outputs


def find_input(operation: keras.Operation) -> keras.KerasTensor:
    """Return the first input tensor of the functional model that an operation belongs to."""
    while sources := list_inputs(operation):
        operation = sources[0]
    return operation.output


def find_cuts(model: keras.Model) -> list[keras.Operation]:
    """Return the operations, in order, whose output alone is all that the rest of the model needs."""
    consumers = list_consumers(model)
    open_uses: dict[keras.Operation, int] = {}  # operation -> how many consumers are still to come
    cuts = []
    for operation in model.operations:
        for source in list_inputs(operation):
            open_uses[source] -= 1
            if not open_uses[source]:
                del open_uses[source]
        open_uses[operation] = len(consumers[operation])
        if len(open_uses) == 1:
            cuts.append(operation)
    return cuts


def rebuild(
    model: keras.Model,
    change_layer: Callable[[keras.Layer], keras.Layer] | None = None,
    dtype: str | None = None,
    input_tensor: keras.KerasTensor | None = None,
) -> keras.Model:
    """Build a copy of a functional model, with weights of its own, in which layers may be changed.

    Each keras.Sequential that is a layer of the model is replaced by its layers.

    Args:
        model: functional Keras model; it is not changed.
        change_layer: called with the copy of each layer before it is connected, returns the layer to use. If that
            has as many weights as the original, it gets the original's values.
        dtype: dtype policy of the layers, by default their own. Layers that turn pixels into inputs (`Rescaling`,
            `Normalization`) and the layer `logits` get float32 instead.
        input_tensor: input of the copy, by default one like the model's.

    Returns:
        keras.Model, not compiled.
    """
    copies: dict[keras.Layer, keras.Layer] = {}  # layer of `model` -> layer of the copy

    def copy(operation: keras.Operation) -> keras.Operation:
        if isinstance(operation, keras.Sequential):
            return operation  # `call` copies its layers
        if not isinstance(operation, keras.Layer):
            return type(operation).from_config(operation.get_config())
        if operation not in copies:
            made = _copy_layer(operation, dtype)
            copies[operation] = change_layer(made) if change_layer else made
        return copies[operation]

    def call(operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        if isinstance(operation, keras.Sequential):
            return functools.reduce(lambda x, layer: copy(layer)(x), operation.layers, *args)
        if isinstance(operation, keras.layers.Identity):  # takes no mask, which the layer that it replaces may take
            return operation(*args)
        return operation(*args, **kwargs)

    uncompiled = build_uncompiled(model) if model.compiled else model  # else Keras would compile the copy
    inputs = None if input_tensor is None else keras.tree.map_structure(lambda _: input_tensor, uncompiled.input)
    copied = keras.models.clone_model(uncompiled, input_tensors=inputs, clone_function=copy, call_function=call)
    for original, made in copies.items():
        if len(made.weights) == len(original.weights):
            made.set_weights(original.get_weights())
        if isinstance(made, keras.layers.Normalization):
            made.finalize_state()  # computes what it normalizes with from its weights
    return copied


def flatten_model(model: keras.Model) -> keras.Model:
    """Return `model`, or a copy of it in which each keras.Sequential that is a layer is replaced by its layers."""
    return rebuild(model) if any(isinstance(layer, keras.Sequential) for layer in model.layers) else model


def build_uncompiled(model: keras.Model) -> keras.Model:
    """Build a model of the same layers that has no optimizer."""
    return keras.Model(model.inputs, model.outputs, name=model.name)


def get_weight_averages(optimizer: keras.Optimizer) -> list[keras.Variable]:
    """Return the moving averages that an optimizer with `use_ema` makes of the trainable variables, in their order."""
    return getattr(optimizer, "inner_optimizer", optimizer)._model_variables_moving_average


class DistributedModel(keras.Model):
    """A model whose `fit` also works with tf.distribute.MultiWorkerMirroredStrategy, which Keras 3 does not support.

    Keras averages what a step returns over the processes along the first axis, which scalars lack. And before a
    training or a validation on several devices, Keras averages a batch over them to find out its shape, for which
    variables are made. TensorFlow refuses that for several processes, and `compile_model` has made the variables.
    """

    def _maybe_symbolic_build(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: all variables exist already. With several devices in one process, this saves time."""

    def train_step(self, data: Any) -> dict[str, Any]:
        """Train one batch, as keras.Model does."""
        return _add_axis(super().train_step(data))

    def test_step(self, data: Any) -> dict[str, Any]:
        """Compute loss and metrics of a batch, as keras.Model does."""
        return _add_axis(super().test_step(data))


def _add_axis(logs: dict[str, Any]) -> dict[str, Any]:
    return {name: keras.ops.reshape(value, (1,)) for name, value in logs.items()} if is_multi_worker() else logs


def _copy_layer(layer: keras.Layer, dtype: str | None) -> keras.Layer:
    """Copy a layer without its weights; see `rebuild` for `dtype`."""
    config = layer.get_config()
    if dtype is not None:
        config["dtype"] = "float32" if isinstance(layer, FLOAT32_LAYERS) or layer.name == LOGITS else dtype
    return type(layer).from_config(config)
