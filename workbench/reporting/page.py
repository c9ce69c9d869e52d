"""What a page is made of, and how it becomes one HTML file that needs nothing else."""

import base64
import dataclasses
import io
import time

from PIL import Image

from workbench.reporting.figures import data_uri, words
from workbench.reporting.templates import render

ROWS_A_PAGE = 25
_LARGE = 200_000  # bytes of a PNG file


@dataclasses.dataclass(frozen=True)
class Tile:
    """A number worth being large."""

    label: str
    value: str
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Command:
    """What can be typed, and what for."""

    what: str
    line: str


@dataclasses.dataclass(frozen=True)
class Column:
    """Of a table; a numeric one is sorted by its numbers."""

    label: str
    numeric: bool = True


@dataclasses.dataclass(frozen=True)
class Table:
    """A table that can be sorted.

    Attributes:
        caption: what it shows.
        columns: list of `Column`; the first one names the row.
        rows: list of lists of text.
        where: the file that has it all, for who sees one page of it on paper.
        page: rows shown at once.
    """

    caption: str
    columns: list
    rows: list
    where: str = ""
    page: int = ROWS_A_PAGE


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure as the page holds it."""

    title: str
    caption: str
    uri: str
    width: int
    height: int

    @property
    def is_wide(self):
        """Whether several fit on a sheet of paper."""
        return self.width > 1.2 * self.height

    @property
    def alt(self):
        """What it shows, for those who do not see it."""
        return f"{self.title}. {self.caption}" if self.caption else self.title


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page with a heading."""

    id: str
    heading: str
    text: str = ""
    commands: list = ()
    values: dict = dataclasses.field(default_factory=dict)
    figures: list = ()
    tables: list = ()

    @property
    def is_empty(self):
        """Whether there is nothing to show in it."""
        return not (self.text or self.commands or self.values or self.figures or self.tables)


@dataclasses.dataclass(frozen=True)
class Page:
    """A report.

    Attributes:
        title: the run's name.
        lead: what the run is, in a sentence.
        tiles: list of `Tile`.
        sections: list of `Section`; empty ones are left out.
        command: that makes the page again.
        notices: what must not be missed, a list of sentences.
    """

    title: str
    lead: str
    tiles: list
    sections: list
    command: str
    notices: list = ()

    def html(self):
        """The page as one HTML document: figures, style and script are inside it, all text from data is escaped."""
        shown = dataclasses.replace(self, sections=[section for section in self.sections if not section.is_empty])
        made = time.strftime("%Y-%m-%d %H:%M")
        return render("report.html", page=shown, made=made)


def _embedded(path, image):
    """A figure as a `data:` address: the PNG file itself or, of large ones such as photos, a WebP a fifth its size."""
    if path.stat().st_size < _LARGE:
        return data_uri(path.read_bytes())
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "WEBP", quality=90, method=2)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def pictures(paths):
    """The figures at these paths; what is no PNG file is passed over."""
    found = []
    for path in paths:
        try:
            with Image.open(path, formats=["PNG"]) as image:
                uri, (width, height) = _embedded(path, image), image.size
            title, caption = words(path)
            found.append(Picture(title or path.stem, caption, uri, width, height))
        except (OSError, SyntaxError):  # Pillow's words for a torn file
            continue
    return found
