"""What the benchmarks that train and test share: starting commands of the project, and the spread of their scores."""

import statistics
import subprocess
import sys
from collections.abc import Sequence


def run_module(module: str, *options: str) -> None:
    """Run a command of the project in a process of its own."""
    subprocess.run([sys.executable, "-m", module, *options], check=True, stdout=subprocess.DEVNULL)


def format_spread(scores: Sequence[float]) -> str:
    """Return the sample standard deviation of accuracies between 0 and 1, in percentage points: `± 0.8`."""
    return f"± {100 * statistics.stdev(scores):.1f}" if len(scores) > 1 else "one seed"
