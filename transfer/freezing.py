"""Freeze layers of a network through `layer.trainable`: all of the backbone, its first k layers, or none."""

import dataclasses
import difflib
import itertools
import math
from collections.abc import Sequence

import keras
from rich.table import Table

from transfer.backbone import DROPOUT, Network
from transfer.config import FreezingConfig
from workbench.errors import UserError
from workbench.keras_graph import FLOAT32_LAYERS, find_cuts
from workbench.runtime import count_replicas


@dataclasses.dataclass(frozen=True)
class Stage:
    """The backbone's layers of one resolution.

    Attributes:
        start, stop: the stage's layers are the backbone's `layers[start:stop]`; only the last one's output is used
            by later stages.
        layers: these layers.
    """

    start: int
    stop: int
    layers: list[keras.Layer]


def find_stages(network: Network) -> list[Stage]:
    """Return the backbone's stages in order. Those of ResNet50 begin at layers 0, 7, 39, 81 and 143."""
    position = {layer: index for index, layer in enumerate(network.layers)}
    cuts = [position[operation] + 1 for operation in find_cuts(network.model) if operation in position]
    starts, resolution = {0}, None
    for index, layer in enumerate(network.layers):
        if not layer.weights or len(layer.output.shape) != 4:
            continue
        size = layer.output.shape[1]
        if resolution is not None and size < resolution:
            starts.add(max(cut for cut in [0, *cuts] if cut <= index))
        resolution = size if resolution is None else min(size, resolution)
    ordered = sorted(starts)
    stops = [*ordered[1:], len(network.layers)]
    return [Stage(start, stop, network.layers[start:stop]) for start, stop in zip(ordered, stops, strict=True)]


def count_frozen_layers(network: Network, freezing: FreezingConfig) -> int:
    """Return how many of the backbone's layers are frozen.

    Raises:
        UserError: the backbone has fewer than k layers, or no layer of the given name.
    """
    total, starts = len(network.layers), [stage.start for stage in find_stages(network)[1:]]
    if freezing.mode == "last_layer":
        return total
    if freezing.mode == "all":
        return 0
    if freezing.until:
        names = [layer.name for layer in network.layers]
        if freezing.until not in names:
            close = difflib.get_close_matches(freezing.until, names, n=1, cutoff=0)
            raise UserError(f"--until {freezing.until}: no layer of {network.name}; did you mean {close[0]}?")
        return names.index(freezing.until) + 1
    if freezing.k is None:
        return starts[-1] if starts else total // 2
    if not 1 <= freezing.k <= total:
        begin = ", ".join(map(str, starts))
        raise UserError(f"--k {freezing.k}: {network.name} has {total} layers; its stages begin at {begin}")
    return freezing.k


def freeze(network: Network, freezing: FreezingConfig) -> int:
    """Set which layers are trained, and return how many of the backbone's layers are frozen.

    A frozen layer computes the same in training as in inference: Keras runs a frozen batch norm in inference mode,
    and the rate of a frozen dropout is set to 0.
    """
    num_frozen = count_frozen_layers(network, freezing)
    for index, layer in enumerate(network.layers):
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = index >= num_frozen and (freezing.train_bn or not is_norm)
        if is_norm:
            layer.synchronized = count_replicas() > 1  # then statistics of the whole batch, as on one device
        if layer.name in network.dropout_rates:
            layer.rate = network.dropout_rates[layer.name] if index >= num_frozen else 0.0
    return num_frozen


def find_last_frozen(network: Network) -> keras.Operation | None:
    """Return the last operation whose output can be computed once for each image and stored.

    Nothing before it is trained or random, and its output is all that the later operations need.

    Returns:
        None if no layer with weights comes before it.
    """
    cuts, found, has_weights = set(find_cuts(network.model)), None, False
    for operation in network.model.operations:
        if getattr(operation, "trainable_weights", []) or _is_random(operation):
            break
        has_weights |= bool(getattr(operation, "weights", [])) and not isinstance(operation, FLOAT32_LAYERS)
        if operation in cuts and has_weights:
            found = operation
    return found


def _is_random(operation: keras.Operation) -> bool:
    return operation.name == DROPOUT or (isinstance(operation, keras.layers.Dropout) and operation.rate > 0)


def build_table(network: Network, num_frozen: int) -> Table:
    """Build the table of what is frozen and what is trained, stage by stage."""
    table = Table("layers", "from", "to", "frozen parameters", "trained parameters", box=None, pad_edge=False)
    for column in table.columns[3:]:
        column.justify = "right"
    for stage in find_stages(network):
        bounds = sorted({stage.start, min(max(num_frozen, stage.start), stage.stop), stage.stop})
        for start, stop in itertools.pairwise(bounds):
            layers = network.layers[start:stop]
            table.add_row(f"{start}-{stop - 1}", layers[0].name, layers[-1].name, *_format_parameters(layers))
    head = [layer for layer in network.model.layers if layer not in network.layers]
    table.add_row("head", head[0].name, head[-1].name, *_format_parameters(head))
    table.add_section()
    table.add_row("all", "", "", *_format_parameters(network.model.layers))
    return table


def warn_of_cut_stage(network: Network, num_frozen: int) -> list[str]:
    """Return a line about a k inside a stage; an empty list if k is where a stage begins."""
    starts = [stage.start for stage in find_stages(network)[1:]]
    if num_frozen in (0, len(network.layers), *starts):
        return []
    begin = ", ".join(map(str, starts))
    return [f"--k {num_frozen} cuts a stage of {network.name} in two; its stages begin at {begin}"]


def _format_parameters(layers: Sequence[keras.Layer]) -> tuple[str, str]:
    """Return the numbers of frozen and of trained parameters as text."""
    trained = sum(math.prod(weight.shape) for layer in layers for weight in layer.trainable_weights)
    total = sum(math.prod(weight.shape) for layer in layers for weight in layer.weights)
    return f"{total - trained:,}", f"{trained:,}"
