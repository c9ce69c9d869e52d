"""The files that an interrupted training has left, and whether they are whole, so that it can be resumed."""

import shlex
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from workbench.commandline.calls import format_call
from workbench.errors import UserError
from workbench.files import read_csv, read_json
from workbench.saved_metrics import is_of_finished_training
from workbench.training.history import read_history

BEST, LAST, HISTORY, METRICS = "model.keras", "last.keras", "history.csv", "metrics.json"
BEST_PART = "best.keras"  # the best epoch of a model that is a part of the network


def has_checkpoint(folder: Path) -> bool:
    """Return whether a run folder holds the state of a training that can be resumed."""
    return (folder / LAST).exists()


def has_metrics(folder: Path, history: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether metrics.json has the results of all these epochs.

    It does not if it is missing, holds only a test, or is of a shorter training.
    """
    return is_of_finished_training(read_json(folder / METRICS), len(history))


def is_trained(folder: Path) -> bool:
    """Return whether the training of a run has finished: whether metrics.json has the results of its whole history.

    Raises:
        UserError: history.csv is damaged.
    """
    return has_metrics(folder, read_csv(folder / HISTORY))


def check_saved_state(folder: Path, command: str | None) -> None:
    """Refuse to resume a run of which a file is missing or damaged. Nothing in the folder is changed.

    A training that was stopped while its first epoch was saved has no last.keras yet. It starts again, and computes the
    same epoch.

    Args:
        folder: of the run.
        command: that made the run; None if it is not known.

    Raises:
        UserError: names the file and what to do.
    """
    try:
        history = read_history(folder / HISTORY)
    except ValueError as error:
        refuse_to_resume(folder, HISTORY, f"damaged ({error})", command)
    if not has_checkpoint(folder):
        has_more = len(history) > 1 or has_metrics(folder, history)
        if has_more or (not history and any((folder / name).exists() for name in (BEST, BEST_PART))):
            refuse_to_resume(folder, LAST, "missing", command)
        return
    if not history:
        refuse_to_resume(folder, HISTORY, "missing or empty", command)
    check_model_file(folder, LAST, command)
    check_model_file(folder, BEST_PART if (folder / BEST_PART).exists() else BEST, command)


def check_model_file(folder: Path, name: str, command: str | None) -> None:
    """Refuse to resume a run if one of its models is missing or torn.

    Raises:
        UserError: names the file and what to do.
    """
    try:
        with zipfile.ZipFile(folder / name) as archive:
            damaged = archive.testzip()
    except FileNotFoundError:
        refuse_to_resume(folder, name, "missing", command)
    except Exception:  # damaged bytes can raise nearly any exception of zipfile and zlib
        refuse_to_resume(folder, name, "damaged (not a whole file)", command)
    if damaged:
        refuse_to_resume(folder, name, f"damaged (in {damaged})", command)


def refuse_to_resume(folder: Path, name: str, problem: str, command: str | None) -> NoReturn:
    """Raise the error about a file without which a run cannot be resumed.

    Raises:
        UserError: always.
    """
    again = "train again under another --name"
    if command:
        config, new = shlex.quote(str(folder / "config.yaml")), shlex.quote(f"{folder.resolve().name}-again")
        again = f"train again with {format_call(command)} --config {config} --name {new}"
    raise UserError(
        f"{folder / name}: {problem}; the run cannot be resumed, and nothing was changed: restore the file, or {again}"
    )
