"""The plan of a training: its options as functions of the number of images, their size, and the expected epochs.

docs/recipe.md says what was measured. The other values are guesses.
"""

import dataclasses
import math
from collections.abc import Collection, Mapping
from typing import Any

from workbench.config import Config, option_name, replace
from workbench.console import console
from workbench.training.progressive_resizing import GRID

SMALL, SHORT = 64, 30  # images up to so many pixels, or for so few epochs, are shifted instead of cropped
_EPOCHS, _IMAGES = 44, 576  # epochs of so many training images, without a budget
_EPOCHS_AT_LEAST, _EPOCHS_AT_MOST = 16, 60
_ENOUGH_EPOCHS, _ENOUGH_IMAGES = 10, 8000  # with fewer epochs of so many images, a smaller network learns more
_ENOUGH_AT_LEAST, _ENOUGH_AT_MOST = 6, 20  # epochs, for more and for fewer images
_BATCH, _RATE = 16, 1e-3  # fewest images in a step of Adam, and its learning rate for them
_MUON_BATCH, _MUON_RATE = 32, 1e-2  # the same of Muon, whose steps take longer
_MUON_STEPS, _MOST_MUON_BATCH = 64, 128  # steps of an epoch, unless its images are too few or too many


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a plan depends on.

    Attributes:
        num_images: training images.
        image_size: side of the stored images in pixels.
        can_grow: whether the network takes images of other sizes.
        epochs: that are asked for; None if the plan chooses them.
        optimizer: that is asked for; None if the plan chooses it.
        images_in_time: how many images of the full size can be trained on in the budget; None without a budget.
        devices: how many devices share each batch.
    """

    num_images: int
    image_size: int
    can_grow: bool
    epochs: int | None = None
    optimizer: str | None = None
    images_in_time: float | None = None
    devices: int = 1


def is_planned(config: Any) -> bool:
    """Return whether what was not given is planned: with `--recipe planned`; with a budget unless `plain` is given.

    Args:
        config: of a training, with a field `given`.
    """
    training, is_plain = config.training, "recipe" in config.given and config.training.recipe == "plain"
    return training.recipe == "planned" or (training.budget is not None and not is_plain)


def apply_plan(config: Config, values: Mapping[str, Any], given: Collection[str]) -> Config:
    """Return a configuration with the planned values of the options that were not given, and print them."""
    planned = {name: value for name, value in values.items() if name not in given}
    if planned:
        console.print("planned: " + "  ".join(f"{option_name(name)[2:]} {value}" for name, value in planned.items()))
    return replace(config, **planned)


def plan_training(facts: Facts) -> dict[str, Any]:
    """Return option name -> value for the options of a training."""
    start_size = choose_start_size(facts)
    epochs = choose_epochs(facts, start_size)
    optimizer = facts.optimizer or "muon"
    is_muon = optimizer == "muon"
    batch_size = share_batch(choose_batch_size(facts.num_images, optimizer), facts.num_images, facts.devices)
    steps = epochs * -(-facts.num_images // batch_size)
    return {
        "epochs": epochs,
        "batch_size": batch_size,
        "optimizer": optimizer,
        "learning_rate": choose_learning_rate(batch_size, optimizer),
        "schedule": "one_cycle" if is_muon else "cosine",
        "warmup_epochs": 0.0 if is_muon else round(0.07 * epochs, 2),
        "weight_decay": 0.05,
        "label_smoothing": 0.1,
        "data_aug": True,
        "shift": 0.1 if facts.image_size <= SMALL or epochs <= SHORT else 0.0,
        "start_size": start_size,
        "ema": choose_average(steps),
    }


def choose_start_size(facts: Facts) -> int:
    """Return half the image size, on the grid of sizes and at least one step of it; 0 if the images cannot grow."""
    start = max(GRID, facts.image_size // 2 // GRID * GRID)
    return start if facts.can_grow and start < facts.image_size else 0


def choose_epochs(facts: Facts, start_size: int) -> int:
    """Return the epochs that are asked for, else those that the time allows, else fewer epochs the more images."""
    if facts.epochs is not None:
        return facts.epochs
    if facts.images_in_time is None:
        return round(min(_EPOCHS_AT_MOST, max(_EPOCHS_AT_LEAST, _EPOCHS * (_IMAGES / facts.num_images) ** 0.3)))
    start = (start_size or facts.image_size) / facts.image_size
    share = (1 + start**2) / 2  # of the full size's pixels, on average
    return max(1, round(facts.images_in_time / share / facts.num_images))


def count_fewest_epochs(num_images: float) -> float:
    """Return the number of epochs that a budget must allow. If it allows fewer, a smaller network learns more."""
    epochs = _ENOUGH_EPOCHS * (_ENOUGH_IMAGES / num_images) ** 0.3
    return min(_ENOUGH_AT_MOST, max(_ENOUGH_AT_LEAST, epochs))


def choose_batch_size(num_images: int, optimizer: str) -> int:
    """Return a power of two: with Muon from 32 to 128 for about 64 steps an epoch, else from 16 to 64 for about 125."""
    if optimizer == "muon":
        power = round(math.log2(max(1, num_images / _MUON_STEPS)))
        return min(_MOST_MUON_BATCH, max(_MUON_BATCH, 2**power))
    return next((size for size in (16, 32) if num_images < 1.5 * 125 * size / 2), 64)


def share_batch(batch_size: int, num_images: int, devices: int) -> int:
    """Return a batch size near this one that is a multiple of the devices and has at most all images."""
    if devices == 1:
        return batch_size
    return max(1, min(-(-batch_size // devices), num_images // devices)) * devices


def choose_learning_rate(batch_size: int, optimizer: str) -> float:
    """Return Muon's learning rate or Adam's, which both rise with the batch size, less than in proportion to it."""
    if optimizer == "muon":
        return round(_MUON_RATE * math.sqrt(batch_size / _MUON_BATCH), 4)
    return round(_RATE * (batch_size / _BATCH) ** 0.8, 4)


def choose_average(steps: int) -> float:
    """Return the momentum of the weights' moving average, which reaches back over about 5 % of the steps."""
    return round(1 - 1 / min(1000, max(4, 0.05 * steps)), 4)
