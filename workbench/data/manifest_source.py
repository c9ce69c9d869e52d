"""A table of photos as a source: a CSV file with the columns image and label, and split where the data is split."""

import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from workbench.data.exclusions import read_exclusions
from workbench.data.folder_source import make_printable
from workbench.data.source import TEST, TRAIN, UNSPLIT, VALIDATION, Item, Source
from workbench.data.table_file import read_table
from workbench.errors import UserError
from workbench.wording import agree

_PARTS = {"train": TRAIN, "val": VALIDATION, "validation": VALIDATION, "test": TEST, "": UNSPLIT}


class _Row(NamedTuple):
    """One image of the table.

    Attributes:
        number: of its row as a spreadsheet counts: the heading is row 1.
        name: path of the image relative to the table's folder.
        label: name of its class.
        part: see `workbench.data.source.Item`.
        size: of the file in bytes.
        modified: modification time of the file in ns.
    """

    number: int
    name: str
    label: str
    part: str
    size: int
    modified: int


def open_manifest(path: Path, min_classes: int = 2) -> Source:
    """Return the source of the photos that a CSV file lists.

    The first row names the columns `image` and `label`, and may name `split`; other columns are ignored. Images are
    relative to the file's folder. The values of `split` are train, val or validation, and test. Without them the parts
    are drawn as from a folder without splits. As in a folder, the validation images are the test set if there is no
    other.

    Args:
        path: of the file.
        min_classes: number of classes that are needed, 1 or 2.

    Raises:
        UserError: the file is not such a table; the message names the row.
    """
    folder = path.absolute().parent
    table = read_table(path, columns=("image", "label"), optional=("split",))
    rows = [_make_row(path, folder, number, values) for number, values in table]
    _check_rows(path, rows)
    rows, warnings = _settle_parts(path, rows, min_classes)
    class_names = sorted({row.label for row in rows})
    label_of = {name: label for label, name in enumerate(class_names)}
    listing = "\n".join("\t".join(map(str, row[1:])) for row in rows)

    def load_items(start: int = 0) -> list[Item]:
        return [
            Item(make_printable(row.name), label_of[row.label], row.part, (folder / row.name).read_bytes)
            for row in rows[start:]
        ]

    left_out_file = path.with_name(f"{path.stem}-left_out.csv")
    return Source(
        name=make_printable(path.stem),
        class_names=class_names,
        key=hashlib.sha256(f"{folder}\n{listing}".encode(errors="surrogateescape")).hexdigest(),
        num_items=len(rows),
        load_items=load_items,
        left_out_file=left_out_file,
        left_out=read_exclusions(left_out_file),
        warnings=warnings,
    )


def _make_row(path: Path, folder: Path, number: int, values: Mapping[str, str]) -> _Row:
    where = f"{path}: row {number}"
    for column in ("image", "label"):
        if not values[column]:
            raise UserError(f"{where}: the {column} is empty")
    split = values.get("split", "")
    if split.lower() not in _PARTS:
        raise UserError(f"{where}: unknown split '{split}'; write train, val, validation or test")
    image = values["image"]
    if "\\" in image and not (folder / image).exists():
        image = image.replace("\\", "/")  # written on Windows
    try:
        state = os.stat(folder / image)
    except (OSError, ValueError):
        raise UserError(f"{where}: there is no file '{image}' in {folder}") from None
    if not stat.S_ISREG(state.st_mode):
        raise UserError(f"{where}: '{image}' is not a file; list each image in a row of its own")
    label = " ".join(values["label"].split())
    name = os.path.relpath(folder / image, folder)
    return _Row(number, name, label, _PARTS[split.lower()], state.st_size, state.st_mtime_ns)


def _check_rows(path: Path, rows: Sequence[_Row]) -> None:
    """Refuse a table that lists an image twice, or gives only some of the images a split."""
    first_rows: dict[str, _Row] = {}
    for row in rows:
        first = first_rows.setdefault(row.name, row)
        where = f"{path}: row {row.number}"
        if first.label != row.label:
            raise UserError(f"{where}: labels '{row.name}' as '{row.label}', but row {first.number} as '{first.label}'")
        if first.part != row.part:
            raise UserError(f"{where}: puts '{row.name}' into another split than row {first.number}")
        if first is not row:
            raise UserError(f"{where}: repeats '{row.name}' of row {first.number}; remove one of them")
        if (row.part == UNSPLIT) != (rows[0].part == UNSPLIT):
            empty, given = (row, rows[0]) if row.part == UNSPLIT else (rows[0], row)
            raise UserError(
                f"{path}: row {empty.number}: the split is empty, but row {given.number} has one; "
                "give a split to all images or to none"
            )


def _settle_parts(path: Path, rows: Sequence[_Row], min_classes: int) -> tuple[list[_Row], list[str]]:
    """Return the rows with the parts that they are used for, as those of a folder, and lines for the user.

    Raises:
        UserError: there are too few classes, or one without training images.
    """
    labels = {row.label for row in rows}
    if len(labels) < min_classes:
        found = f"has the label '{rows[0].label}' only" if rows else "lists no images"
        raise UserError(f"{path}: {found}, and {agree(min_classes, 'one class is', 'two classes are')} needed")
    parts = {row.part for row in rows}
    trained = {row.label for row in rows if row.part in (TRAIN, UNSPLIT)}
    for row in rows:
        if row.label not in trained:
            raise UserError(f"{path}: row {row.number}: the label '{row.label}' has no training images")
    if parts == {TRAIN}:
        return [row._replace(part=UNSPLIT) for row in rows], []
    if parts == {TRAIN, VALIDATION}:
        used = [row._replace(part=TEST) if row.part == VALIDATION else row for row in rows]
        return used, [f"the validation images of {path.name} are for testing, because it lists no test images"]
    return list(rows), []
