"""The files of a trial, on their way from the worker that has written them to the folders of the sweep."""

import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from workbench.files import replace_file
from workbench.sweep.results import WEIGHTS
from workbench.sweep.saved_states import STATES

Files = dict[tuple[str, str], np.ndarray]  # (name of a folder, path in it) -> bytes
RESULT = "result.json"


def move_folders(folders: Mapping[str, Path], root: Path) -> dict[str, Path]:
    """Return folders with these names in another one."""
    return {name: root / name / folder.name for name, folder in folders.items()}


def pack_files(folders: Mapping[str, Path]) -> tuple[Files, Files]:
    """Read what a trial has written into these folders, and remove it; but for states, which longer trials may need.

    Returns:
        (files that the command needs of each trial, weights).
    """
    files: tuple[Files, Files] = ({}, {})
    for name, folder in folders.items():
        for path in sorted(folder.rglob("*")):
            inner = path.relative_to(folder)
            if path.is_file() and not path.is_symlink() and STATES not in inner.parts:
                files[path.name == WEIGHTS][name, inner.as_posix()] = np.fromfile(path, np.uint8)
                path.unlink()
    return files


def unpack_files(files: Files, folders: Mapping[str, Path], trial_id: str) -> None:
    """Write the files of a trial into the folders with these names, in place of logs of an earlier run of the trial.

    `result.json`, which says that the worker is done, is the last one.
    """
    if "logs" in folders:
        shutil.rmtree(folders["logs"] / trial_id, ignore_errors=True)
    in_order = sorted(files.items(), key=lambda item: PurePosixPath(item[0][1]).name == RESULT)
    for (name, inner), content in in_order:
        path = folders[name] / inner
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(path) as temporary:
            content.tofile(temporary)
