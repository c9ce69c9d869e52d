"""A live table: the server sorts, filters and pages its rows, so that 10,000 of them cost the browser nothing."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nicegui.element import Element
from nicegui.events import GenericEventArguments

from workbench.wording import format_count

Cell = tuple[str, Any]  # the text, and the value by which it is sorted; None comes last


@dataclasses.dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        label: its heading.
        numeric: whether it is aligned to the right.
        badge: whether its texts are states, shown in colour.
    """

    label: str
    numeric: bool = False
    badge: bool = False


@dataclasses.dataclass(frozen=True)
class Row:
    """A row.

    Attributes:
        id: different for each row of the table.
        cells: one for each column.
        href: where the first cell leads; empty for nowhere.
        can_be_selected: whether it has a box to tick.
    """

    id: str
    cells: Sequence[Cell]
    href: str = ""
    can_be_selected: bool = True


class DataTable(Element, component="data_table.js"):
    """A table that can be sorted by every column and filtered by words. Rows may be set again at any time.

    Args:
        caption: what the table shows.
        noun: what a row is, such as `trial`.
        columns: in order.
        sort_by: place of the column that it is sorted by at first; None for the order of the rows.
        page_size: rows shown at once.
        on_select: called with the ids of the ticked rows; without it rows have no boxes.
    """

    def __init__(
        self,
        caption: str,
        noun: str,
        columns: Sequence[Column],
        *,
        sort_by: int | None = None,
        page_size: int = 25,
        on_select: Callable[[list[str]], None] | None = None,
    ) -> None:
        super().__init__()
        self._noun, self._page_size, self._on_select = noun, page_size, on_select
        self._rows: Sequence[Row] = ()
        self._sort_by, self._descending, self._words, self._page = sort_by, False, "", 0
        self.selected: list[str] = []
        self._set(caption=caption, selectable=on_select is not None, selected=[])
        self.set_columns(columns)
        self.on("sort", self._sort)
        self.on("filter", self._filter)
        self.on("page", self._turn)
        self.on("select", self._select)

    def set_columns(self, columns: Sequence[Column]) -> None:
        """Replace the columns; the rows must be set next."""
        self._set(columns=[{"key": str(place), **dataclasses.asdict(column)} for place, column in enumerate(columns)])
        self._rows = ()

    def set_rows(self, rows: Sequence[Row]) -> None:
        """Replace the rows."""
        if rows != self._rows:
            self._rows = rows
            self._show()

    def _set(self, **values: Any) -> None:
        """Set what the browser knows, and send it only if something has changed."""
        changed = {name: value for name, value in values.items() if self.props.get(name) != value}
        if changed:
            self.props.update(changed)
            self.update()

    def _show(self) -> None:
        words = self._words.lower().split()
        rows = [row for row in self._rows if _matches(row, words)] if words else list(self._rows)
        if self._sort_by is not None:
            rows = _sort(rows, self._sort_by, self._descending)
        pages = max(1, -(-len(rows) // self._page_size))
        self._page = min(self._page, pages - 1)
        shown = rows[self._page * self._page_size : (self._page + 1) * self._page_size]
        count = format_count(len(self._rows), self._noun)
        self._set(
            rows=[
                {
                    "id": row.id,
                    "cells": [text for text, _ in row.cells],
                    "href": row.href,
                    "can_be_selected": row.can_be_selected,
                }
                for row in shown
            ],
            sorted="" if self._sort_by is None else str(self._sort_by),
            descending=self._descending,
            filter=self._words,
            page=self._page,
            pages=pages,
            summary=f"{len(rows):,} of {count}" if words else count,
            searchable=len(self._rows) > 5,
            selected=list(self.selected),
        )

    def _sort(self, event: GenericEventArguments) -> None:
        column = int(event.args)
        self._descending = not self._descending if column == self._sort_by else self._is_numeric(column)
        self._sort_by, self._page = column, 0
        self._show()

    def _is_numeric(self, column: int) -> bool:
        """Return whether a column has numbers, of which the highest are shown first."""
        columns: Sequence[Mapping[str, Any]] = self.props["columns"]
        return bool(columns[column]["numeric"])

    def _filter(self, event: GenericEventArguments) -> None:
        self._words, self._page = str(event.args)[:200], 0
        self._show()

    def _turn(self, event: GenericEventArguments) -> None:
        self._page = max(0, int(event.args))
        self._show()

    def _select(self, event: GenericEventArguments) -> None:
        chosen = str(event.args["id"])
        self.selected = [name for name in self.selected if name != chosen] + [chosen] * bool(event.args["on"])
        self._show()
        if self._on_select:
            self._on_select(self.selected)


def _matches(row: Row, words: Sequence[str]) -> bool:
    text = " ".join(text for text, _ in row.cells).lower()
    return all(word in text for word in words)


def _sort(rows: Sequence[Row], column: int, descending: bool) -> list[Row]:
    """Return the rows sorted by a column; those without a value come last in both directions."""
    known = [row for row in rows if row.cells[column][1] is not None]
    unknown = [row for row in rows if row.cells[column][1] is None]
    known.sort(key=lambda row: _rank(row.cells[column][1]), reverse=descending)
    return known + unknown


def _rank(value: Any) -> tuple[int, Any]:
    """Return a key by which numbers come before texts."""
    return (0, value) if isinstance(value, int | float) else (1, str(value))
