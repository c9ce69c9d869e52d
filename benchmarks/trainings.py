"""What benchmarks share: starting commands of the project and PyTorch's side, and the spread of scores."""

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def run_module(module: str, *options: str) -> None:
    """Run a command of the project in a process of its own."""
    subprocess.run([sys.executable, "-m", module, *options], check=True, stdout=subprocess.DEVNULL)


def run_torch(python: str, file: Path, *options: str) -> dict[str, float]:
    """Run a script of benchmarks/peers that prints images a second by setting, in a process of its own.

    Args:
        python: an interpreter; if it has no PyTorch, a line says so and the result is empty.
        file: the script.
        options: of its command line.
    """
    if subprocess.run([python, "-c", "import torch"], capture_output=True).returncode:
        print(f"PyTorch is left out: {python} has none; see benchmarks/peers/requirements.txt")
        return {}
    command = [python, str(file), *options]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def format_spread(scores: Sequence[float]) -> str:
    """Return the sample standard deviation of accuracies between 0 and 1, in percentage points: `± 0.8`."""
    return f"± {100 * statistics.stdev(scores):.1f}" if len(scores) > 1 else "one seed"
