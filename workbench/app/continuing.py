"""How a sweep that has stopped or finished is continued: what makes sense, the command line, and the process."""

import dataclasses
import math
import shlex
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.app.catalogue import Entry
from workbench.app.processes import find_holder
from workbench.commandline.calls import format_call
from workbench.errors import UserError
from workbench.origin import find_command_of_run
from workbench.sweep.results import has_endless_space
from workbench.wording import format_count

_SWEEPS = ("cnn_scratch.tune", "transfer.tune")
_started: dict[Path, "subprocess.Popen[bytes]"] = {}  # folder -> the command that continues it
_starting = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Offer:
    """How a sweep can be continued.

    Attributes:
        label: of the button.
        purpose: of the command that does the same.
        max_trials: the number of trials in all, if it is to be raised.
    """

    label: str
    purpose: str
    max_trials: int | None = None


def find_offer(entry: Entry) -> Offer | None:
    """Return how a sweep can be continued; None if every point of its space has been tried, or it is damaged."""
    results, status = entry.results, entry.status
    if results is None:
        return None
    if entry.state != "finished":
        return Offer("Continue the sweep", "To continue it in a terminal (finished trials are kept):")
    if status and status.ended == "budget":
        budget = entry.config.get("budget")
        return Offer(f"Continue for another {budget}", f"To continue it for another {budget} in a terminal:")
    done = len(results)
    is_endless = has_endless_space(entry.path, entry.config)
    points = math.inf if is_endless else results.num_points
    if done >= points or (status and done < status.total):  # a search may end before it has made all its trials
        return None
    more = int(min(2 * done, points))
    return Offer(f"Run {format_count(more - done, 'more trial')}", "To run more trials in a terminal:", max_trials=more)


def list_continue_words(folder: Path, config: Mapping[str, Any], max_trials: int | None = None) -> list[str]:
    """Return the words of the command that continues a sweep: its module, and its options.

    Args:
        folder: of the sweep.
        config: its configuration.
        max_trials: number of trials in all; None for as many as it was begun with.

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
        *(("--max-trials", str(max_trials)) if max_trials else ()),
    ]


def format_continue(folder: Path, config: Mapping[str, Any], max_trials: int | None = None) -> str:
    """Return the command line that continues a sweep; the arguments are those of `list_continue_words`.

    Raises:
        UserError: it is not known which command made the folder.
    """
    command, *options = list_continue_words(folder, config, max_trials)
    return f"{format_call(command)} {shlex.join(options)}"


def continue_sweep(folder: Path, config: Mapping[str, Any], max_trials: int | None = None) -> Path:
    """Start the command that continues a sweep, as a process that outlives this one.

    The arguments are those of `list_continue_words`.

    Returns:
        Path of the file that gets what it prints.

    Raises:
        UserError: it runs already, or it is not known which command made the folder.
    """
    words = list_continue_words(folder, config, max_trials)
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
