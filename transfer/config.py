"""The settings of a fine-tuning, and the values that depend on its mode."""

import dataclasses
import typing

from workbench.config import DataConfig
from workbench.data.dataset import resolve_image_size
from workbench.errors import UserError
from workbench.finished_run import open_run
from workbench.training.config import BudgetConfig, PrecisionConfig, check_training, seconds
from workbench.training.run_folder import RunConfig
from workbench.training.training_run import ResumeConfig

IMAGE_SIZE, DIGITS_SIZE = 224, 96
MODE_DEFAULTS = {
    "last_layer": {"epochs": 20, "learning_rate": 3e-3, "backbone_learning_rate": 0.0, "head_epochs": 0},
    "first_k": {"epochs": 10, "learning_rate": 1e-3, "backbone_learning_rate": 1e-4, "head_epochs": 0},
    "all": {"epochs": 5, "learning_rate": 1e-3, "backbone_learning_rate": 1e-4, "head_epochs": 1},
}


@dataclasses.dataclass(frozen=True)
class BackboneConfig:
    """Backbone.

    Args:
        backbone: A classifier of keras.applications, such as ResNet50, MobileNetV2 or ConvNeXtTiny.
        weights: `imagenet` (Keras downloads them), `none`, or a .weights.h5, .h5 or .keras file of this backbone.
        from_: Run folder of a trained network, such as one of cnn_scratch, that is the backbone instead.
        dropout: Share of the pooled features that is dropped in training, in front of the new head.
    """

    backbone: str = "ResNet50"
    weights: str = "imagenet"
    from_: str | None = None
    dropout: float = 0.2


@dataclasses.dataclass(frozen=True)
class FreezingConfig:
    """Freezing.

    Args:
        mode: `last_layer` trains the new head alone, `first_k` freezes the first k layers, `all` trains the head
            first and then everything.
        k: Of first_k: number of the backbone's layers that are frozen, its input layer included; by default all
            but the last stage.
        until: Of first_k: name of the last layer that is frozen, such as conv4_block6_out, in place of --k.
        train_bn: Train the batch norms of what is not frozen too; without it they keep their statistics and scales.
    """

    mode: typing.Literal["last_layer", "first_k", "all"] = "last_layer"
    k: int | None = None
    until: str | None = None
    train_bn: bool = False


@dataclasses.dataclass(frozen=True)
class FeaturesConfig:
    """Stored features.

    Args:
        views: With --data-aug, the augmented views of each training image that are stored in its place (an epoch
            goes over all of them). 0 stores nothing: what is frozen is computed in every epoch, the plain way.
        feature_precision: Of what is stored: `auto` is bfloat16 arithmetic where that is measured to be faster, else
            float32 arithmetic, kept as float16; `float32` is exact.
    """

    views: int = 4
    feature_precision: typing.Literal["auto", "float32"] = "auto"


@dataclasses.dataclass(frozen=True)
class FineTuneConfig:
    """Training.

    Args:
        epochs: Passes over the training images; by default 20 for last_layer, 10 for first_k, 5 for all.
        batch_size: Images a step.
        learning_rate: Of the head; by default 3e-3 for last_layer, else 1e-3.
        backbone_learning_rate: Of the backbone's last stage; by default 1e-4.
        lr_decay: Factor of the learning rate from each stage of the backbone to the one before it.
        head_epochs: Epochs in which the head is trained alone, before the others; by default 1 for all, else 0.
        schedule: Of the learning rates: `constant`, or `cosine` down to zero at the last step.
        warmup_epochs: Epochs in which the learning rates climb from zero.
        weight_decay: Decoupled weight decay of kernels (AdamW).
        label_smoothing: Share of the target that is spread over all classes.
        patience: Epochs without a better validation accuracy after which the training ends; 0 never.
        data_aug: Random resized crop, horizontal flip and colour jitter of the training images.
        class_weights: `balanced` weighs each training image by the inverse of its class's frequency.
    """

    epochs: int | None = None
    batch_size: int = 32
    learning_rate: float | None = None
    backbone_learning_rate: float | None = None
    lr_decay: float = 1.0
    head_epochs: int | None = None
    schedule: typing.Literal["constant", "cosine"] = "cosine"
    warmup_epochs: float = 0.5
    weight_decay: float = 1e-4
    label_smoothing: float = 0.0
    patience: int = 0
    data_aug: bool = False
    class_weights: typing.Literal["none", "balanced"] = "none"

    mixup = cutmix = erasing = ema = 0.0  # of the recipe, but no options here: they would change stored features


@dataclasses.dataclass(frozen=True)
class TransferConfig(
    RunConfig,
    ResumeConfig,
    FeaturesConfig,
    PrecisionConfig,
    BudgetConfig,
    FineTuneConfig,
    FreezingConfig,
    BackboneConfig,
    DataConfig,
):
    """Configuration of `python -m transfer.run`."""


def resolve(config):
    """`config` with the values that depend on its mode, its data and its backbone, where none were given.

    Raises:
        UserError: a value that cannot be, or an image size that is not the one of the run named by --from.
    """
    config = dataclasses.replace(config, image_size=_image_size(config))
    missing = {k: v for k, v in MODE_DEFAULTS[config.mode].items() if getattr(config, k) is None}
    config = dataclasses.replace(config, **missing)
    _check(config)
    return resolve_image_size(config)


def _image_size(config):
    if config.from_ is None:
        return config.image_size or (DIGITS_SIZE if config.data == "digits" else IMAGE_SIZE)
    size = open_run(config.from_).config.get("image_size")
    if config.image_size not in (None, size):
        raise UserError(f"--image-size {config.image_size}: the network of --from {config.from_} takes {size} px")
    return size


def _check(config):
    check_training(config)
    seconds(config.budget)
    if config.mode != "first_k" and (config.k is not None or config.until):
        raise UserError(f"--k and --until are of --mode first_k, not of {config.mode}")
    if config.k is not None and config.until:
        raise UserError("--k and --until: give one of them")
    for name in ("backbone_learning_rate", "head_epochs", "views"):
        if not 0 <= getattr(config, name) < float("inf"):
            raise UserError(f"--{name.replace('_', '-')} {getattr(config, name)}: must be 0 or more")
    if not 0 < config.lr_decay <= 1:
        raise UserError(f"--lr-decay {config.lr_decay}: must be above 0 and at most 1")
    if not 0 <= config.dropout < 1:
        raise UserError(f"--dropout {config.dropout}: must be at least 0 and below 1")
