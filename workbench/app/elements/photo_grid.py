"""Photos of a data set side by side, each with its words; the browser asks for them by their names."""

import dataclasses
from collections.abc import Sequence
from urllib.parse import urlencode

from workbench.app.elements.layout import Text


@dataclasses.dataclass(frozen=True)
class ShownPhoto:
    """A photo of a grid.

    Attributes:
        src: its address; see `locate_photo`.
        strong: words in bold.
        text: further words below it.
        is_wrong: whether the words in bold are a mistake.
    """

    src: str
    strong: str
    text: str = ""
    is_wrong: bool = False


def locate_photo(data: str, name: str, size: int = 160) -> str:
    """Return the address of a photo of a data set, for the route `/photo` of the server."""
    return f"/photo?{urlencode({'data': data, 'name': name, 'size': size})}"


def add_photo_grid(photos: Sequence[ShownPhoto]) -> None:
    """Add photos side by side."""
    with Text("ul", classes="photos"):
        for photo in photos:
            with Text("li"), Text("figure", classes="wrong" if photo.is_wrong else ""):
                Text("img", src=photo.src, alt=f"{photo.strong} {photo.text}".strip(), loading="lazy")
                with Text("figcaption"):
                    Text("strong", photo.strong)
                    if photo.text:
                        Text("div", photo.text)
