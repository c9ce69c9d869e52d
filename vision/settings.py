"""The settings that every training has."""

import dataclasses
import typing

from vision.errors import UserError


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Training.

    Args:
        epochs: Passes over the training images.
        batch_size: Images a step.
        learning_rate: Of the Adam optimizer.
        data_aug: Random resized crop, horizontal flip and colour jitter of the training images.
        class_weights: `balanced` weighs each training image by the inverse of its class's frequency.
    """

    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-3
    data_aug: bool = False
    class_weights: typing.Literal["none", "balanced"] = "none"


def check_training(config):
    """Refuse numbers that cannot be trained with.

    Raises:
        UserError: names the option.
    """
    for name in ("epochs", "batch_size"):
        if getattr(config, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} {getattr(config, name)}: must be at least 1")
    if not 0 < config.learning_rate < float("inf"):
        raise UserError(f"--learning-rate {config.learning_rate}: must be above 0")
