"""The processes that train and sweep: which folder one holds, and how it is stopped."""

import dataclasses
import os
import signal
import socket
import time
from pathlib import Path

import filelock
import psutil

from workbench.errors import UserError
from workbench.files import read_json
from workbench.training.run_folder import SIGN_OF_LIFE, find_holder_file, find_lock_file

_SILENCE = 3 * SIGN_OF_LIFE  # seconds after which a process that is not seen to hold a lock counts as dead


@dataclasses.dataclass(frozen=True)
class Holder:
    """The process that holds a run folder.

    Attributes:
        pid: its number.
        host: name of its machine.
        device: what it computes on; empty if not known yet.
        is_here: whether it is known to be a process of this machine, which can be stopped from here.
    """

    pid: int
    host: str
    device: str
    is_here: bool


def find_holder(folder: Path) -> Holder | None:
    """Return the process that trains or sweeps in a run folder now; None if none does.

    The folder must be locked. Where the file system does not show the locks of other machines, a sign of life of the
    process counts instead.
    """
    try:
        values = read_json(find_holder_file(folder))
    except OSError:  # such as a folder of this name
        return None
    if not isinstance(values, dict) or not isinstance(values.get("pid"), int):
        return None
    here = socket.gethostname()
    host = str(values.get("host") or here)
    lock = find_lock_file(folder)
    is_here = host == here and _holds_lock(values["pid"], lock)
    is_alive = is_here or _is_locked(lock) or (host != here and _gave_sign_of_life(folder))
    return Holder(values["pid"], host, str(values.get("device") or ""), is_here) if is_alive else None


def _holds_lock(pid: int, lock: Path) -> bool:
    """Return whether a process of this machine has the lock file open."""
    try:
        return str(lock.resolve()) in {file.path for file in psutil.Process(pid).open_files()}
    except (psutil.Error, OSError, ValueError, OverflowError):
        return False


def _is_locked(lock: Path) -> bool:
    """Return whether any process has locked a file, such as one of another container or machine."""
    if not lock.exists():
        return False
    try:
        with filelock.FileLock(lock, timeout=0):  # for a moment, for which `RunFolder.lock` waits
            return False
    except filelock.Timeout:
        return True
    except (OSError, NotImplementedError):  # such as a file of another user, or a file system without locks
        return False


def _gave_sign_of_life(folder: Path) -> bool:
    try:
        return time.time() - find_holder_file(folder).stat().st_mtime < _SILENCE
    except OSError:
        return False


def stop(folder: Path) -> Holder:
    """Ask the process that holds a folder to end, as Ctrl-C does: what has finished is kept.

    Raises:
        UserError: no process of this machine holds it.
    """
    holder = find_holder(folder)
    if holder is None:
        raise UserError(f"{folder.name} does not run any more")
    if not holder.is_here:
        raise UserError(f"{folder.name} runs on {holder.host}; stop it there: {format_stop(holder)}")
    os.kill(holder.pid, signal.SIGTERM)
    return holder


def describe_stop(holder: Holder) -> str:
    """Return what the command of `format_stop` is for, and where it must be typed."""
    return "To stop it in a terminal" + ("" if holder.is_here else f" of {holder.host}, where it runs")


def format_stop(holder: Holder) -> str:
    """Return the command that stops a process."""
    return f"kill -TERM {holder.pid}"
