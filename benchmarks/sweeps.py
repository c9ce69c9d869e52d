"""Start sweeps of the five-block network as processes of their own, in a temporary folder."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from workbench.files import read_json

NAME = "sweep"

TrialResult = dict[str, Any]  # a trial's result.json


def sweep_command(folder: Path, *options: str, space: str | None = None) -> list[str]:
    """Return the command of a sweep whose runs and logs are kept in `folder`.

    Args:
        folder: an existing folder.
        options: further options of `python -m cnn_scratch.tune`.
        space: the YAML text of the space, written to `folder`; by default configs/sweep.yaml is used.
    """
    command = [sys.executable, "-m", "cnn_scratch.tune", f"--name={NAME}", *options]
    if space is not None:
        path = folder / "space.yaml"
        path.write_text(space)
        command.append(f"--space={path}")
    return [*command, f"--runs-dir={folder}/runs", f"--logs-dir={folder}/logs"]


def run_folder(folder: Path) -> Path:
    """Return the run folder of the sweep in `folder`."""
    return folder / "runs" / NAME


def run_sweep(folder: Path, *options: str, space: str | None = None) -> list[TrialResult]:
    """Run a sweep to its end and return its trials' results; arguments as for `sweep_command`."""
    subprocess.run(sweep_command(folder, *options, space=space), check=True, stdout=subprocess.DEVNULL)
    return [read_json(path) for path in run_folder(folder).glob("tuner/trial_*/result.json")]
