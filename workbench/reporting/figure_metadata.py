"""The metadata of a figure's PNG file: what a page needs to show the figure."""

import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

_PARTS = "Parts"  # name of the parts in a file's metadata
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels


def make_metadata(title: str, caption: str, boxes: Sequence[Box]) -> dict[str, str]:
    """Return the metadata of a figure: its words, and the places of its parts."""
    return {"Title": title, "Description": caption, _PARTS: json.dumps(boxes)}


def read_words(path: Path) -> tuple[str, str]:
    """Return (title, caption) of a figure written by `save_figure`."""
    with Image.open(path, formats=["PNG"]) as image:
        return image.info.get("Title", ""), image.info.get("Description", "")


def read_parts(path: Path) -> list[Box]:
    """Return the parts of a figure that are shown side by side where there is room, all without the title.

    Empty if the file was not written by `save_figure`, or by a version that drew the title into its only part.
    """
    with Image.open(path, formats=["PNG"]) as image:
        parts = json.loads(image.info.get(_PARTS, "[]"))
        return [(left, top, right, bottom) for left, top, right, bottom in parts]
