"""The plan for the five-block network: image size, number format and training options that were not given."""

import dataclasses
import statistics
from collections.abc import Iterator, Sequence

from cnn_scratch.config import TrainConfig
from cnn_scratch.model import compute_network_cost
from workbench.config import parse_duration
from workbench.data.dataset import DEFAULT_SIZES, Dataset
from workbench.data.decoding import UnreadableImage, read_dimensions
from workbench.data.source import Item, Source
from workbench.data.sources import open_source
from workbench.runtime import count_devices, list_gpus
from workbench.training.plan import Facts, apply_plan, plan_training
from workbench.training.speed import choose_fast_precision, count_images, measure_speed

_SIZES = (64, 96, 128)  # sides of the images in pixels that a plan chooses from
_SAMPLES = 32  # images whose size is read
_LEAST_EPOCHS = 12  # a budget must allow so many at the chosen image size


def plan_image_size(config: TrainConfig) -> TrainConfig:
    """Return the configuration with the image size: the photos' own, if it is small and the time allows it.

    Raises:
        UserError: the data cannot be found or read.
    """
    if "image_size" in config.given or config.data.data in DEFAULT_SIZES:
        return config
    source = open_source(config.data.data)
    sides = list(_read_sides(source))
    own = statistics.median(sides) if sides else _SIZES[-1]
    sizes = [size for size in _SIZES if size < own]  # one of them, or the next larger one
    sizes = list(_SIZES[: len(sizes) + 1])
    budget = parse_duration(config.training.budget)
    if budget:
        speed = max(measure_speed().values())
        for size in sizes[:0:-1]:
            multiply_adds = compute_network_cost(config.network, size, len(source.class_names)).multiply_adds
            if count_images(budget, speed, multiply_adds) < _LEAST_EPOCHS * source.num_items:
                sizes.remove(size)
    return dataclasses.replace(config, data=dataclasses.replace(config.data, image_size=sizes[-1]))


def plan_options(config: TrainConfig, dataset: Dataset) -> TrainConfig:
    """Return the configuration with the options of the training that were not given, and print what was chosen."""
    training, image_size, images_in_time = config.training, dataset.image_size, None
    speed, budget = measure_speed(), parse_duration(training.budget)
    precision = choose_fast_precision(speed)
    if budget:
        cost = compute_network_cost(config.network, image_size, len(dataset.class_names))
        images_in_time = count_images(budget, speed[precision], cost.multiply_adds)
    facts = Facts(
        num_images=len(dataset.train),
        image_size=image_size,
        can_grow=config.network.head == "gap",
        epochs=training.epochs if "epochs" in config.given else None,
        optimizer=training.optimizer if "optimizer" in config.given else None,
        images_in_time=images_in_time,
        devices=count_devices(training.strategy),
    )
    values = plan_training(facts) | ({} if list_gpus() else {"precision": precision})
    return apply_plan(config, values, config.given)


def _read_sides(source: Source) -> Iterator[int]:
    """Yield the shorter side of some images, evenly spread over the source, in pixels."""
    step = max(1, source.num_items // _SAMPLES)
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
