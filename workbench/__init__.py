"""What both ways to a classifier share: data, training, sweeps, and the work with finished runs.

`from workbench import evaluate, explain` imports TensorFlow; `import workbench` does not. See docs/api.md.
"""

from typing import TYPE_CHECKING

from workbench.lazy_api import offer

if TYPE_CHECKING:
    from workbench.api import compare, evaluate, explain, export, open_run, open_sweep, predict, report

__all__ = ["compare", "evaluate", "explain", "export", "open_run", "open_sweep", "predict", "report"]

offer(__name__, dict.fromkeys(__all__, "workbench.api"))
