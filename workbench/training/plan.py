"""The plan of a training: its options as functions of the number of images, their size, and the expected epochs.

Each function was fitted on three data sets at once (docs/recipe.md): 576 flowers, 1,056 objects and 8,000 small photos.
"""

import dataclasses
from typing import Any

from workbench.training.progressive_resizing import GRID

SMALL = 64  # pixels; images up to this size are shifted instead of cropped
_FEW = 576  # training images; with these the reference values below were fitted
_EPOCHS, _FEWEST, _MOST = 44, 16, 60  # of a training without a budget
_BATCH, _RATE = 16, 1e-3  # images in a step, and the learning rate for it


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a plan depends on.

    Attributes:
        num_images: training images.
        image_size: side of the stored images in pixels.
        can_grow: whether the network takes images of other sizes.
        epochs: that are asked for; None if the plan chooses them.
        images_in_time: how many images of the full size can be trained on in the budget; None without a budget.
    """

    num_images: int
    image_size: int
    can_grow: bool
    epochs: int | None = None
    images_in_time: float | None = None


def plan_training(facts: Facts) -> dict[str, Any]:
    """Return option name -> value for the options of a training."""
    start_size = choose_start_size(facts)
    epochs = choose_epochs(facts, start_size)
    batch_size = choose_batch_size(facts.num_images)
    steps = epochs * -(-facts.num_images // batch_size)
    return {
        "epochs": epochs,
        "batch_size": batch_size,
        "optimizer": "adam",
        "learning_rate": choose_learning_rate(batch_size),
        "schedule": "cosine",
        "warmup_epochs": round(0.07 * epochs, 2),
        "weight_decay": 0.05,
        "label_smoothing": 0.1,
        "data_aug": True,
        "shift": 0.1 if facts.image_size <= SMALL else 0.0,
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
        return round(min(_MOST, max(_FEWEST, _EPOCHS * (_FEW / facts.num_images) ** 0.3)))
    share = (
        1 + ((start_size or facts.image_size) / facts.image_size) ** 2
    ) / 2  # of the full size's pixels, on average
    return max(1, round(facts.images_in_time / share / facts.num_images))


def choose_batch_size(num_images: int) -> int:
    """Return the power of two from 16 to 64 that gives about 125 steps an epoch or fewer."""
    return next((size for size in (16, 32) if num_images < 1.5 * 125 * size / 2), 64)


def choose_learning_rate(batch_size: int) -> float:
    """Return a learning rate that rises with the batch size, less than in proportion to it."""
    return round(_RATE * (batch_size / _BATCH) ** 0.8, 4)


def choose_average(steps: int) -> float:
    """Return the momentum of the weights' moving average, which reaches back over about 5 % of the steps."""
    return round(1 - 1 / min(1000, max(4, 0.05 * steps)), 4)
