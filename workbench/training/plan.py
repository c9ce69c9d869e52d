"""The plan of a training: its options as functions of the number of images, their size, and the expected epochs.

docs/recipe.md says what was measured. The other values are guesses.
"""

import dataclasses
import math
from collections.abc import Collection, Mapping
from typing import Any

from workbench.config import Config, TrainingConfig, flatten, option_name, replace
from workbench.console import console
from workbench.training.progressive_resizing import GRID, list_stages

SMALL, SHORT = 64, 30  # images up to so many pixels, or for so few epochs, are shifted instead of cropped
_EPOCHS, _IMAGES = 44, 576  # epochs of so many training images, without a budget
_EPOCHS_AT_LEAST, _EPOCHS_AT_MOST = 16, 60
_ENOUGH_EPOCHS, _ENOUGH_IMAGES = 15, 8000  # with fewer epochs of so many images, a smaller network learns more
_ENOUGH_POWER = 0.4  # of the number of images, by which these epochs are divided
_ENOUGH_AT_LEAST, _ENOUGH_AT_MOST = 6, 40  # the fewest and the most epochs that are asked for
_MUON_STEPS, _LEAST_MUON_BATCH, _MOST_MUON_BATCH = 64, 32, 128  # steps of an epoch, and the limits of their size
_LEAST_START = 64  # pixels; growing from fewer was not better in the same time
_WARMUP = 0.07  # share of a training with Adam or SGD in which the learning rate rises


@dataclasses.dataclass(frozen=True)
class _Optimizer:
    """What suits an optimizer.

    Attributes:
        learning_rate: for batches of 32 images.
        power: of the batch size, with which the learning rate rises.
        weight_decay: a step shrinks a kernel by this share times the learning rate.
        schedule: of the learning rate.
    """

    learning_rate: float
    power: float
    weight_decay: float
    schedule: str


_OPTIMIZERS = {
    "muon": _Optimizer(1e-2, 0.5, 0.05, "one_cycle"),
    "adam": _Optimizer(1.74e-3, 0.8, 0.05, "cosine"),
    "sgd": _Optimizer(0.03, 0.5, 5e-3, "cosine"),  # its learning rate is higher, so its decay is lower
}


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a plan depends on.

    Attributes:
        num_images: training images.
        image_size: side of the stored images in pixels.
        can_grow: whether the network takes images of other sizes.
        given: option name -> value of the options that were given; all other values follow from them.
        devices: how many devices share each batch.
        seconds: that are left of the budget; None without one.
        pass_seconds: of the forward and backward passes of an epoch with images of the full size.
        update_seconds: of the optimizer's updates in an epoch.
    """

    num_images: int
    image_size: int
    can_grow: bool
    given: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    devices: int = 1
    seconds: float | None = None
    pass_seconds: float = 0.0
    update_seconds: float = 0.0


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


def list_given(config: Any) -> dict[str, Any]:
    """Return option name -> value of the options that were given.

    Args:
        config: of a training, with a field `given`.
    """
    return {name: value for name, value in flatten(config).items() if name in config.given}


def plan_training(facts: Facts) -> dict[str, Any]:
    """Return option name -> value for the options of a training; a value that was given is returned as it is."""
    given, num_images = facts.given, facts.num_images
    optimizer, batch_size = choose_optimizer_and_batch(given, num_images, facts.devices)
    suited = _OPTIMIZERS[optimizer]
    start_size = given.get("start_size", choose_start_size(facts))
    epochs = given.get("epochs", choose_epochs(facts, start_size))
    schedule, data_aug = given.get("schedule", suited.schedule), given.get("data_aug", True)
    is_cropped = given.get("crop_area", 1.0) < 1
    is_shifted = data_aug and not is_cropped and (facts.image_size <= SMALL or epochs <= SHORT)
    chosen = {
        "epochs": epochs,
        "batch_size": batch_size,
        "optimizer": optimizer,
        "learning_rate": choose_learning_rate(min(batch_size, num_images), optimizer),
        "schedule": schedule,
        "warmup_epochs": round(_WARMUP * epochs, 2) if schedule == "cosine" else 0.0,  # one_cycle has its own rise
        "weight_decay": suited.weight_decay,
        "label_smoothing": 0.1,
        "data_aug": data_aug,
        "shift": 0.1 if is_shifted else 0.0,
        "start_size": start_size,
        "ema": choose_average(epochs * -(-num_images // batch_size)),
    }
    return {name: given.get(name, value) for name, value in chosen.items()}


def choose_optimizer_and_batch(given: Mapping[str, Any], num_images: int, devices: int) -> tuple[str, int]:
    """Return the optimizer and the batch size: those that were given, else the planned ones.

    Args:
        given: option name -> value of the options that were given.
        num_images: training images.
        devices: how many devices share each batch.
    """
    optimizer = given.get("optimizer", "muon")
    shared = share_batch(choose_batch_size(num_images, optimizer), num_images, devices)
    return optimizer, given.get("batch_size", shared)


def choose_start_size(facts: Facts) -> int:
    """Return half the image size, on the grid of sizes and at least 64 px; 0 if images cannot grow from there."""
    start = max(_LEAST_START, facts.image_size // 2 // GRID * GRID)
    return start if facts.can_grow and start < facts.image_size else 0


def choose_epochs(facts: Facts, start_size: int) -> int:
    """Return the epochs that the time allows; without a budget, fewer epochs the more images."""
    if facts.seconds is None:
        return round(min(_EPOCHS_AT_MOST, max(_EPOCHS_AT_LEAST, _EPOCHS * (_IMAGES / facts.num_images) ** 0.3)))
    sizes = [size for _, size in list_stages(TrainingConfig(start_size=start_size), facts.image_size)]
    rates = [1 / ((size / facts.image_size) ** 2 * facts.pass_seconds + facts.update_seconds) for size in sizes]
    return max(1, round(facts.seconds * sum(rates) / len(rates)))  # the clock gives each size the same time


def count_fewest_epochs(num_images: int) -> float:
    """Return the number of epochs that a budget must allow. If it allows fewer, a smaller network learns more."""
    epochs = _ENOUGH_EPOCHS * (_ENOUGH_IMAGES / num_images) ** _ENOUGH_POWER
    return min(_ENOUGH_AT_MOST, max(_ENOUGH_AT_LEAST, epochs))


def choose_batch_size(num_images: int, optimizer: str) -> int:
    """Return a power of two: with Muon from 32 to 128 for about 64 steps an epoch, else from 16 to 64 for about 125."""
    if optimizer == "muon":
        power = round(math.log2(max(1, num_images / _MUON_STEPS)))
        return min(_MOST_MUON_BATCH, max(_LEAST_MUON_BATCH, 2**power))
    return next((size for size in (16, 32) if num_images < 1.5 * 125 * size / 2), 64)


def share_batch(batch_size: int, num_images: int, devices: int) -> int:
    """Return a batch size near this one that is a multiple of the devices and has at most all images."""
    if devices == 1:
        return batch_size
    return max(1, min(-(-batch_size // devices), num_images // devices)) * devices


def choose_learning_rate(batch_size: int, optimizer: str) -> float:
    """Return the learning rate of an optimizer. It rises with the batch size, less than in proportion to it."""
    suited = _OPTIMIZERS[optimizer]
    return float(f"{suited.learning_rate * (batch_size / 32) ** suited.power:.2g}")


def choose_average(steps: int) -> float:
    """Return the momentum of the weights' moving average, which reaches back over about 5 % of the steps."""
    return round(1 - 1 / min(1000, max(4, 0.05 * steps)), 4)
