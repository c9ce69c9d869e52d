"""Work that is repeated in another thread."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def repeat_in_background(seconds: float, call: Callable[..., Any], *arguments: Any) -> Iterator[None]:
    """Call a function again and again in another thread while this block runs.

    Args:
        seconds: before the first call, and between two calls.
        call: the function.
        arguments: what it is called with.
    """
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(seconds):
            call(*arguments)

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
