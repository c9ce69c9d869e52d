"""The parts of a report page, and its rendering as one HTML file that contains everything it needs."""

import base64
import dataclasses
import io
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from PIL import Image

from workbench.reporting.charts import Chart, read_script
from workbench.reporting.figure_metadata import Box, read_parts, read_words
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
class PicturePart:
    """A part of a figure: its address, which is a `data:` address in a page of one file, and its size in pixels."""

    uri: str
    width: int
    height: int

    @property
    def is_wide(self) -> bool:
        """Whether it is wide, so that several figures fit on a printed page."""
        return self.width > 1.2 * self.height


MakePart = Callable[[Path, Image.Image, Box, int | None], PicturePart]


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure of the page.

    Attributes:
        title, caption: its words.
        parts: shown side by side where there is room, otherwise below one another.
        shows_title: whether the title is in the picture, as in files of earlier versions.
    """

    title: str
    caption: str
    parts: Sequence[PicturePart]
    shows_title: bool

    @property
    def alt(self) -> str:
        """The text that a screen reader reads out."""
        return f"{self.title}. {self.caption}" if self.caption else self.title


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page with a heading; each line of its text is a paragraph."""

    id: str
    heading: str
    text: str = ""
    commands: Sequence[Command] = ()
    values: Mapping[str, str] = dataclasses.field(default_factory=dict)
    figures: Sequence[Picture] = ()
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()

    @property
    def is_empty(self) -> bool:
        """Whether the section has nothing but its heading."""
        return not (self.text or self.commands or self.values or self.figures or self.charts or self.tables)


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
        epochs: of the run; None for other pages.
    """

    title: str
    lead: str
    tiles: Sequence[Tile]
    sections: Sequence[Section]
    command: str
    notices: Sequence[str] = ()
    epochs: int | None = None

    def render(self) -> str:
        """Return the page as one HTML document. Figures, style and script are inside it; text from data is escaped.

        Where plotly is not installed, the page has no interactive charts.
        """
        plotly = read_script() if any(section.charts for section in self.sections) else None
        sections = [section if plotly else dataclasses.replace(section, charts=()) for section in self.sections]
        shown = dataclasses.replace(self, sections=[section for section in sections if not section.is_empty])
        return render("report.html", page=shown, made=time.strftime("%Y-%m-%d %H:%M"), plotly=plotly)


def load_pictures(paths: Iterable[Path], make_part: MakePart | None = None) -> list[Picture]:
    """Load the figures at these paths; files that are not readable PNG files are skipped.

    Args:
        paths: of the figures.
        make_part: returns a part from the path, the picture, the part's box, and its number, None for a whole figure.
            By default the part is in its address.
    """
    pictures, make = [], make_part or _encode
    for path in paths:
        try:
            (title, caption), boxes = read_words(path), read_parts(path)
            with Image.open(path, formats=["PNG"]) as image:
                whole = (0, 0, *image.size)
                parts = [make(path, image, box, number) for number, box in enumerate(boxes)]
                parts = parts or [make(path, image, whole, None)]
        except (OSError, SyntaxError, ValueError):  # Pillow raises a SyntaxError for a damaged file
            continue
        pictures.append(Picture(title or path.stem, caption, parts, shows_title=bool(title) and not boxes))
    return pictures


def _encode(path: Path, image: Image.Image, box: Box, _: int | None) -> PicturePart:
    """Return a part of a figure as PNG or, if it is large, as WebP of about a fifth of the size."""
    part = image.convert("RGB").crop(box)
    share = part.width * part.height / (image.width * image.height)
    buffer = io.BytesIO()
    if path.stat().st_size * share >= _LARGE:
        kind = "webp"
        part.save(buffer, "WEBP", quality=90, method=2)
    else:
        kind = "png"
        part.save(buffer, "PNG")
    uri = f"data:image/{kind};base64," + base64.b64encode(buffer.getvalue()).decode()
    return PicturePart(uri, part.width, part.height)
