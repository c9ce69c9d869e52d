"""What both ways to a classifier share: data, training, sweeps, and the work with finished runs.

`from workbench import evaluate, explain` imports TensorFlow; `import workbench` does not. See docs/api.md.
"""

import os
from typing import TYPE_CHECKING

from workbench.lazy_api import offer

if TYPE_CHECKING:
    from workbench.api import compare, evaluate, explain, export, open_run, open_sweep, predict, report

# TensorFlow reads this when it is imported. Without AVX-512 it would not use oneDNN, which is twice as fast or more.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

__all__ = ["compare", "evaluate", "explain", "export", "open_run", "open_sweep", "predict", "report"]

offer(__name__, dict.fromkeys(__all__, "workbench.api"))
