"""The file in which a run keeps its split: split.csv, with the name, class, part and content of each image."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from workbench.data.source import TEST, TRAIN, VALIDATION
from workbench.errors import UserError
from workbench.files import write_text

SPLIT = "split.csv"
_COLUMNS = ["image", "class", "part", "content", "repeats", "conflicts_with", "seen_in"]
_FIRST_COLUMNS = _COLUMNS[:5]  # those of the first runs that kept their split
_NUMBER = "number"  # such as `3 of 960`, so that a file that was cut off is noticed


class Leak(NamedTuple):
    """What is wrong with an image of a split; empty texts where nothing is.

    Attributes:
        repeats: name of an image of the same photo in an earlier part.
        conflicts_with: name of an image of the same photo with another label.
        seen_in: an earlier run whose network is fine-tuned and that has used the same file, and its name there.
    """

    repeats: str = ""
    conflicts_with: str = ""
    seen_in: str = ""


class SplitImage(NamedTuple):
    """An image of a saved split.

    Attributes:
        name: as in the source, a path relative to the data folder.
        class_name: name of its class.
        part: `train`, `validation` or `test`.
        digest: of its file, see `workbench.data.decoding.compute_digest`.
        repeats, conflicts_with, seen_in: see `Leak`.
    """

    name: str
    class_name: str
    part: str
    digest: str
    repeats: str = ""
    conflicts_with: str = ""
    seen_in: str = ""

    @property
    def leak(self) -> Leak:
        """What is wrong with the image."""
        return Leak(self.repeats, self.conflicts_with, self.seen_in)


def write_split(folder: Path, images: Sequence[SplitImage]) -> None:
    """Write the split of a run into its folder."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*_COLUMNS, _NUMBER])
    writer.writerows([*image, f"{number} of {len(images)}"] for number, image in enumerate(images, 1))
    write_text(folder / SPLIT, text.getvalue())


def read_split(folder: Path) -> list[SplitImage] | None:
    """Read the split that a run keeps; None for a run of an earlier version, which keeps none.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / SPLIT
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise _describe_damage(path) from None
    try:
        header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    except (csv.Error, ValueError):
        raise _describe_damage(path) from None
    numbers = [f"{number} of {len(rows)}" for number in range(1, len(rows) + 1)]
    if header not in ([*_COLUMNS, _NUMBER], [*_FIRST_COLUMNS, _NUMBER]):
        raise _describe_damage(path)
    if [row[-1:] for row in rows] != [[number] for number in numbers]:
        raise _describe_damage(path)
    if any(len(row) != len(header) or row[2] not in (TRAIN, VALIDATION, TEST) for row in rows):
        raise _describe_damage(path)
    return [SplitImage(*row[:-1]) for row in rows]


def _describe_damage(path: Path) -> UserError:
    return UserError(
        f"{path}: damaged, and without it the images that {path.parent} was trained on are not known; "
        "restore the file, or train again"
    )
