"""A table of text, as it is printed on a terminal or shown in a report."""

import dataclasses
from collections.abc import Sequence

ROWS_PER_PAGE = 25


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table.

    A numeric one is aligned to the right and sorted by the numbers that its cells begin with, such as `93.1% (-3)`, or
    by durations, such as `2:05`. Cells without a number, such as `?`, come last.
    """

    label: str
    numeric: bool = True


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        caption: what the table shows.
        columns: the first one names the row.
        rows: each a list of text, one entry per column.
        where: name of the file with all rows, for readers who see one page of a long table, such as in print.
        page: rows shown at once in a report.
    """

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    where: str = ""
    page: int = ROWS_PER_PAGE
