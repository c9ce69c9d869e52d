"""Find the layers that one operation can compute together, and the positions at which their output is needed.

A 1x1 convolution of stride 2 reads every second row and column only. Where all users of a map are such, as at the end
of a stage of ResNet50, the rest of the map is not computed. This holds for what comes before it as well, up to the next
convolution larger than 1x1, which gets the stride in place of the others.
"""

import dataclasses

import keras
from keras import layers

from workbench.keras_graph import count_calls, list_consumers, list_inputs, list_outputs


@dataclasses.dataclass(frozen=True, eq=False)
class Unit:
    """A convolution and what follows it, computed together.

    Attributes:
        layer: the convolution.
        norm: its frozen batch norm, if it has one.
        add: the sum that its output is part of, if it is computed too.
        activation: `linear`, `relu` or `relu6`.
        parts: all these layers in order; the last one's output is the unit's.
    """

    layer: layers.Layer
    norm: layers.BatchNormalization | None
    add: layers.Add | None
    activation: str
    parts: tuple[keras.Operation, ...]

    @property
    def end(self) -> keras.Operation:
        """The operation whose output is the unit's."""
        return self.parts[-1]

    @property
    def is_pointwise(self) -> bool:
        """Whether the kernel is 1x1."""
        return tuple(self.layer.kernel_size) == (1, 1)


def find_units(model: keras.Model) -> list[Unit]:
    """Return the units of a functional model in order; none if one of its layers is called more than once."""
    if count_calls(model) != len(model.operations):
        return []
    consumers, outputs = list_consumers(model), set(list_outputs(model))
    position = {operation: index for index, operation in enumerate(model.operations)}

    def find_next(operation: keras.Operation) -> keras.Operation | None:
        """Return the only user of an operation's output."""
        following = consumers[operation]
        return following[0] if len(following) == 1 and operation not in outputs else None

    units = []
    for layer in filter(_is_convolution, model.operations):
        norm = add = None
        parts = [layer]
        following = find_next(layer)
        if _is_frozen_norm(following):
            norm = following
            parts.append(norm)
            following = find_next(norm)
        if type(following) is layers.Add and _comes_last(parts[-1], following, position):
            add = following
            parts.append(add)
            following = find_next(add)
        activation = _find_activation(following)
        if activation != "linear":
            parts.append(following)
        if len(parts) > 1:
            units.append(Unit(layer, norm, add, activation, tuple(parts)))
    return units


def find_strides(model: keras.Model, units: list[Unit]) -> dict[keras.Operation, int]:
    """Return operation -> n, where only every n-th row and column of its output is needed; 1 is left out.

    Args:
        model: functional Keras model.
        units: its units.
    """
    consumers, unit_of = list_consumers(model), {part: unit for unit in units for part in unit.parts}
    outputs = set(list_outputs(model))
    strides: dict[keras.Operation, int] = {}
    for operation in reversed(model.operations):
        unit = unit_of.get(operation)
        if unit is None or unit.end is not operation or operation in outputs:
            continue
        needed = {_find_needed_stride(unit_of.get(user), user, operation, strides) for user in consumers[operation]}
        if len(needed) == 1 and needed != {1}:
            strides[operation] = needed.pop()
    return strides


def _find_needed_stride(
    unit: Unit | None, user: keras.Operation, operation: keras.Operation, strides: dict[keras.Operation, int]
) -> int:
    """Return at which positions `user`, a part of `unit`, needs the output of an operation."""
    if unit is None:
        return 1
    after = strides.get(unit.end, 1)
    if user is unit.add:  # `operation` is the other part of the sum
        return after
    return after * unit.layer.strides[0] if unit.is_pointwise else 1


def _comes_last(operation: keras.Operation, add: layers.Add, position: dict[keras.Operation, int]) -> bool:
    """Return whether an operation is the last of the two parts of a sum of equal shapes."""
    inputs = list_inputs(add)
    return (
        len(set(inputs)) == len(inputs) == 2
        and max(inputs, key=position.__getitem__) is operation
        and inputs[0].output.shape == inputs[1].output.shape
    )


def _is_convolution(layer: keras.Operation) -> bool:
    """Return whether a layer is a convolution that `convolution.py` computes."""
    if type(layer) not in (layers.Conv2D, layers.DepthwiseConv2D):
        return False
    return (
        layer.activation is keras.activations.linear
        and layer.data_format == "channels_last"
        and getattr(layer, "groups", 1) == 1
        and tuple(layer.dilation_rate) == (1, 1)
        and layer.strides[0] == layer.strides[1]
        and None not in layer.output.shape[1:]
    )


def _is_frozen_norm(operation: keras.Operation | None) -> bool:
    """Return whether an operation is a batch norm of the channels that is not trained."""
    if not isinstance(operation, layers.BatchNormalization):
        return False
    return type(operation) is layers.BatchNormalization and not operation.trainable and operation.axis in (-1, 3)


def _find_activation(operation: keras.Operation | None) -> str:
    """Return the name of an activation that can be fused; `linear` for anything else."""
    if isinstance(operation, layers.ReLU) and operation.negative_slope == operation.threshold == 0:
        return {None: "relu", 6.0: "relu6"}.get(operation.max_value, "linear")
    if isinstance(operation, layers.Activation):
        names = {keras.activations.relu: "relu", keras.activations.relu6: "relu6"}
        return names.get(operation.activation, "linear")
    return "linear"
