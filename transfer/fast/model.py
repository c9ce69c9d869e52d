"""The network as it is fine-tuned: a convolution, its frozen batch norm, sum and activation are one operation.

Its layers and weights are those of the plain network, which is saved. Only how they are computed differs, so any
backbone can be trained this way: a layer that is in no unit of `units.py` is called as it is.
"""

import dataclasses
import math
from typing import Any

import keras
import tensorflow as tf

from transfer.fast.convolution import Geometry, convolve, fold
from transfer.fast.positions import thin
from transfer.fast.units import Unit, find_strides, find_units
from workbench.keras_graph import run_graph
from workbench.runtime import count_replicas, list_gpus
from workbench.training.training_model import TrainingModel


def build_fast_model(model: keras.Model, saved_as: keras.Model, validates_saved: bool = False) -> TrainingModel:
    """Build a model that computes what `model` computes with the same layers, faster, and is trained.

    Args:
        model: functional Keras model; its frozen batch norms must stay frozen.
        saved_as: see `TrainingModel`.
        validates_saved: see `TrainingModel`.

    Returns:
        A model that calls the layers one by one where there is a GPU, on which XLA fuses them, or several devices.
    """
    kind = TrainingModel if list_gpus() or count_replicas() > 1 else FastModel
    return kind(model.input, model.output, saved_as=saved_as, validates_saved=validates_saved, name=saved_as.name)


class FastModel(TrainingModel):
    """A model that is trained, and computed in few operations."""

    def __init__(self, inputs: Any, outputs: Any, **settings: Any) -> None:
        """Find the units of the model; the arguments are those of `TrainingModel`."""
        super().__init__(inputs, outputs, **settings)
        units = find_units(self)
        self._plan = _Plan({part: unit for unit in units for part in unit.parts}, find_strides(self, units))

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None, **kwargs: Any) -> Any:
        """Compute the outputs; in a validation step, with the saved model if `validates_saved`."""
        if self.is_validating_saved:
            return super().call(inputs, training=training, mask=mask, **kwargs)
        return run_graph(self, inputs, _Pass(self._plan).call, training=training)


@dataclasses.dataclass(eq=False)
class _Plan:
    """What is computed together. A class of its own, because Keras would track layers that are in an attribute.

    Attributes:
        unit_of: operation -> the unit that it is a part of.
        strides: see `find_strides`.
    """

    unit_of: dict[keras.Operation, Unit]
    strides: dict[keras.Operation, int]


@dataclasses.dataclass(eq=False)
class _Pending:
    """The inputs of a unit, on their way through its layers to the last one.

    Attributes:
        x: input of the convolution.
        residual: the other part of the sum.
    """

    x: tf.Tensor
    residual: tf.Tensor | None = None


class _Pass:
    """One pass through the network."""

    def __init__(self, plan: _Plan) -> None:
        self._plan = plan
        self._stride_of: dict[Any, int] = {}  # map of which every n-th row and column was computed -> n
        self._thinned: dict[tuple[Any, int], tf.Tensor] = {}

    def call(self, operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        """Return the output of an operation; within a unit, what its next layer needs."""
        unit = self._plan.unit_of.get(operation)
        if unit is None:
            return operation(*args, **kwargs)
        if operation is unit.layer:
            pending = _Pending(args[0])
        elif operation is unit.add:
            (pending,) = (value for value in args[0] if isinstance(value, _Pending))
            (pending.residual,) = (value for value in args[0] if value is not pending)
        else:
            pending = args[0]
        return self._compute(unit, pending) if operation is unit.end else pending

    def _compute(self, unit: Unit, inputs: _Pending) -> tf.Tensor:
        """Compute the output of a unit, at every n-th position if only these are needed."""
        layer, after, dtype = unit.layer, self._plan.strides.get(unit.end, 1), unit.layer.compute_dtype
        stride = layer.strides[0] * after
        if unit.is_pointwise:
            x, stride, padding = tf.cast(self._thin(inputs.x, stride), dtype), 1, "VALID"
        else:
            x, padding = _pad(tf.cast(inputs.x, dtype), layer, stride)
        residual = None if inputs.residual is None else tf.cast(self._thin(inputs.residual, after), dtype)
        geometry = Geometry(stride, padding, isinstance(layer, keras.layers.DepthwiseConv2D), unit.activation)
        output = convolve(x, fold(layer, unit.norm, dtype), residual, geometry)
        self._stride_of[output.ref()] = after
        return output

    def _thin(self, x: tf.Tensor, stride: int) -> tf.Tensor:
        """Return every `stride`-th row and column of a map, of which `x` may have some only."""
        step = stride // self._stride_of.get(x.ref(), 1)
        if step == 1:
            return x
        key = x.ref(), step
        if key not in self._thinned:  # several users share it, so that their gradients are added when they are small
            self._thinned[key] = thin(x, step)
        return self._thinned[key]


def _pad(x: tf.Tensor, layer: keras.layers.Layer, stride: int) -> tuple[tf.Tensor, str]:
    """Return (maps, padding) with which a layer computes with another stride what it computes with its own."""
    if layer.padding == "valid" or stride == layer.strides[0]:
        return x, layer.padding.upper()
    sides = [_count_zeros(*pair, layer.strides[0]) for pair in zip(x.shape[1:3], layer.kernel_size, strict=True)]
    return tf.pad(x, [(0, 0), *((total // 2, total - total // 2) for total in sides), (0, 0)]), "VALID"


def _count_zeros(side: int, kernel: int, stride: int) -> int:
    """Return how many zeros the padding `same` adds to one side of a map."""
    return max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
