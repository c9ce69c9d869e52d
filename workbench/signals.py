"""What signals do: SIGTERM, which schedulers of clusters send, does what Ctrl-C does."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any

_Handler = Callable[[int, FrameType | None], Any] | signal.Handlers


@contextlib.contextmanager
def end_at_once_on_signals() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end this process without a word where native code waits, which Python cannot interrupt."""
    with _handle_signals(dict.fromkeys((signal.SIGINT, signal.SIGTERM), signal.SIG_DFL)):
        yield


@contextlib.contextmanager
def interrupt_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end this block with a `KeyboardInterrupt`, as Ctrl-C does. Only the main thread can do that."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handle_signals({signal.SIGTERM: interrupt}):
        yield


@contextlib.contextmanager
def delay_interrupts() -> Iterator[Callable[[], None]]:
    """Let the first Ctrl-C or SIGTERM in this block take effect only where the function that is yielded is called.

    Otherwise Python raises `KeyboardInterrupt` wherever it is, also in what native code of NumPy or TensorFlow calls.
    There it can get lost, or end the process. The signal takes effect at the end of the block at the latest, and a
    second one at once.

    Yields:
        Function that does what the signal would have done, if one has come.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = {int(number): handler for number in numbers if callable(handler := signal.getsignal(number))}
    pending: list[int] = []

    def check() -> None:
        if pending:
            number = pending[0]
            pending.clear()
            handlers[number](number, None)

    def remember(number: int, frame: FrameType | None) -> None:
        pending.append(number)
        if len(pending) > 1:
            handlers[number](number, frame)

    try:
        with _handle_signals(dict.fromkeys(handlers, remember)):
            yield check
    finally:
        check()


@contextlib.contextmanager
def _handle_signals(handlers: Mapping[int, _Handler]) -> Iterator[None]:
    """Handle signals in this way until the end of the block, if this is the main thread: no other one can do that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {}
    try:
        for number, handler in handlers.items():
            before[number] = signal.signal(number, handler)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
