"""Where a network's graph is one tensor wide: the places at which it can be cut in two."""

import collections


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
