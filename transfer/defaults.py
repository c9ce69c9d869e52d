"""The values of a fine-tuning that depend on its mode, its data and its backbone."""

from typing import TypedDict

from transfer.config import TUNABLE_OPTIONS, BackboneConfig, TransferConfig
from workbench.config import DataConfig, check_training, option_name, replace
from workbench.data.dataset import choose_image_size
from workbench.errors import UserError
from workbench.finished_run import open_run
from workbench.sweep.sweep_file import TrialOptions
from workbench.training.augmentation_options import switch_augmentation_on

IMAGE_SIZE, DIGITS_SIZE = 224, 96  # pixels
MODE_DEFAULTS: dict[str, dict[str, int | float]] = {
    "last_layer": {"epochs": 20, "learning_rate": 3e-3, "backbone_learning_rate": 0.0, "head_epochs": 0},
    "first_k": {"epochs": 10, "learning_rate": 1e-3, "backbone_learning_rate": 1e-4, "head_epochs": 0},
    "all": {"epochs": 5, "learning_rate": 1e-3, "backbone_learning_rate": 1e-4, "head_epochs": 1},
}


class Plan(TypedDict, total=False):
    """The options that a plan may choose."""

    batch_size: int
    epochs: int
    warmup_epochs: float


PLANNED = frozenset(Plan.__annotations__)


def resolve(config: TransferConfig) -> TransferConfig:
    """Return a configuration in which values that were not given are set by its mode, its data and its backbone.

    Raises:
        UserError: an option is out of its range, or the image size is not that of the run named by --from.
    """
    config = config if config.run.resume else switch_augmentation_on(config)
    config = replace(_resolve_mode(config), image_size=_choose_image_size(config.data, config.backbone))
    _check(config)
    return replace(config, image_size=choose_image_size(config.data))


def check_trial(config: TransferConfig) -> None:
    """Refuse numbers that no trial of a sweep can be trained with.

    Raises:
        UserError: names the option and its range.
    """
    _check(_resolve_mode(config))
    choose_image_size(config.data)


def _resolve_mode(config: TransferConfig) -> TransferConfig:
    """Return a configuration in which values that were not given are those of its mode."""
    defaults = dict(MODE_DEFAULTS[config.freezing.mode])
    if config.training.unfreeze_epochs:
        defaults["head_epochs"] = 1
    missing = {name: value for name, value in defaults.items() if getattr(config.training, name) is None}
    if config.training.schedule == "one_cycle" and "warmup_epochs" not in config.given:
        missing["warmup_epochs"] = 0.0  # it rises in its own share of the training
    return replace(config, **missing)


def _choose_image_size(data: DataConfig, backbone: BackboneConfig) -> int | None:
    if backbone.from_ is None and data.image_size is None:
        return DIGITS_SIZE if data.data == "digits" else IMAGE_SIZE
    if backbone.from_ is None:
        return data.image_size
    size = open_run(backbone.from_).config.get("image_size")
    if data.image_size not in (None, size):
        raise UserError(f"--image-size {data.image_size}: the network of --from {backbone.from_} takes {size} px")
    return size


def _check(config: TransferConfig) -> None:
    freezing, training = config.freezing, config.training
    check_training(training)
    if freezing.mode != "first_k" and (freezing.k is not None or freezing.until):
        raise UserError(f"--k and --until: options of --mode first_k, not of {freezing.mode}")
    if freezing.k is not None and freezing.until:
        raise UserError("--k and --until: give only one of them")
    if training.start_size:
        raise UserError(f"--start-size {training.start_size}: fine-tuning trains at one image size; leave it out")
    if training.optimizer != "adam":
        raise UserError(f"--optimizer {training.optimizer}: fine-tuning uses adam; leave it out")
    counted = [(training, name) for name in ("backbone_learning_rate", "head_epochs", "unfreeze_epochs")]
    for section, name in (*counted, (config.features, "views")):
        if not 0 <= getattr(section, name) < float("inf"):
            raise UserError(f"{option_name(name)} {getattr(section, name)}: must be 0 or more")
    if training.unfreeze_epochs and freezing.mode == "last_layer":
        raise UserError(f"--unfreeze-epochs {training.unfreeze_epochs:g}: last_layer trains no stage of the backbone")
    if not 0 < training.lr_decay <= 1:
        raise UserError(f"--lr-decay {training.lr_decay}: must be above 0 and at most 1")
    if not 0 <= config.backbone.dropout < 1:
        raise UserError(f"--dropout {config.backbone.dropout}: must be at least 0 and below 1")


def find_epochs(config: TransferConfig) -> int:
    """Return the number of epochs of a trial, by default that of its mode."""
    epochs = _resolve_mode(config).training.epochs
    assert epochs is not None
    return epochs


TRIAL = TrialOptions(TransferConfig, tuple(TUNABLE_OPTIONS), check_trial, find_epochs)
