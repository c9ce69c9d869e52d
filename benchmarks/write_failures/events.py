"""The calls of this process that change files, seen by an audit hook before they happen, and a disk that gets full.

Python reports what opens, renames, creates and removes files, whichever library does it. What native code writes
without Python, such as TensorFlow's event files, is not reported, but it fails on the full disk like everything else.
"""

import contextlib
import dataclasses
import errno
import math
import os
import sys
import threading
import unittest.mock
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_FILLER = ".filler"  # takes the room of a small disk


@dataclasses.dataclass(frozen=True)
class WriteEvent:
    """A call that is about to change a file.

    Attributes:
        number: of the event, from 0.
        kind: `open`, `rename`, `mkdir`, `remove`, `rmdir` or `truncate`.
        path: of the file, relative to the watched folder; of a rename, the new name.
    """

    number: int
    kind: str
    path: Path


class _Watcher:
    """Calls a function before each change of a file under a folder."""

    def __init__(self, root: Path, act: Callable[[WriteEvent], None]) -> None:
        self._root, self._act, self._number = root, act, 0
        self._lock, self._is_acting = threading.RLock(), False

    def see(self, name: str, arguments: tuple[Any, ...]) -> None:
        """Look at an audit event of Python."""
        path = _find_changed(name, arguments)
        if path is None or not path.is_relative_to(self._root):
            return
        with self._lock:
            if self._is_acting:  # `act` may write files itself
                return
            event = WriteEvent(self._number, name.removeprefix("os."), path.relative_to(self._root))
            self._number += 1
            self._is_acting = True
            try:
                self._act(event)
            finally:
                self._is_acting = False


_watchers: list[_Watcher] = []
_is_hooked = False


@contextlib.contextmanager
def watch_writes(root: Path, act: Callable[[WriteEvent], None]) -> Iterator[None]:
    """Call `act` in this block before each call that changes a file under `root`. An exception of it fails the call."""
    global _is_hooked
    if not _is_hooked:  # an audit hook cannot be removed
        sys.addaudithook(lambda name, arguments: _watchers[-1].see(name, arguments) if _watchers else None)
        _is_hooked = True
    _watchers.append(_Watcher(root.resolve(), act))
    try:
        yield
    finally:
        _watchers.pop()


def _find_changed(name: str, arguments: tuple[Any, ...]) -> Path | None:
    """Return the file that a call is about to change; None for other calls."""
    if name == "open":
        path, _, flags = arguments
        return _locate(path) if isinstance(flags, int) and flags & _WRITING else None
    if name == "os.rename":
        return _locate(arguments[1], arguments[3])
    if name in ("os.mkdir", "os.remove", "os.rmdir"):
        return _locate(arguments[0], arguments[-1])
    return _locate(arguments[0]) if name == "os.truncate" else None


def _locate(path: Any, folder: int = -1) -> Path | None:
    """Return an absolute path; `folder` is the open folder that a relative path begins in, -1 for the working one."""
    if not isinstance(path, str | bytes | os.PathLike):
        return None  # a file that is open already
    start = os.getcwd() if folder == -1 else os.readlink(f"/proc/self/fd/{folder}")
    return Path(os.path.normpath(os.path.join(start, os.fsdecode(path))))


@contextlib.contextmanager
def fill_disk(root: Path, number: int, room: int) -> Iterator[None]:
    """Let the disk be full in this block from an event on.

    Where `root` is a disk of its own (a small tmpfs), its room is used up. Elsewhere no file may grow beyond `room`
    bytes (the limit that `ulimit -f` sets), which fails what native code writes too. Folders and new names are refused.

    Args:
        root: the watched folder.
        number: of the event.
        room: bytes up to which a file may grow.
    """
    is_disk = os.path.ismount(root)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def act(event: WriteEvent) -> None:
        if event.number == number and is_disk:
            _use_up(root / _FILLER)
        elif event.number == number:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
        if event.number == number and event.kind in ("mkdir", "rename"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(event.path))

    try:
        with watch_writes(root, act):
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        if is_disk:
            (root / _FILLER).unlink(missing_ok=True)


def _use_up(path: Path) -> None:
    with open(path, "wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))


@contextlib.contextmanager
def leave_out_timed_writes() -> Iterator[None]:
    """Let commands in this process leave out what only long runs write, so that each run writes the same.

    Long runs record how good their estimate was. Long sweeps write their status also between start and end.
    """
    with (
        unittest.mock.patch("workbench.training.estimates._SHORT", math.inf),
        unittest.mock.patch("workbench.sweep.status.INTERVAL", threading.TIMEOUT_MAX),
    ):
        yield
