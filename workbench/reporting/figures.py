"""The one style of every figure: colour-blind-safe, readable in print, titles that say the finding."""

import base64
import contextlib
import warnings

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib import font_manager
from PIL import Image

from workbench.files import replace_file

# Okabe and Ito's palette: distinct with every common form of colour blindness.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, GREY = (
    *("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#7F7F7F"),
)
PALETTE = [BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, GREY]
SEQUENTIAL = "cividis"  # even in lightness: also right in grey print
_FONTS = (  # DejaVu comes with matplotlib; the others, where the machine has them, for the scripts it lacks
    *("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Sans Devanagari"),
    *("PingFang SC", "Hiragino Sans", "Microsoft YaHei", "Malgun Gothic", "Nirmala UI", "Arial Unicode MS"),
)
_STYLE = {
    "font.family": [name for name in _FONTS if name in font_manager.get_font_names()],
    "text.parse_math": False,  # a class may be called $x
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
    "axes.prop_cycle": matplotlib.cycler(color=PALETTE),
}


@contextlib.contextmanager
def figure(width=8.0, height=4.5, **kwargs):
    """(figure, axes) of `plt.subplots` in the project's style, closed at the end.

    Args:
        width, height: in inches.
        kwargs: as `plt.subplots` takes them.
    """
    with plt.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")  # it is drawn as a box
        made, axes = plt.subplots(figsize=(width, height), **kwargs)
        try:
            yield made, axes
        finally:
            plt.close(made)


def save(made, path, title, caption=""):
    """Write a figure as PNG, whole; returns the path.

    Title (the finding) and caption (how to read it) are kept in the file, so that a page that shows the
    figure has its words at hand, see `words`.
    """
    with replace_file(path) as temporary:
        made.savefig(temporary, format="png", metadata={"Title": title, "Description": caption})
    return path


def words(path):
    """(title, caption) of a figure that `save` wrote."""
    with Image.open(path) as image:
        return image.text.get("Title", ""), image.text.get("Description", "")


def data_uri(png):
    """The bytes of a PNG as a `data:` address, for a page that stands alone."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def show_image(axes, image, title="", **kwargs):
    """Draw an image without ticks or grid; what `imshow` returns."""
    drawn = axes.imshow(image, **kwargs)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    if title:
        axes.set_title(title)
    return drawn
