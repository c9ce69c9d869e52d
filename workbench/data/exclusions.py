"""The images that are not to be used, listed in `left_out.csv` in the data's folder. No image is moved or deleted.

Each line names an image as the source does (its path below the folder) and gives the reason. Every command that
reads the data leaves these images out. Users may add lines; removing a line brings its image back.
"""

import csv
import io
import os.path
from collections.abc import Mapping
from pathlib import Path

from workbench.errors import UserError
from workbench.files import write_text

EXCLUSIONS_FILE = "left_out.csv"
_HEADER = ["image", "reason"]


def read_exclusions(path: Path) -> dict[str, str]:
    """Return the listed images as name -> reason; empty if there is no such file.

    Paths may be written as on Windows, with backslashes.

    Raises:
        UserError: the file cannot be read as such a list.
    """
    try:
        rows = list(csv.reader(io.StringIO(Path(path).read_text(encoding="utf-8-sig"))))
    except FileNotFoundError:
        return {}
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a CSV file in UTF-8 ({error}); correct or remove it") from error
    if not rows or rows[0][:1] != _HEADER[:1]:
        raise UserError(f"{path}: the first line must be '{','.join(_HEADER)}'; correct or remove the file")
    return {_find_name(path, row[0]): ",".join(row[1:]) for row in rows[1:] if row}


def _find_name(path: Path, image: str) -> str:
    """Return the name of a listed image, with slashes if it was written on Windows."""
    name = image.replace("\\", "/")
    is_file = name != image and os.path.exists(Path(path).parent / name)
    return name if is_file and not os.path.exists(Path(path).parent / image) else image


def write_exclusions(path: Path, reasons: Mapping[str, str]) -> None:
    """Write the list; `reasons` is name -> reason."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADER)
    writer.writerows(reasons.items())
    write_text(path, text.getvalue())
