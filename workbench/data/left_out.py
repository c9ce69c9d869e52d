"""The list of images that are not to be used, `left_out.csv` in the data's folder; no image is moved or deleted.

Each line names an image as the source does (its path below the folder) and says why it is left out. Every
command that reads the data honours the list. A line that is taken out brings its image back; lines of one's own
count as well.
"""

import csv
import io
from pathlib import Path

from workbench.errors import UserError
from workbench.files import write_text

FILE = "left_out.csv"
_HEADER = ["image", "reason"]


def read(path):
    """What the list says, name -> reason; nothing where there is none.

    Raises:
        UserError: it is there and cannot be read.
    """
    try:
        rows = list(csv.reader(io.StringIO(Path(path).read_text(encoding="utf-8-sig"))))
    except FileNotFoundError:
        return {}
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a CSV file in UTF-8 ({error}); mend or remove it") from error
    if not rows or rows[0][:1] != _HEADER[:1]:
        raise UserError(f"{path}: the first line must be '{','.join(_HEADER)}'; mend or remove it")
    return {row[0]: ",".join(row[1:]) for row in rows[1:] if row}


def write(path, reasons):
    """Write the list whole; `reasons` is name -> reason."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADER)
    writer.writerows(reasons.items())
    write_text(path, text.getvalue())
