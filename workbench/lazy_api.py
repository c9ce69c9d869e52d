"""Let `from cnn_scratch import train` import a function when it is asked for, and with it TensorFlow, quietly.

Importing a package must not load TensorFlow, because commands parse their options first. Some functions have the name
of a module, such as `train` in cnn_scratch/train.py. Importing that module sets an attribute of the package, so what
`cnn_scratch.train` is would depend on what was imported before. Here it is always the function; the module is imported
with `from cnn_scratch.train import ...`, as everywhere in this project.
"""

import importlib
import sys
import types
from collections.abc import Mapping
from typing import Any

from workbench.runtime import load_tensorflow


class _Package(types.ModuleType):
    """A package that offers functions of its modules."""

    _offered: Mapping[str, str]

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in self._offered and isinstance(value, types.ModuleType)):
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name not in self._offered:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        load_tensorflow(with_pandas=True)
        value = getattr(importlib.import_module(self._offered[name]), name)
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._offered})


def offer(package: str, functions: Mapping[str, str]) -> None:
    """Offer functions, or classes, as attributes of a package. It calls this in its `__init__.py`.

    Args:
        package: name of the package.
        functions: name of a function -> the module that has it.
    """
    module = sys.modules[package]
    vars(module)["_offered"] = dict(functions)
    module.__class__ = _Package
