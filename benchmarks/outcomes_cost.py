"""Measure what it costs to keep the outcomes of a sweep's trials.

    python -m benchmarks.outcomes_cost [--trials 48]

Runs the sweep of benchmarks/sweep_speed.py in this process (`--workers 0`), and adds up the time in which outcomes are
taken from the validation, rounded, written by the worker and moved to the array of all trials. The share of the trials'
time depends little on how busy the machine is.
"""

import argparse
import functools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.sweep_speed import SPACE
from benchmarks.sweeps import run_folder, sweep_command
from cnn_scratch.commands import TUNE
from workbench import cli
from workbench.files import read_csv
from workbench.sweep import image_hypermodel
from workbench.sweep.outcomes.outcome_store import OutcomeStore
from workbench.training.callbacks import KeepBestLogits

_SECONDS = [0.0]


def add_time(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function, which adds the time that it takes to the time of all."""

    @functools.wraps(function)
    def timed(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            _SECONDS[0] += time.perf_counter() - start

    return timed


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=48)
    options = parser.parse_args()
    for name in ("on_test_begin", "on_test_batch_end", "on_epoch_end"):
        setattr(KeepBestLogits, name, add_time(getattr(KeepBestLogits, name)))
    for name in ("open", "add"):
        setattr(OutcomeStore, name, add_time(getattr(OutcomeStore, name)))
    for name in ("make_outcome", "save_outcome"):
        setattr(image_hypermodel, name, add_time(getattr(image_hypermodel, name)))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        words = [f"--max-trials={options.trials}", "--workers=0"]
        command = sweep_command(folder, *words, space=SPACE.format(seeds=[0]))
        if cli.main(TUNE, command[3:]) != 0:
            raise SystemExit("the sweep failed")
        rows = read_csv(run_folder(folder) / "trials.csv")
        size = (run_folder(folder) / "outcomes" / "rows.f16").stat().st_size
    seconds = sum(float(row["seconds"]) for row in rows)
    each = 1000 * _SECONDS[0] / len(rows)
    share = f"{each:.1f} ms a trial, {_SECONDS[0] / seconds:.2%} of the time"
    print(f"{len(rows)} trials in {seconds:.1f} s; outcomes: {share}, {size:,} bytes")


if __name__ == "__main__":
    main()
