"""The settings that every training has."""

import dataclasses
import re
import typing

from workbench.errors import UserError

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


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


@dataclasses.dataclass(frozen=True)
class RecipeConfig:
    """Recipe.

    Args:
        schedule: Of the learning rate: `constant`, or `cosine` down to zero at the last step.
        warmup_epochs: Epochs in which the learning rate climbs from zero.
        weight_decay: Decoupled weight decay of kernels (AdamW); 0 is plain Adam.
        label_smoothing: Share of the target that is spread over all classes.
        mixup: Alpha of MixUp: training images are blended in pairs, with their labels; 0 for none.
        cutmix: Alpha of CutMix: a box of one training image is pasted into another; 0 for none.
        erasing: Share of the training images that lose a box of random size to one colour (random erasing).
        ema: Momentum of a moving average of the weights, which is what is validated and saved; 0 for none.
        patience: Epochs without a better validation accuracy after which the training ends; 0 never.
    """

    schedule: typing.Literal["constant", "cosine"] = "constant"
    warmup_epochs: float = 0.0
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    erasing: float = 0.0
    ema: float = 0.0
    patience: int = 0


@dataclasses.dataclass(frozen=True)
class ProgressiveConfig:
    """Progressive image size.

    Args:
        start_size: Side of the training images in the first epochs, in pixels; it grows to --image-size in up to
            four stages of as many epochs, by multiples of 32. Where it is not below --image-size, or 0, nothing
            grows; growing needs --head gap.
    """

    start_size: int = 0


@dataclasses.dataclass(frozen=True)
class BudgetConfig:
    """Budget.

    Args:
        budget: Train for as many epochs as fit into this time, such as 10m or 2h, in place of --epochs.
    """

    budget: str | None = None


@dataclasses.dataclass(frozen=True)
class LearningRateConfig:
    """Learning rate.

    Args:
        lr_find: Do not train; try learning rates and suggest one.
    """

    lr_find: bool = False


@dataclasses.dataclass(frozen=True)
class ExecutionConfig:
    """Execution.

    Args:
        xla: Compile the whole training step by XLA; `auto` does where there is one GPU: on CPUs it is slower.
        steps_per_execution: Steps at most that run without returning to Python; the learning rate stays as it is in
            between. 0 chooses: 8 where there is a GPU, else 1, since on CPUs more gained nothing.
    """

    xla: typing.Literal["auto", "yes", "no"] = "auto"
    steps_per_execution: int = 0


@dataclasses.dataclass(frozen=True)
class PrecisionConfig:
    """Precision.

    Args:
        precision: What maps and products are held in while training; weights, statistics, logits and the saved
            model are float32 always. `auto` measures once which is fastest; `float16` needs a GPU.
    """

    precision: typing.Literal["auto", "float32", "bfloat16", "float16"] = "auto"


@dataclasses.dataclass(frozen=True)
class DevicesConfig:
    """Devices.

    Args:
        strategy: `mirrored` shares each batch between all GPUs of the machine; `single` trains on one.
    """

    strategy: typing.Literal["single", "mirrored"] = "single"


def check_training(config):
    """Refuse numbers that cannot be trained with.

    Args:
        config: has the fields of `TrainingConfig` and `RecipeConfig`.

    Raises:
        UserError: names the option.
    """
    for name in ("epochs", "batch_size"):
        if getattr(config, name) < 1:
            raise UserError(f"{_option(config, name)}: must be at least 1")
    if not 0 < config.learning_rate < float("inf"):
        raise UserError(f"--learning-rate {config.learning_rate}: must be above 0")
    for name in ("warmup_epochs", "weight_decay", "mixup", "cutmix", "patience"):
        if not 0 <= getattr(config, name) < float("inf"):
            raise UserError(f"{_option(config, name)}: must be 0 or more")
    if getattr(config, "steps_per_execution", 0) < 0:
        raise UserError(f"{_option(config, 'steps_per_execution')}: must be 0, which chooses, or more")
    if not 0 <= config.erasing <= 1:
        raise UserError(f"--erasing {config.erasing}: must be between 0 and 1, a share of the images")
    for name in ("label_smoothing", "ema"):
        if not 0 <= getattr(config, name) < 1:
            raise UserError(f"{_option(config, name)}: must be at least 0 and below 1")


def seconds(budget):
    """A budget such as `30m` in seconds; None for none.

    Raises:
        UserError: it is not a number with s, m, h or d.
    """
    if budget is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", budget)
    if not match or float(match[1]) == 0:
        raise UserError(f"--budget {budget}: give a time such as 45s, 30m, 2h or 1d")
    return float(match[1]) * _SECONDS[match[2]]


def _option(config, name):
    return f"--{name.replace('_', '-')} {getattr(config, name)}"
