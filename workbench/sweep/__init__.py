"""Sweeps: which hyperparameters are tried, by which processes, and what came of them."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.sweep.tuners import GridSearch

__all__ = ["GridSearch"]


def __getattr__(name: str) -> Any:
    """Import `GridSearch`, and so TensorFlow, when it is asked for."""
    if name in __all__:
        from workbench.sweep import tuners  # imported late: the light modules of this folder do not need TensorFlow

        return getattr(tuners, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
