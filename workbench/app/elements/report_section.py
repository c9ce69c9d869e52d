"""A section of a report on a live page: its text, commands, figures and tables, in the style of these pages."""

import functools
import math
from collections.abc import Sequence

from workbench.app.elements.data_table import Column, DataTable, Row
from workbench.app.elements.layout import Text, add_command
from workbench.reporting.page import Picture, Section
from workbench.table import Table
from workbench.wording import format_count


def add_sections(sections: Sequence[Section]) -> None:
    """Add sections with their headings; figures are shown when the reader opens them."""
    for section in sections:
        Text("h2", section.heading)
        add_text(section)
        for table in section.tables:
            add_table(table)
        if section.figures:
            with Text("details"):
                Text("summary", format_count(len(section.figures), "figure"))
                add_figures(section.figures)


def add_text(section: Section) -> None:
    """Add the paragraphs and the commands of a section."""
    for paragraph in section.text.splitlines():
        Text("p", paragraph)
    for command in section.commands:
        add_command(command.what, command.line)


def add_figures(figures: Sequence[Picture]) -> None:
    """Add figures; the parts of a figure are below one another where the page is narrow."""
    for figure in figures:
        with Text("figure", classes="drawn"):
            Text("h3", figure.title, "hidden" if figure.shows_title else "")
            with Text("div", classes="parts"):
                for number, part in enumerate(figure.parts):
                    size = {"width": str(part.width), "height": str(part.height)}
                    Text("img", src=part.uri, alt="" if number else figure.alt, loading="lazy", **size)
            if figure.caption:
                Text("figcaption", figure.caption)


def add_table(table: Table, noun: str = "row", *, shows_caption: bool = True) -> None:
    """Add a table that can be sorted.

    Args:
        table: the table.
        noun: what a row is.
        shows_caption: whether the caption is also a heading; screen readers always have it.
    """
    if shows_caption:
        Text("h3", table.caption)
    shown = DataTable(table.caption, noun, [Column(column.label, column.numeric) for column in table.columns])
    shown.set_rows(build_rows(table))


def build_rows(table: Table) -> list[Row]:
    """Return the rows of a table with the values by which they are sorted: numbers first, missing ones last."""
    return [
        Row(
            str(number),
            [(cell, _find_value(cell, column.numeric)) for column, cell in zip(table.columns, cells, strict=True)],
        )
        for number, cells in enumerate(table.rows)
    ]


def _find_value(text: str, is_numeric: bool) -> float | str | None:
    """Return the number that a cell begins with, in seconds if it is a duration such as `2:05`.

    A cell without a number has its text, or in a numeric column None.
    """
    first = text.split()[0].rstrip("%").replace(",", "") if text.split() else ""
    try:
        number = functools.reduce(lambda total, part: 60 * total + float(part), first.split(":"), 0.0)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        return None if is_numeric else text or None
    return number
