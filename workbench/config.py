"""The settings that the commands share, and how their sections are converted to flat options and back.

A command's configuration is a frozen dataclass whose fields are sections (`DataConfig`, `TrainingConfig`, ...). On the
command line and in YAML files it is flat: `--epochs 5`, `epochs: 5`. So a field name occurs in one section only.
"""

import dataclasses
import re
from typing import Any, Literal, TypeVar

from workbench.errors import UserError

Config = TypeVar("Config")
GIVEN = "given"  # field with the names of the options that were given
MAX_COUNT = 2**31  # of filters, units, epochs and images in a batch
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}  # seconds


def hidden(default: Any) -> Any:
    """Return a dataclass field for an option that the help text leaves out, because users do not give it."""
    return dataclasses.field(default=default, metadata={"is_listed": False})


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Data.

    Args:
        data: `digits` (embedded), `nature_12k`, `tfds:NAME[:VERSION]`, or a folder: train/<class>/* with test/ or
            val/ next to it (in any case), or <class>/*. A class folder may be a link; in it, links to images are read,
            links to folders are not followed. Or a CSV file with the columns image,label or image,label,split.
        image_size: Side of the square images in pixels; by default 32 for digits and 128 for photos.
        resize: `crop` keeps the proportions and cuts out the centre; `pad` keeps them and the whole image, with grey
            bars; `stretch` keeps the whole image, but not its proportions.
        max_unreadable: Share of the images that may be unreadable (they are skipped and listed).
        cache_dir: Folder of the decoded images; by default image-workbench in the user's cache folder.
        split_seed: Seed of the validation split, and of the test split where the data has no test set; --seed by
            default.
        groups: Images that stay on one side of the split: `duplicates`, those that show the same photo; or also the
            photos of one animal, patient or day, as a CSV file with the columns image,group, or a regular expression
            such as '(patient\\d+)', whose first group is searched in the file names (in the whole path if it has a
            slash). `none` divides all.
        labels: Table of labels to correct, as `workbench.data labels` writes it, with an action in each row that was
            looked at: keep, relabel or exclude. The photos stay as they are.
        fold: The fold that validates, such as `2/5`; --folds sets it.
    """

    data: str = "digits"
    image_size: int | None = None
    resize: Literal["crop", "pad", "stretch"] = "crop"
    max_unreadable: float = 0.01
    cache_dir: str | None = None
    split_seed: int | None = None
    groups: str = "duplicates"
    labels: str | None = None
    fold: str | None = hidden(None)

    @property
    def resolved_size(self) -> int:
        """The image size as a number; `choose_image_size` must have set it where the user gave none."""
        assert self.image_size is not None
        return self.image_size


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """Training.

    Args:
        recipe: `planned` chooses the options of the training that are not given, in cnn_scratch.train also those of the
            network, from the number of images, their size, and the epochs or the time; a budget implies it unless
            `plain` is given. `plain` uses the defaults.
        epochs: Passes over the training images.
        budget: Train for this time, such as 10m or 2h, all included; learning rate and image size follow the clock, and
            --epochs is only how many are expected.
        batch_size: Images in one step.
        optimizer: `adam` (with --weight-decay AdamW), `sgd` with Nesterov's momentum, which needs a learning rate about
            a hundred times as high, or `muon`, which orthogonalizes the updates of the filters.
        learning_rate: Peak learning rate; --schedule and --warmup-epochs change it from step to step.
        schedule: Learning-rate schedule: `constant`, `cosine` down to zero at the last step, or `one_cycle`: up in
            the first fifth of the training (or in --warmup-epochs), then straight down to zero.
        warmup_epochs: Epochs in which the learning rate rises from zero.
        weight_decay: Decoupled weight decay of the kernels; 0 for none.
        label_smoothing: Share of the target that is spread over all classes.
        class_weights: `balanced` weighs each training image by the inverse of its class's frequency.
        data_aug: Random resized crop, horizontal flip and colour jitter of the training images. The options "for
            data_aug" switch it on.
        crop_area: For data_aug: smallest share of an image's area that a crop keeps and enlarges.
        shift: For data_aug: instead of cropping, move images by up to this share of their side, the edge mirrored;
            better for small images. 0 crops.
        jitter: For data_aug: share by which brightness, contrast and saturation vary at most.
        rand_augment: For data_aug: magnitude of RandAugment, up to 10: each image gets two random changes, such as a
            rotation, a shear, or another contrast or sharpness; 0 for none.
        mixup: Alpha of MixUp: training images are blended in pairs, with their labels; 0 for none.
        cutmix: Alpha of CutMix: a box of one training image is pasted into another; 0 for none.
        erasing: Share of the training images in which a random box is filled with one colour (random erasing).
        start_size: Side of the training images in the first epochs, in pixels; it grows to --image-size in up to four
            stages of equal length, by multiples of 32. 0 keeps one size; growing needs --head gap.
        ema: Momentum of a moving average of the weights, which is what is validated and saved; 0 for none.
        patience: Epochs without a better validation accuracy after which training ends; 0 never ends it early.
        precision: Number format of activations and products in training; weights, statistics, logits and the saved
            model are always float32. `auto` measures once which is fastest; `float16` needs a GPU.
        strategy: `mirrored` divides each batch between all GPUs of the machine, `multi_worker` between all
            processes that TF_CONFIG lists, one for each GPU, or for each machine without GPUs; `single` trains on
            one device.
        seed: Seed of the split, the initial weights, shuffling, dropout and augmentation.
    """

    recipe: Literal["plain", "planned"] = "plain"
    epochs: int = 10
    budget: str | None = None
    batch_size: int = 32
    optimizer: Literal["adam", "sgd", "muon"] = "adam"
    learning_rate: float = 1e-3
    schedule: Literal["constant", "cosine", "one_cycle"] = "constant"
    warmup_epochs: float = 0.0
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    data_aug: bool = False
    crop_area: float = 0.35
    shift: float = 0.0
    jitter: float = 0.2
    rand_augment: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    erasing: float = 0.0
    start_size: int = 0
    ema: float = 0.0
    patience: int = 0
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    strategy: Literal["single", "mirrored", "multi_worker"] = "single"
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class FinderConfig:
    """Learning-rate finder.

    Args:
        lr_find: Do not train; try learning rates and suggest one.
    """

    lr_find: bool = False


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Run.

    Args:
        name: Name of the run folder; by default made from the data and the image size.
        runs_dir: Folder of all run folders.
        logs_dir: Folder of the TensorBoard logs.
        wandb: Log to Weights & Biases as well (offline where there is no key or no network).
        overwrite: Replace a run folder of the same name.
    """

    name: str | None = None
    runs_dir: str = "runs"
    logs_dir: str = "logs"
    wandb: bool = False
    overwrite: bool = False


@dataclasses.dataclass(frozen=True)
class TrainingRunConfig(RunConfig):
    """Run.

    Args:
        resume: Run folder of an interrupted training to continue. Its configuration is used; --epochs may be raised,
            and --patience changed.
        folds: Cross-validate: train so many times, and validate each time on another part of the training and
            validation images. 0 trains once.
    """

    resume: str | None = None
    folds: int = 0


def list_fields(config: Any) -> list[dataclasses.Field]:
    """Return the fields of a configuration that are options or sections; `given` is neither."""
    return [field for field in dataclasses.fields(config) if field.name != GIVEN]


def flatten(config: Any) -> dict[str, Any]:
    """Return a configuration as option name -> value, its sections dissolved."""
    flat: dict[str, Any] = {}
    for field in list_fields(config):
        value = getattr(config, field.name)
        flat.update(flatten(value) if dataclasses.is_dataclass(value) else {field.name: value})
    return flat


def build(config_class: type[Config], **values: Any) -> Config:
    """Return a configuration with the given values, by option name, and the defaults of all other options.

    Raises:
        TypeError: the configuration has no option of that name.
    """
    return replace(config_class(), **values)


def replace(config: Config, **values: Any) -> Config:
    """Return a copy of a configuration with other values, given by option name whatever section they are in.

    A configuration with a field `given` remembers the names there.

    Raises:
        TypeError: the configuration has no option of that name.
    """
    remaining = dict(values)
    replaced: Config = _replace(config, remaining)
    if remaining:
        raise TypeError(f"{type(config).__name__} has no option {', '.join(remaining)}")
    given = getattr(config, GIVEN, None)
    return replaced if given is None else dataclasses.replace(replaced, given=given | set(values))  # type: ignore


def _replace(config: Any, remaining: dict[str, Any]) -> Any:
    """Replace the values that `config` or its sections have, and remove these from `remaining`."""
    changed: dict[str, Any] = {}
    for field in list_fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            changed[field.name] = _replace(value, remaining)
        elif field.name in remaining:
            changed[field.name] = remaining.pop(field.name)
    return dataclasses.replace(config, **changed)


def option_names(config_class: type) -> list[str]:
    """Return the names of all options of a configuration class, in their order."""
    return list(flatten(config_class()))


def option_name(field_name: str) -> str:
    """Return a field's name as an option: `image_size` as `--image-size`, `from_` as `--from`."""
    return f"--{field_name.rstrip('_').replace('_', '-')}"


def check_training(config: TrainingConfig) -> None:
    """Refuse numbers that no network can be trained with.

    Raises:
        UserError: names the option and its range.
    """
    for name in ("epochs", "batch_size"):
        if getattr(config, name) < 1:
            raise UserError(f"{_given(config, name)}: must be at least 1")
    for name in ("epochs", "batch_size", "patience"):
        check_count(name, getattr(config, name))
    if not 0 < config.learning_rate < float("inf"):
        raise UserError(f"{_given(config, 'learning_rate')}: must be above 0")
    for name in ("warmup_epochs", "weight_decay", "mixup", "cutmix", "patience"):
        if not 0 <= getattr(config, name) < float("inf"):
            raise UserError(f"{_given(config, name)}: must be 0 or more")
    if not 0 <= config.erasing <= 1:
        raise UserError(f"{_given(config, 'erasing')}: must be between 0 and 1, a share of the images")
    if not 0 < config.crop_area <= 1:
        raise UserError(f"{_given(config, 'crop_area')}: must be above 0 and at most 1, a share of the area")
    for name in ("shift", "jitter"):
        if not 0 <= getattr(config, name) <= 0.5:
            raise UserError(f"{_given(config, name)}: must be between 0 and 0.5")
    if not 0 <= config.rand_augment <= 10:
        raise UserError(f"{_given(config, 'rand_augment')}: must be between 0 and 10")
    for name in ("label_smoothing", "ema"):
        if not 0 <= getattr(config, name) < 1:
            raise UserError(f"{_given(config, name)}: must be at least 0 and below 1")
    if not 0 <= config.seed < 2**32:
        raise UserError(f"{_given(config, 'seed')}: must be 0 or more, and below 2^32")
    parse_duration(config.budget)


def check_count(name: str, value: int) -> None:
    """Refuse a whole number with which no estimate can be computed.

    Raises:
        UserError: names the option.
    """
    if value >= MAX_COUNT:
        raise UserError(f"{option_name(name)} {value}: must be below 2^31")


def _given(config: Any, name: str) -> str:
    return f"{option_name(name)} {getattr(config, name)}"


def parse_duration(budget: str | None) -> float | None:
    """Return a budget such as `30m` or `1h30m` in seconds; None for none.

    Raises:
        UserError: the text is not made of numbers with s, m, h or d.
    """
    if budget is None:
        return None
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", budget)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if "".join(map("".join, parts)) != budget or seconds == 0:
        raise UserError(f"--budget {budget}: give a time such as 45s, 30m, 1h30m or 1d")
    return seconds
