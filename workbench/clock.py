"""When the present command was started: a budget counts from then."""

import contextlib
import contextvars
import time
from collections.abc import Iterator

import psutil

_START: contextvars.ContextVar[float] = contextvars.ContextVar("start of the command")


@contextlib.contextmanager
def start_command(is_process: bool) -> Iterator[None]:
    """Remember when the command was started that runs in this block.

    Args:
        is_process: whether the process runs this command alone; then its start is the command's.
    """
    passed = max(0.0, time.time() - psutil.Process().create_time()) if is_process else 0.0
    token = _START.set(time.perf_counter() - passed)
    try:
        yield
    finally:
        _START.reset(token)


def get_command_start() -> float:
    """Return when the command was started, as `time.perf_counter()`; the present time outside of a command."""
    return _START.get(time.perf_counter())


def count_seconds_left(budget: float) -> float:
    """Return how many seconds of a budget are left of those that began with the command."""
    return budget - (time.perf_counter() - get_command_start())
