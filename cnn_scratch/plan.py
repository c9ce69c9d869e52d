"""The plan for the five-block network: image size, width, number format and training options that were not given.

docs/recipe.md says what was measured.
"""

import dataclasses
import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from cnn_scratch.config import SMALLEST_IMAGE, NetworkConfig, TrainConfig, check_network
from cnn_scratch.model import compute_network_cost, list_hidden_kernels
from workbench.clock import count_seconds_left
from workbench.config import parse_duration
from workbench.data.dataset import DEFAULT_SIZES, Dataset
from workbench.data.decoding import UnreadableImage, read_dimensions
from workbench.data.source import Item, Source
from workbench.data.sources import open_source
from workbench.runtime import count_devices, list_gpus
from workbench.training.optimizers.muon import count_multiply_adds
from workbench.training.plan import (
    Facts,
    apply_plan,
    choose_optimizer_and_batch,
    count_fewest_epochs,
    list_given,
    plan_training,
)
from workbench.training.speed import choose_fast_precision, estimate_speed

_NETWORK: dict[str, Any] = {"filter_org": "double", "head": "gap", "dense_units": 0, "batch_norm": True}
_SIZES = (32, 64, 96, 128)  # sides of the images in pixels that a plan chooses from
_WIDTHS = (32, 24, 16)  # filters of the first block, the best first
_LEAST_SIZE = 64  # pixels; only photos of up to 32 px are trained on smaller than this, if there is too little time
_TRAINED = 0.65  # share of the images that are in the training split, about
_SAMPLES = 32  # images whose size is read, at most


def plan_network(config: TrainConfig) -> TrainConfig:
    """Return the configuration with the image size and the network.

    The images are as large as the photos, from 64 to 128 px, and the first block has 32 filters. If a budget allows too
    few epochs then, the images are smaller, down to 64 px; if that is not enough, the network is narrower too. Photos
    of up to 32 px are not enlarged to 64 px if that takes too long with the narrowest network.

    Raises:
        UserError: the network cannot be built, see `check_network`, or the data cannot be found or read.
    """
    missing = {name: value for name, value in _NETWORK.items() if name not in config.given}
    network = dataclasses.replace(config.network, **missing)
    check_network(network, SMALLEST_IMAGE if config.data.image_size is None else config.data.image_size)
    source = open_source(config.data.data)
    choices = _list_choices(_list_sizes(config, source), _list_widths(config))
    budget = parse_duration(config.training.budget)
    if budget:
        seconds = count_seconds_left(budget)
        choices = [
            (size, width)
            for size, width in choices
            if _has_time(config, dataclasses.replace(network, num_filters=width), size, source, seconds)
        ] or choices[-1:]
    size, width = choices[0]
    return apply_plan(config, {"image_size": size, "num_filters": width, **_NETWORK}, config.given)


def plan_options(config: TrainConfig, dataset: Dataset) -> TrainConfig:
    """Return the configuration with the options of the training that were not given, and print what was chosen."""
    training, image_size, num_images = config.training, dataset.image_size, len(dataset.train)
    facts = Facts(
        num_images=num_images,
        image_size=image_size,
        can_grow=config.network.head == "gap",
        given=list_given(config),
        devices=count_devices(training.strategy),
    )
    budget, precision = parse_duration(training.budget), _find_precision(config)
    if budget:
        passes, updates = _estimate_epoch_seconds(
            config, config.network, image_size, len(dataset.class_names), num_images
        )
        seconds = count_seconds_left(budget)
        facts = dataclasses.replace(facts, seconds=seconds, pass_seconds=passes, update_seconds=updates)
    values = plan_training(facts) | ({} if precision == "auto" else {"precision": precision})
    return apply_plan(config, values, config.given)


def _find_precision(config: TrainConfig) -> str:
    """Return the number format that was given, or the faster one; `auto` if none was given and there is a GPU."""
    if "precision" in config.given:
        return config.training.precision
    return "auto" if list_gpus() else choose_fast_precision()


def _list_choices(sizes: list[int], widths: list[int]) -> list[tuple[int, int]]:
    """Return pairs of image size and width, the best first."""
    large = [size for size in sizes if size >= _LEAST_SIZE] or sizes
    small = [size for size in sizes if size not in large]
    return [
        *((size, widths[0]) for size in large),
        *((large[-1], width) for width in widths[1:]),
        *((size, width) for size in small for width in widths[1:] or widths),
    ]


def _list_sizes(config: TrainConfig, source: Source) -> list[int]:
    """Return the sides of the images in pixels to choose from, the best first."""
    given = config.data.image_size if "image_size" in config.given else DEFAULT_SIZES.get(config.data.data)
    if given:
        return [given]
    sides = list(_read_sides(source))
    own = statistics.median(sides) if sides else _SIZES[-1]
    below = [size for size in _SIZES if size < own]
    needed = _SIZES[: len(below) + 1][-1]  # at least as large as the photos
    return [size for size in _SIZES[::-1] if min(needed, _LEAST_SIZE) <= size <= max(needed, _LEAST_SIZE)]


def _list_widths(config: TrainConfig) -> list[int]:
    """Return the numbers of the first block's filters to choose from, the best first."""
    return [config.network.num_filters] if "num_filters" in config.given else list(_WIDTHS)


def _has_time(config: TrainConfig, network: NetworkConfig, size: int, source: Source, seconds: float) -> bool:
    """Return whether the time allows enough epochs, all counted with this size, although the first may be smaller.

    Args:
        config: of the training.
        network: that is trained.
        size: side of the images in pixels.
        source: of the images.
        seconds: the time.
    """
    num_images = max(1, round(_TRAINED * source.num_items))
    epoch = _estimate_epoch_seconds(config, network, size, len(source.class_names), num_images)
    return seconds >= count_fewest_epochs(num_images) * sum(epoch)


def _estimate_epoch_seconds(
    config: TrainConfig, network: NetworkConfig, image_size: int, num_classes: int, num_images: int
) -> tuple[float, float]:
    """Estimate the seconds of an epoch: of the forward and backward passes, and of the optimizer's updates.

    Muon's matrix products, in float32, can take longer than the passes where images or batches are small. The updates
    of other optimizers count as nothing.

    Args:
        config: of the training.
        network: that is trained.
        image_size: side of the images in pixels.
        num_classes: outputs of the network.
        num_images: training images.
    """
    optimizer, batch_size = choose_optimizer_and_batch(
        list_given(config), num_images, count_devices(config.training.strategy)
    )
    of_image = compute_network_cost(network, image_size, num_classes).multiply_adds
    passes = num_images * 3 * of_image / estimate_speed(_find_precision(config))
    if optimizer != "muon":
        return passes, 0.0
    of_step = sum(count_multiply_adds(*shape) for shape in list_hidden_kernels(network, image_size))
    return passes, -(-num_images // batch_size) * of_step / estimate_speed("float32")


def _read_sides(source: Source) -> Iterator[int]:
    """Yield the shorter side of some images, evenly spread over the source, in pixels."""
    step = max(1, math.ceil(source.num_items / _SAMPLES))
    for item in _load_every(step, source):
        try:
            data = item.read()
            if data is not None:
                yield min(read_dimensions(data))
        except (UnreadableImage, OSError):  # such as a link to a file that is gone; decoding counts and reports it
            continue


def _load_every(step: int, source: Source) -> Iterator[Item]:
    """Yield the first item of every `step` ones."""
    items = source.load_items()
    if isinstance(items, Sequence):
        yield from items[::step]
    else:  # items that are read one after the other: skip those in between
        for start in range(0, source.num_items, step):
            yield next(iter(source.load_items(start)))
