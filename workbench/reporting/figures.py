"""The style of all figures: safe for colour-blind readers, readable in print, with the finding as the title."""

import contextlib
import warnings
from collections.abc import Iterator
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
from PIL import Image

from workbench.files import replace_file

# The palette of Okabe and Ito: its colours are distinct with every common form of colour blindness.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, GREY = (
    *("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#7F7F7F"),
)
PALETTE = [BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, GREY]
SEQUENTIAL = "cividis"  # its lightness is linear, so that it is also readable in grey
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


def save_figure(figure: Figure, path: Path, title: str, caption: str = "") -> Path:
    """Write a figure as PNG, and return its path.

    The title (the finding) and the caption (how to read the figure) are saved in the file's metadata, where a page
    that shows the figure finds them; see `read_words`.
    """
    with replace_file(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Title": title, "Description": caption})
    return path


def save_titled(figure: Figure, path: Path, title: str, caption: str) -> Path:
    """Draw the title at the top of a figure with several axes, and save it as `save_figure` does."""
    draw_title(figure, title)
    return save_figure(figure, path, title, caption)


def draw_title(figure: Figure, title: str) -> None:
    """Draw a title at the top left of a whole figure."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")


def read_words(path: Path) -> tuple[str, str]:
    """Return (title, caption) of a figure written by `save_figure`."""
    with Image.open(path, formats=["PNG"]) as image:
        return image.info.get("Title", ""), image.info.get("Description", "")


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
