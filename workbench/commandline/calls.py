"""How a user calls a command: `workbench train` or `python -m cnn_scratch.train`, which do the same."""

import ast
import importlib.util
import sys
from pathlib import Path
from typing import NamedTuple

SCRIPT = "workbench"


class SubCommand(NamedTuple):
    """A word after `workbench`.

    Attributes:
        module: what `python -m` runs to do the same.
        summary: what it does, in one line.
    """

    module: str
    summary: str


SUB_COMMANDS = {
    "train": SubCommand("cnn_scratch.train", "train one CNN from scratch"),
    "tune": SubCommand("cnn_scratch.tune", "sweep the CNN's hyperparameters"),
    "finetune": SubCommand("transfer.run", "fine-tune a pretrained network"),
    "finetune-compare": SubCommand("transfer.compare", "fine-tune a network in three ways, and compare them"),
    "finetune-tune": SubCommand("transfer.tune", "sweep how a network is fine-tuned"),
    "evaluate": SubCommand("workbench.evaluate", "test a run on held-out images"),
    "explain": SubCommand("workbench.explain", "show what a run's network sees"),
    "predict": SubCommand("workbench.predict", "classify image files with a run"),
    "compare": SubCommand("workbench.compare", "compare runs on the same test images"),
    "export": SubCommand("workbench.export", "export a run's model for other programs"),
    "report": SubCommand("workbench.report", "make the page of a run or a sweep"),
    "app": SubCommand("workbench.app", "watch runs and try models in the browser"),
    "data": SubCommand("workbench.data", "inspect a data set, or prepare nature_12k"),
}
_NAMES = {entry.module: name for name, entry in SUB_COMMANDS.items()}


def format_call(module: str) -> str:
    """Return how to call the command of a module: as the user called the present one, with the console script or not.

    The console script may be installed where `python` is another Python, such as by pipx.
    """
    if Path(sys.argv[0]).stem == SCRIPT and module in _NAMES:
        return f"{SCRIPT} {_NAMES[module]}"
    return f"python -m {module}"


def read_summary(module: str) -> str:
    """Return the first line of a module's docstring, without importing the module, which may load TensorFlow."""
    if module in sys.modules:
        docstring = sys.modules[module].__doc__
    else:
        spec = importlib.util.find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        docstring = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8")))
    return (docstring or "").partition("\n")[0]
