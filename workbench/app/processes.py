"""The processes that train and sweep: which folder one holds, how it is stopped, and how a sweep is continued."""

import dataclasses
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from workbench.commandline.calls import format_call
from workbench.errors import UserError
from workbench.files import read_json
from workbench.origin import find_command_of_run
from workbench.sweep.status import SILENCE, STATUS
from workbench.training.run_folder import find_holder_file, find_lock_file

_SWEEPS = ("cnn_scratch.tune", "transfer.tune")
_started: dict[Path, "subprocess.Popen[bytes]"] = {}  # folder -> the command that continues it
_starting = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Holder:
    """The process that holds a run folder.

    Attributes:
        pid: its number.
        host: name of its machine.
        device: what it computes on; empty if not known yet.
        is_here: whether it runs on this machine.
    """

    pid: int
    host: str
    device: str
    is_here: bool


def find_holder(folder: Path) -> Holder | None:
    """Return the process that trains or sweeps in a run folder now; None if none does.

    Of a process on this machine it is checked that it has locked the folder. One on another machine must have given a
    sign of life in the folder.
    """
    values = read_json(find_holder_file(folder))
    if not isinstance(values, dict) or not isinstance(values.get("pid"), int):
        return None
    here = socket.gethostname()
    host = str(values.get("host") or here)
    holder = Holder(values["pid"], host, str(values.get("device") or ""), host == here)
    is_alive = _holds_lock(holder.pid, find_lock_file(folder)) if holder.is_here else _gave_sign_of_life(folder)
    return holder if is_alive else None


def _holds_lock(pid: int, lock: Path) -> bool:
    """Return whether a process of this machine has the lock file open."""
    try:
        return str(lock.resolve()) in {file.path for file in psutil.Process(pid).open_files()}
    except (psutil.Error, OSError, ValueError, OverflowError):
        return False


def _gave_sign_of_life(folder: Path) -> bool:
    times = [path.stat().st_mtime for path in (folder / STATUS, folder / "history.csv") if path.exists()]
    return bool(times) and time.time() - max(times) < SILENCE


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


def format_stop(holder: Holder) -> str:
    """Return the command that stops a process."""
    return f"kill -TERM {holder.pid}"


def list_continue_words(folder: Path, config: Mapping[str, Any]) -> list[str]:
    """Return the words of the command that continues a sweep: its module, and its options.

    Raises:
        UserError: it is not known which command made the folder.
    """
    command = find_command_of_run(folder, config)
    if command not in _SWEEPS:
        raise UserError(f"{folder.name}: the command that began it is not known; continue it in a terminal")
    return [
        command,
        *("--config", str(folder / "config.yaml"), "--space", str(folder / "space.yaml")),
        *("--name", folder.name, "--runs-dir", str(folder.parent)),
    ]


def format_continue(folder: Path, config: Mapping[str, Any]) -> str:
    """Return the command line that continues a sweep.

    Raises:
        UserError: it is not known which command made the folder.
    """
    command, *options = list_continue_words(folder, config)
    return f"{format_call(command)} {shlex.join(options)}"


def continue_sweep(folder: Path, config: Mapping[str, Any]) -> Path:
    """Start the command that continues a sweep, as a process that outlives this one.

    Returns:
        Path of the file that gets what it prints.

    Raises:
        UserError: it runs already, or it is not known which command made the folder.
    """
    words = list_continue_words(folder, config)
    with _starting:
        if find_holder(folder):
            raise UserError(f"{folder.name} runs already")
        if is_started(folder):
            raise UserError(f"{folder.name} was continued already, and its command has not ended; wait for it")
        log = folder.parent / f".{folder.name}.log"
        with open(log, "wb") as output:
            _started[folder] = subprocess.Popen(
                [sys.executable, "-m", *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    return log


def is_started(folder: Path) -> bool:
    """Return whether a command that these pages have started to continue a sweep has not ended."""
    command = _started.get(folder)
    return command is not None and command.poll() is None


def read_last_line(log: Path) -> str:
    """Return the last line of a command's output, at most 500 characters; empty if there is none."""
    try:
        lines = log.read_bytes()[-4000:].decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return next((line.strip()[:500] for line in reversed(lines) if line.strip()), "")
