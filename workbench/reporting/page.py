"""The parts of a report page, and its rendering as one HTML file that contains everything it needs."""

import base64
import dataclasses
import io
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from PIL import Image

from workbench.reporting.figures import read_words
from workbench.reporting.templates import render
from workbench.table import Table

_LARGE = 200_000  # bytes of a PNG file above which a page contains a WebP instead


@dataclasses.dataclass(frozen=True)
class Tile:
    """A number shown in large type at the top of the page."""

    label: str
    value: str
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Command:
    """A command that the reader can copy, and its purpose."""

    what: str
    line: str


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure of the page, with its image as a `data:` address."""

    title: str
    caption: str
    uri: str
    width: int
    height: int

    @property
    def is_wide(self) -> bool:
        """Whether the figure is wide, so that several of them fit on a printed page."""
        return self.width > 1.2 * self.height

    @property
    def alt(self) -> str:
        """The text that a screen reader reads out."""
        return f"{self.title}. {self.caption}" if self.caption else self.title


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page with a heading."""

    id: str
    heading: str
    text: str = ""
    commands: Sequence[Command] = ()
    values: Mapping[str, str] = dataclasses.field(default_factory=dict)
    figures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()

    @property
    def is_empty(self) -> bool:
        """Whether the section has nothing but its heading."""
        return not (self.text or self.commands or self.values or self.figures or self.tables)


@dataclasses.dataclass(frozen=True)
class Page:
    """A report.

    Attributes:
        title: name of the run.
        lead: one sentence that describes the run.
        tiles: the most important numbers.
        sections: parts of the page; empty ones are left out.
        command: the command that makes the page again.
        notices: sentences that the reader must not miss.
    """

    title: str
    lead: str
    tiles: Sequence[Tile]
    sections: Sequence[Section]
    command: str
    notices: Sequence[str] = ()

    def render(self) -> str:
        """Return the page as one HTML document. Figures, style and script are inside it; text from data is escaped."""
        shown = dataclasses.replace(self, sections=[section for section in self.sections if not section.is_empty])
        return render("report.html", page=shown, made=time.strftime("%Y-%m-%d %H:%M"))


def load_pictures(paths: Iterable[Path]) -> list[Picture]:
    """Load the figures at these paths; files that are not readable PNG files are skipped."""
    pictures = []
    for path in paths:
        try:
            with Image.open(path, formats=["PNG"]) as image:
                uri, (width, height) = _encode(path, image), image.size
            title, caption = read_words(path)
        except (OSError, SyntaxError):  # Pillow raises a SyntaxError for a damaged file
            continue
        pictures.append(Picture(title or path.stem, caption, uri, width, height))
    return pictures


def _encode(path: Path, image: Image.Image) -> str:
    """Return a figure as a `data:` address: the PNG file or, for a large one, a WebP of about a fifth of its size."""
    kind, data = "png", path.read_bytes()
    if len(data) >= _LARGE:
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "WEBP", quality=90, method=2)
        kind, data = "webp", buffer.getvalue()
    return f"data:image/{kind};base64," + base64.b64encode(data).decode()
