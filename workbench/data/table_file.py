"""Tables in CSV files, as people and spreadsheets write them: separators, encodings, and the row that is wrong."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from workbench.errors import UserError
from workbench.files import write_text

SUFFIXES = (".csv", ".tsv")
_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")  # byte-order marks
_DELIMITERS = ",;\t"  # Excel writes semicolons where a comma separates the decimals


def read_table(
    path: Path, columns: Sequence[str], optional: Sequence[str] = (), option: str = "--data"
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (number of the row, column -> text) for each row that is not empty.

    A row's number is that of a spreadsheet: the heading, which names the columns, is row 1. Other columns are ignored.

    Args:
        path: of the file.
        columns: that the table must have.
        optional: further columns that it may have.
        option: that names the file; for the error if it cannot be read.

    Raises:
        UserError: the file is not such a table; names the row.
    """
    text = _read_text(path, option)
    delimiter = _find_delimiter(text)
    table = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    number, places = 0, dict[str, int]()
    while True:
        number += 1
        try:
            cells = [cell.strip() for cell in next(table)]
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(f"{path}: row {number}: {error}; is a quotation mark missing?") from None
        if number == 1:
            places, width = _find_columns(path, cells, columns, optional), len(cells)
        elif any(cells):
            if any(cells[width:]):
                raise UserError(
                    f"{path}: row {number}: has {len(cells)} cells and the heading {width}; "
                    f'write a cell that holds "{delimiter}" in quotation marks'
                )
            yield number, {column: "".join(cells[place : place + 1]) for column, place in places.items()}


def edit_row(path: Path, key: tuple[str, str], values: Mapping[str, str]) -> None:
    """Change cells of a row; the file is replaced at once. All other rows and columns stay, also those of the user.

    Args:
        path: of a table that `read_table` reads.
        key: (column, text) of the row.
        values: column -> text of its new cell.

    Raises:
        OSError: the file cannot be written.
    """
    text = _read_text(path, "")
    delimiter = _find_delimiter(text)
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    places = {name.strip().lower(): place for place, name in enumerate(rows[0])}
    for row in rows[1:]:
        if row[places[key[0]] : places[key[0]] + 1] and row[places[key[0]]].strip() == key[1]:
            row += [""] * (len(rows[0]) - len(row))
            for column, value in values.items():
                row[places[column]] = value
    written = io.StringIO()
    csv.writer(written, delimiter=delimiter, lineterminator="\n").writerows(rows)
    mark = "\ufeff" if path.read_bytes().startswith(_MARKS) else ""  # by which Excel knows that it is UTF-8
    write_text(path, mark + written.getvalue())


def _find_delimiter(text: str) -> str:
    return max(_DELIMITERS, key=text.partition("\n")[0].count)


def _read_text(path: Path, option: str) -> str:
    """Return the content of a text file in UTF-8, or in UTF-16 with a byte-order mark, as Excel writes them."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{option} {path}: {error.strerror}") from None
    encoding = "utf-16" if data.startswith(_MARKS[1:]) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        number = data[: error.start].count(b"\n") + 1
        raise UserError(f"{path}: row {number}: is not text in UTF-8; save the table as 'CSV UTF-8'") from None


def _find_columns(
    path: Path, heading: Sequence[str], columns: Sequence[str], optional: Sequence[str]
) -> dict[str, int]:
    """Return column -> its place in the heading; optional columns may be missing."""
    names = [name.lower() for name in heading]
    for column in (*columns, *optional):
        if names.count(column) > 1:
            raise UserError(f"{path}: row 1: has more than one column '{column}'")
        if column not in names and column in columns:
            given = ", ".join(f"'{name}'" for name in heading if name) or "nothing"
            allowed = [",".join(columns), *([",".join((*columns, *optional))] if optional else [])]
            raise UserError(
                f"{path}: row 1: the column '{column}' is missing, there is {given}; "
                f"the first row must name the columns {' or '.join(allowed)}"
            )
    return {column: names.index(column) for column in (*columns, *optional) if column in names}
