"""What a run will cost, printed before it starts, and how far off earlier estimates were."""

import contextlib
import statistics
from pathlib import Path

from workbench.cache import find_cache_dir
from workbench.console import console, format_duration
from workbench.errors import UserError
from workbench.files import append_csv, read_csv
from workbench.runtime import list_gpus, measure_peak_gpu_memory, measure_peak_memory

_COMPARED = 20  # most recent runs that an estimate is compared with
_SHORT = 5  # seconds: shorter runs are dominated by start-up


def print_estimate(kind: str, seconds: float, disk: int, each: str, memory: int | None = None) -> None:
    """Print what a run will cost.

    Args:
        kind: of run, such as `cnn_scratch.train`; earlier estimates of the same kind are compared with.
        seconds: estimated.
        disk: bytes that will be written.
        each: what the seconds are made of.
        memory: bytes; by default the most that this process, after its first steps, has held.
    """
    memory = memory or measure_peak_memory()
    gpu = f"{measure_peak_gpu_memory() / 1e9:.1f} GB of GPU memory, " if list_gpus() else ""
    console.print(
        f"expected: {format_duration(seconds)} ({each}), {memory / 1e9:.1f} GB of memory, "
        f"{gpu}{disk / 1e6:,.1f} MB on disk{_describe_errors(kind)}"
    )


def _describe_errors(kind: str) -> str:
    """Return how long earlier runs took as a multiple of their estimates, in words; empty where none is known."""
    try:
        rows = [row for row in read_csv(_log_path()) if row["kind"] == kind]
        ratios = [float(row["actual"]) / float(row["estimated"]) for row in rows[-_COMPARED:]]
    except (OSError, UserError, KeyError, TypeError, ValueError, ZeroDivisionError):  # it is damaged or unreadable
        return ""
    if not ratios:
        return ""
    which = "the last run" if len(ratios) == 1 else f"the last {len(ratios)} runs"
    return f"; {which} took {statistics.median(ratios):.2f} times the estimate"


def record_estimate(kind: str, estimated: float, actual: float) -> None:
    """Record how many seconds a run took, for later estimates of its kind on this machine.

    Very short runs are dominated by start-up and are not recorded.
    """
    if max(estimated, actual) < _SHORT:
        return
    with contextlib.suppress(OSError):  # an unwritable cache must not cost the run
        _log_path().parent.mkdir(parents=True, exist_ok=True)
        append_csv(_log_path(), {"kind": kind, "estimated": f"{estimated:.3f}", "actual": f"{actual:.3f}"})


def _log_path() -> Path:
    return find_cache_dir() / "estimates.csv"
