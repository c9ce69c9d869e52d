"""The style of all figures: safe for colour-blind readers, readable in print, with the finding as the title."""

import contextlib
import math
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.transforms import Bbox

from workbench.files import replace_file
from workbench.reporting.figure_metadata import Box, make_metadata

# The palette of Okabe and Ito: its colours are distinct with every common form of colour blindness.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, GREY = (
    *("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#7F7F7F"),
)
PALETTE = [BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, GREY]
SEQUENTIAL = "cividis"  # its lightness is linear, so that it is also readable in grey
_MARGIN = 5  # pixels around a part
_FONTS = (  # DejaVu Sans comes with matplotlib; the others are used, if installed, for scripts that it lacks
    *("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Sans Devanagari"),
    *("PingFang SC", "Hiragino Sans", "Microsoft YaHei", "Malgun Gothic", "Nirmala UI", "Arial Unicode MS"),
)
_STYLE: dict[Any, Any] = {
    "font.family": [name for name in _FONTS if name in font_manager.get_font_names()],
    "text.parse_math": False,  # the name of a class may contain $
    "figure.dpi": 110,
    "savefig.dpi": 110,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E5E5E5",
    "legend.frameon": False,
    "image.cmap": SEQUENTIAL,
    "axes.prop_cycle": cycler(color=PALETTE),
}


@contextlib.contextmanager
def open_figure(width: float = 8.0, height: float = 4.5, **kwargs: Any) -> Iterator[tuple[Figure, Any]]:
    """Yield (figure, axes) of `plt.subplots` in the project's style, and close the figure at the end.

    Args:
        width, height: size in inches.
        kwargs: passed to `plt.subplots`; they decide whether `axes` is one Axes or an array of them.
    """
    with plt.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")  # such a character is drawn as a box
        figure, axes = plt.subplots(figsize=(width, height), **kwargs)
        try:
            yield figure, axes
        finally:
            plt.close(figure)


def save_figure(
    figure: Figure,
    path: Path,
    title: str,
    caption: str = "",
    parts: Sequence[Sequence[Sequence[Axes]]] = (),
) -> Path:
    """Draw the title (the finding) at the top of a figure, write the figure as PNG, and return its path.

    The file's metadata hold what a page needs to show the figure: the title, the caption (how to read the figure; see
    `read_words`), and the figure's parts without the title (see `read_parts`).

    Args:
        figure: the figure.
        path: of the PNG file.
        title, caption: words of the figure.
        parts: rows of parts, each a list of axes; a narrow page shows the parts below one another. Empty if the figure
            is shown as a whole.
    """
    top = _draw_title(figure, title)
    boxes = _find_boxes(figure, top, parts) or [(0, top, *figure.canvas.get_width_height())]
    with replace_file(path) as temporary:
        figure.savefig(temporary, format="png", metadata=make_metadata(title, caption, boxes))
    return path


def _draw_title(figure: Figure, title: str) -> int:
    """Draw a title at the top left of a figure, in lines that fit into it. Return its height in pixels."""
    if not title:
        return 0
    words = figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    inches = figure.get_figwidth()
    for letters in range(int(11 * inches), 10, -2):
        words.set_text(textwrap.fill(title, letters))
        if words.get_window_extent().width < 0.98 * inches * figure.dpi:
            break
    engine = figure.get_layout_engine()
    padding = engine.get()["h_pad"] if isinstance(engine, ConstrainedLayoutEngine) else 0.0  # inches, above and below
    return math.ceil(words.get_window_extent().height + 2 * padding * figure.dpi)


def _find_boxes(figure: Figure, top: int, parts: Sequence[Sequence[Sequence[Axes]]]) -> list[Box]:
    """Return the places of the parts in the picture, below its title of `top` pixels."""
    if not parts:
        return []
    figure.draw_without_rendering()  # places the axes
    figure.set_layout_engine("none")  # and leaves them there
    width, height = figure.canvas.get_width_height()
    grid = [[Bbox.union(list(filter(None, map(Axes.get_tightbbox, part)))) for part in row] for row in parts]
    found: list[Box] = []
    for row in grid:
        upper = math.floor(height - max(box.y1 for box in row)) - _MARGIN
        lower = math.ceil(height - min(box.y0 for box in row)) + _MARGIN
        for at in range(len(row)):
            column = [other[at] for other in grid if at < len(other)]  # as wide in every row: so they stay aligned
            left = math.floor(min(box.x0 for box in column)) - _MARGIN
            right = math.ceil(max(box.x1 for box in column)) + _MARGIN
            found.append((max(0, left), max(top, upper), min(width, right), min(height, lower)))
    return found


def show_image(axes: Axes, image: np.ndarray, title: str = "", **kwargs: Any) -> AxesImage:
    """Draw an image without ticks or grid, and return what `Axes.imshow` returns.

    Args:
        kwargs: passed to `Axes.imshow`.
    """
    drawn = axes.imshow(image, **kwargs)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    if title:
        axes.set_title(title)
    return drawn
