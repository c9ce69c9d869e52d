"""Sweeps: which hyperparameters are tried, which processes try them, and the results."""

from typing import TYPE_CHECKING

from workbench.lazy_api import offer

if TYPE_CHECKING:
    from workbench.sweep.tuners import GridSearch

__all__ = ["GridSearch"]

offer(__name__, {"GridSearch": "workbench.sweep.tuners"})
