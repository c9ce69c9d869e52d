"""Turn the keyword arguments of a Python function into the configuration of a command."""

import difflib
import os
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from workbench import cli
from workbench.config import option_names

Config = TypeVar("Config")


def make_config(config_class: type[Config], function: str, values: Mapping[str, Any]) -> Config:
    """Return the configuration with these values, checked as on the command line, and defaults for the others.

    Args:
        config_class: the command's configuration.
        function: name of the function that was called, for errors.
        values: option -> value: `image_size`, and `from_`, because `from` is a word of Python. Paths may be Path
            objects, runs `FinishedRun` objects, and numbers and lists NumPy's.

    Raises:
        TypeError: there is no option of that name.
        UserError: a value is not allowed.
    """
    known = option_names(config_class)
    for name in values:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            raise TypeError(f"{function}() has no option '{name}'{hint}")
    plain = {name: make_plain(value) for name, value in values.items()}
    return cli.from_values(config_class, plain, where=f"{function}()")


def make_plain(value: Any) -> Any:
    """Return a value as a YAML file would have it: paths as text, sequences as lists, NumPy's numbers as Python's."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [make_plain(entry) for entry in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value
