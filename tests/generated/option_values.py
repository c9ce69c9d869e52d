"""Values of options, each with a verdict: whether a command must accept it, must refuse it, or may do either."""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args, get_origin

from hypothesis import strategies as st

from workbench.commandline.options import Option, takes

_NUMBERS = [0, 1, 2, 5, 40, -1, -(10**6), 0.0, 0.25, 1.0, 1e-3, -0.5, 2.5, math.nan, math.inf, -math.inf]
_TEXTS = ["x", "", "1,5", "None", "all", "10m", "0s", "-5m", "1e5h", "infs", "5", " 5", "0x10", "٣", "1_0"]
_LONG = "9" * 5000
_HUGE = [_LONG, 10**30, -(10**30), 1e300, 10**400]
_OTHERS = [True, False, None, [3, 5], [3, 3, 3, 3, 3], [], {"a": 1}, [None], [[1]], [math.nan], [0, 1, 1, 1, 1]]
Range = Callable[[Any], bool]

RANGES: Mapping[str, Range] = {
    **dict.fromkeys(("epochs", "batch_size", "num_filters", "max_trials", "keep"), lambda n: n >= 1),
    **dict.fromkeys(("warmup_epochs", "weight_decay", "mixup", "cutmix", "patience", "views"), lambda n: n >= 0),
    **dict.fromkeys(
        ("workers", "head_epochs", "unfreeze_epochs", "backbone_learning_rate", "dense_units"), lambda n: n >= 0
    ),
    **dict.fromkeys(("label_smoothing", "ema", "dropout"), lambda n: 0 <= n < 1),
    **dict.fromkeys(("erasing", "max_unreadable"), lambda n: 0 <= n <= 1),
    **dict.fromkeys(("seed", "split_seed"), lambda n: 0 <= n < 2**32),
    "repeat": lambda n: 0 <= n <= 1000,
    "folds": lambda n: n == 0 or 2 <= n <= 100,
    "rand_augment": lambda n: 0 <= n <= 10,
    "learning_rate": lambda n: n > 0,
    "lr_decay": lambda n: 0 < n <= 1,
    "image_size": lambda n: 1 <= n <= 4096,
    "filter_size": lambda n: n >= 1,
}


def values_of(option: Option) -> st.SearchStrategy[Any]:
    """Return a strategy of values for an option, right and wrong ones, of all types that YAML has."""
    choices = [choice for literal in _list_literals(option.type) for choice in get_args(literal)]
    spelled = [spelling for choice in choices for spelling in (choice, choice.upper(), choice[:-1])]
    texts = st.sampled_from([*spelled, *_TEXTS])
    if not any(takes(option.type, kind) for kind in (int, float, list)):
        return st.one_of(texts, st.sampled_from(_OTHERS), st.sampled_from(_NUMBERS))
    return st.one_of(st.sampled_from(_NUMBERS), st.sampled_from(_HUGE), texts, st.sampled_from(_OTHERS))


def judge(option: Option, value: Any) -> bool | None:
    """Return whether an option must accept a value; None if it may or may not."""
    in_range = RANGES.get(option.name)
    if option.name == "budget":
        return None if not isinstance(value, str) else bool(re.fullmatch(r"\d+(\.\d+)?[smhd]", value)) and value != "0s"
    if isinstance(value, dict):
        return False
    if takes(option.type, bool):
        return True if isinstance(value, bool) else None if isinstance(value, int | str) else False
    if isinstance(value, bool):
        return False
    if takes(option.type, str) or (value is None and takes(option.type, type(None))):
        return None
    if value is None:
        return False
    if isinstance(value, list):
        return _judge_list(value) if takes(option.type, list) else False
    if isinstance(value, str):
        return _judge_text(option, value)
    return _judge_number(option, value, in_range)


def _judge_list(value: list[Any]) -> bool:
    return len(value) == 5 and all(isinstance(number, int) and number >= 1 for number in value)


def _judge_text(option: Option, value: str) -> bool | None:
    if value.strip().replace("_", "").isdigit():
        return None  # a number in quotes
    if value.lower() == "none" and takes(option.type, type(None)):
        return None
    return any(value.lower() in get_args(literal) for literal in _list_literals(option.type))


def _judge_number(option: Option, value: int | float, in_range: Range | None) -> bool | None:
    is_whole, takes_fractions = isinstance(value, int), takes(option.type, float)
    if not takes_fractions and not (is_whole and takes(option.type, int)):
        return False
    if not math.isfinite(value) if not is_whole else False:
        return False
    if in_range is None or (abs(value) >= 1e300 if is_whole else False):
        return None
    return None if value > 10**20 and in_range(value) else in_range(value)


def _list_literals(hint: Any) -> list[Any]:
    parts = [hint, *get_args(hint)]
    return [part for part in parts if get_origin(part) is Literal]


def spell(option: Option, value: Any) -> list[str] | None:
    """Return an option and its value as words of a command line; None where there is no such spelling."""
    name = f"--{option.name.rstrip('_').replace('_', '-')}"
    if takes(option.type, bool) and isinstance(value, bool):
        return [name if value else f"--no-{name[2:]}"]
    if isinstance(value, dict | bool) or (value is None and takes(option.type, str)):
        return None
    word = json.dumps(value) if isinstance(value, list) or value is None else str(value)
    return None if len(word) > 4000 and isinstance(value, int) else [f"{name}={word}"]
