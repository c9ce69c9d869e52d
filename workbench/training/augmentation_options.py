"""Options that change images only with `data_aug`: giving one asks for it."""

from typing import Any, TypeVar

from workbench.config import option_name, replace
from workbench.errors import UserError

Config = TypeVar("Config")
_CHANGES_NOTHING = {"rand_augment": 0.0, "crop_area": 1.0, "shift": 0.0, "jitter": 0.0}


def switch_augmentation_on(config: Config) -> Config:
    """Return the configuration with `data_aug` if one of its options is given, and `data_aug` itself is not.

    Args:
        config: of a training, with a field `given`.
    """
    asks: Any = config
    if "data_aug" in asks.given or not _list_asked(config):
        return config
    return replace(config, data_aug=True)


def check_augmentation_options(config: Any) -> None:
    """Refuse an option that changes images if `data_aug` is switched off, and `crop_area` if images are shifted.

    A run's config.yaml gives every option its value, so one that has its default is not refused.

    Args:
        config: of a training, with a field `given`.

    Raises:
        UserError: names the option.
    """
    training = config.training
    asked = [name for name in _list_asked(config) if getattr(training, name) != getattr(type(training), name)]
    options = {name: f"{option_name(name)} {getattr(training, name):g}" for name in asked}
    if options and "data_aug" in config.given and not training.data_aug:
        option = next(iter(options.values()))
        raise UserError(f"{option}: changes images by --data-aug, which is switched off; leave one of them out")
    if "crop_area" in options and "shift" in options:
        raise UserError(
            f"{options['crop_area']} and {options['shift']}: with --shift nothing is cropped; leave one of them out"
        )


def reset_unused_augmentation(config: Config) -> Config:
    """Return the configuration with the defaults of the options that change nothing.

    Without `data_aug` these are all of them; where images are shifted it is `crop_area`.
    """
    asks: Any = config
    training = asks.training
    used = set(_CHANGES_NOTHING) if training.data_aug else set()
    if training.shift:
        used -= {"crop_area"}
    return replace(config, **{name: getattr(type(training), name) for name in _CHANGES_NOTHING.keys() - used})


def _list_asked(config: Any) -> list[str]:
    """Return the names of the options that are given with a value that changes images."""
    training, names = config.training, _CHANGES_NOTHING
    return [name for name in names if name in config.given and getattr(training, name) != names[name]]
