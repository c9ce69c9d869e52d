"""The YAML files that come with the project, found by name from any working directory."""

import difflib
import os
from pathlib import Path

_FOLDER = "configs"
_PACKAGE = Path(__file__).parents[1]
_PLACES = (_PACKAGE.parent / _FOLDER, _PACKAGE / _FOLDER)  # in a checkout, in an installed wheel


def find_file(path: str | Path) -> Path:
    """Return the path of a file that a user names.

    `strong.yaml` and `configs/strong.yaml` are also found where they are not in the working directory. A file there
    comes first.

    Returns:
        The path; as given where there is no such file.
    """
    path = Path(os.path.expanduser(path))
    if path.parent in (Path(), Path(_FOLDER)) and not path.exists():
        return next((place / path.name for place in _PLACES if (place / path.name).is_file()), path)
    return path


def describe_shipped(path: str | Path) -> str:
    """Return a hint for a file that is missing: the most similar name of a file that `find_file` finds, or nothing."""
    names = {file.name for place in _PLACES for file in place.glob("*.yaml")}
    close = difflib.get_close_matches(Path(path).name, names, n=1)
    return f"; did you mean {close[0]}, which comes with the workbench?" if close else ""
