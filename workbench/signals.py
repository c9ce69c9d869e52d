"""What signals do: SIGTERM, which schedulers of clusters send, does what Ctrl-C does."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def end_at_once_on_signals() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end this process without a word where native code waits, which Python cannot interrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def interrupt_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end this block with a `KeyboardInterrupt`, as Ctrl-C does. Only the main thread can do that."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def delay_interrupts() -> Iterator[Callable[[], None]]:
    """Let the first Ctrl-C or SIGTERM in this block take effect only where the function that is yielded is called.

    Otherwise Python raises `KeyboardInterrupt` wherever it is, also in what native code of NumPy or TensorFlow calls.
    There it can get lost, or end the process. The signal takes effect at the end of the block at the latest, and a
    second one at once.

    Yields:
        Function that does what the signal would have done, if one has come.
    """
    pending: list[int] = []
    handlers: dict[int, Callable[[int, FrameType | None], object]] = {}

    def check() -> None:
        if pending:
            number = pending[0]
            pending.clear()
            handlers[number](number, None)

    def remember(number: int, frame: FrameType | None) -> None:
        pending.append(number)
        if len(pending) > 1:
            handlers[number](number, frame)

    if threading.current_thread() is not threading.main_thread():
        yield check
        return
    try:
        for interrupt in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(interrupt)
            if callable(handler):
                handlers[interrupt] = handler
                signal.signal(interrupt, remember)
        yield check
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        check()
