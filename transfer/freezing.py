"""The three strategies, through `layer.trainable`: what of a network is frozen, and what trains."""

import dataclasses
import difflib
import math

import keras
from rich.table import Table

from transfer.backbone import DROPOUT
from workbench.errors import UserError
from workbench.keras_graph import FLOAT32_LAYERS, find_cuts


@dataclasses.dataclass(frozen=True)
class Stage:
    """The backbone's layers of one resolution: `layers[start:stop]`, its output the only tensor that leaves it."""

    start: int
    stop: int
    layers: list


def stages(network):
    """The backbone's stages in order. Those of ResNet50 begin at layers 0, 7, 39, 81 and 143."""
    position = {layer: index for index, layer in enumerate(network.layers)}
    whole = [position[operation] + 1 for operation in find_cuts(network.model) if operation in position]
    starts, resolution = [0], None
    for index, layer in enumerate(network.layers):
        if not layer.weights or len(layer.output.shape) != 4:
            continue
        size = layer.output.shape[1]
        if resolution is not None and size < resolution:
            starts.append(max(stop for stop in [0, *whole] if stop <= index))
        resolution = size if resolution is None else min(size, resolution)
    starts = sorted(set(starts))
    stops = [*starts[1:], len(network.layers)]
    return [Stage(start, stop, network.layers[start:stop]) for start, stop in zip(starts, stops, strict=True)]


def num_frozen(network, config):
    """How many of the backbone's layers the mode freezes.

    Raises:
        UserError: k or the layer's name is none of this backbone.
    """
    total, starts = len(network.layers), [stage.start for stage in stages(network)[1:]]
    suggested = ", ".join(map(str, starts))
    if config.mode == "last_layer":
        return total
    if config.mode == "all":
        return 0
    if config.until:
        names = [layer.name for layer in network.layers]
        if config.until not in names:
            close = difflib.get_close_matches(config.until, names, n=1, cutoff=0)
            raise UserError(f"--until {config.until}: no layer of {network.name}; did you mean {close[0]}?")
        return names.index(config.until) + 1
    if config.k is None:
        return starts[-1] if starts else total // 2
    if not 1 <= config.k <= total:
        raise UserError(f"--k {config.k}: {network.name} has {total} layers; its stages begin at {suggested}")
    return config.k


def freeze(network, config):
    """Set what trains; returns how many of the backbone's layers are frozen.

    A frozen layer gives the same answer in training as later: its batch norm keeps its statistics (Keras runs
    frozen ones in inference mode), and its dropout is off.
    """
    frozen = num_frozen(network, config)
    for index, layer in enumerate(network.layers):
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = index >= frozen and (config.train_bn or not is_norm)
        if layer.name in network.dropout_rates:
            layer.rate = network.dropout_rates[layer.name] if index >= frozen else 0.0
    return frozen


def last_frozen(network):
    """The last operation that carries all of the image's information and has nothing trained or random before it.

    Its output can be computed once. None where nothing with weights comes before it.
    """
    whole, found, has_weights = set(find_cuts(network.model)), None, False
    for operation in network.model.operations:
        if getattr(operation, "trainable_weights", []) or _is_random(operation):
            break
        has_weights |= bool(getattr(operation, "weights", [])) and not isinstance(operation, FLOAT32_LAYERS)
        if operation in whole and has_weights:
            found = operation
    return found


def _is_random(operation):
    return operation.name == DROPOUT or (isinstance(operation, keras.layers.Dropout) and operation.rate > 0)


def table(network, frozen):
    """What is frozen and what trains, stage by stage, for the screen."""
    shown = Table("layers", "from", "to", "frozen parameters", "trained parameters", box=None, pad_edge=False)
    for column in shown.columns[3:]:
        column.justify = "right"
    for stage in stages(network):
        parts = {stage.start, min(max(frozen, stage.start), stage.stop), stage.stop}
        for start, stop in zip(sorted(parts), sorted(parts)[1:], strict=False):
            layers = network.layers[start:stop]
            shown.add_row(f"{start}-{stop - 1}", layers[0].name, layers[-1].name, *_parameters(layers))
    head = [layer for layer in network.model.layers if layer not in network.layers]
    shown.add_row("head", head[0].name, head[-1].name, *_parameters(head))
    shown.add_section()
    shown.add_row("all", "", "", *_parameters(network.model.layers))
    return shown


def advice(network, frozen):
    """Lines about a k that cuts a residual stage in two."""
    starts = [stage.start for stage in stages(network)[1:]]
    if frozen in (0, len(network.layers), *starts):
        return []
    return [f"--k {frozen} cuts a stage of {network.name} in two; its stages begin at {', '.join(map(str, starts))}"]


def _parameters(layers):
    trained = sum(math.prod(weight.shape) for layer in layers for weight in layer.trainable_weights)
    every = sum(math.prod(weight.shape) for layer in layers for weight in layer.weights)
    return f"{every - trained:,}", f"{trained:,}"
