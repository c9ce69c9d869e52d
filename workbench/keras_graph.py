"""A network's graph: flat, and the places at which it is one tensor wide and can be cut in two."""

import collections
import functools

import keras


def inputs_of(operation):
    """The operations whose outputs an operation of a functional model takes, in order, one entry for each use."""
    return [tensor._keras_history.operation for tensor in operation._inbound_nodes[0].input_tensors]


def consumers(model):
    """operation -> list of the operations of `model` that take its output."""
    taken = collections.defaultdict(list)
    for operation in model.operations:
        for source in inputs_of(operation):
            taken[source].append(operation)
    return taken


def cuts(model):
    """The operations, in order, after which a single tensor carries all that the rest of the model needs."""
    taken = consumers(model)
    waiting, found = {}, []  # operation -> how many consumers are still to come
    for operation in model.operations:
        for source in inputs_of(operation):
            waiting[source] -= 1
            if not waiting[source]:
                del waiting[source]
        waiting[operation] = len(taken[operation])
        if len(waiting) == 1:
            found.append(operation)
    return found


def flat(model):
    """`model`, or a copy of it in which the layers of each keras.Sequential that stands as a layer are its own."""
    if not any(isinstance(layer, keras.Sequential) for layer in model.layers):
        return model

    def clone(operation):
        is_chain = isinstance(operation, keras.Sequential)
        return operation if is_chain else type(operation).from_config(operation.get_config())

    def call(operation, *args, **kwargs):
        if not isinstance(operation, keras.Sequential):
            return operation(*args, **kwargs)
        return functools.reduce(lambda x, layer: clone(layer)(x), operation.layers, *args)

    copy = keras.models.clone_model(model, clone_function=clone, call_function=call)
    weights = {layer.name: layer.get_weights() for layer in _layers(model)}
    for layer in copy.layers:
        layer.set_weights(weights[layer.name])
    return copy


def _layers(model):
    """The layers of a model, those of a keras.Sequential in it one by one."""
    for layer in model.layers:
        yield from layer.layers if isinstance(layer, keras.Sequential) else [layer]
