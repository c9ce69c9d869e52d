"""The images of a label search as cards, on each of which a person decides with the mouse or the keyboard."""

import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from nicegui.element import Element
from nicegui.events import GenericEventArguments

from workbench.app.elements.photo_grid import locate_photo
from workbench.data.corrections import Correction

_PER_PAGE = 24
_ALL, _OPEN, _DONE = "all", "to review", "reviewed"


@dataclasses.dataclass(frozen=True)
class Choice:
    """A decision: the image, the action, and the new class if it is relabelled."""

    image: str
    action: str
    class_name: str


class LabelCards(Element, component="label_cards.js"):
    """Cards of images whose label may be wrong; the server filters and pages them.

    An image that is decided stays where it is until another page or filter is chosen.

    Args:
        data: value of `--data`.
        class_names: to which an image can be relabelled.
        on_choice: called with each decision.
    """

    def __init__(self, data: str, class_names: Sequence[str], on_choice: Callable[[Choice], Awaitable[None]]) -> None:
        super().__init__()
        self._data, self._on_choice = data, on_choice
        self._rows: dict[str, Correction] = {}
        self._listed: list[str] = []  # names of the images of all pages
        self._filter, self._page = _ALL, 0
        self.props["classes"], self.props["filters"] = list(class_names), [_ALL, _OPEN, _DONE]
        self.on("choose", self._choose)
        self.on("page", self._turn)
        self.on("filter", self._filter_by)

    def set_rows(self, rows: Sequence[Correction]) -> None:
        """Show the rows of the table as they are now."""
        names = [row.image for row in rows]
        is_same = names == [*self._rows]
        self._rows = {row.image: row for row in rows}
        if not is_same:
            self._list()
        self._show()

    def _list(self) -> None:
        keeps = {_ALL: lambda _: True, _OPEN: lambda row: not row.action, _DONE: lambda row: bool(row.action)}
        self._listed = [name for name, row in self._rows.items() if keeps[self._filter](row)]
        self._page = 0

    def _show(self) -> None:
        shown = self._listed[self._page * _PER_PAGE : (self._page + 1) * _PER_PAGE]
        places = {name: place for place, name in enumerate(self._rows, 1)}
        self.props["items"] = [self._describe(self._rows[name], places[name]) for name in shown]
        self.props["page"], self.props["pages"] = self._page, max(1, -(-len(self._listed) // _PER_PAGE))
        self.props["filter"] = self._filter
        self.update()

    def _describe(self, row: Correction, place: int) -> dict[str, Any]:
        """Return what a card shows."""
        return {
            "image": row.image,
            "place": place,
            "photo": locate_photo(self._data, row.image),
            "large": locate_photo(self._data, row.image, 480),
            "label": row.label,
            "seen": row.seen or row.suggested,
            "labelShare": _format_share(row.score),
            "sure": _describe_models(row),
            "suggested": row.suggested,
            "action": row.action,
        }

    async def _choose(self, event: GenericEventArguments) -> None:
        values = event.args
        await self._on_choice(Choice(str(values["image"]), str(values["action"]), str(values["className"])))

    def _turn(self, event: GenericEventArguments) -> None:
        self._page = max(0, min(int(event.args), (len(self._listed) - 1) // _PER_PAGE))
        self._show()

    def _filter_by(self, event: GenericEventArguments) -> None:
        if event.args in (_ALL, _OPEN, _DONE):
            self._filter = str(event.args)
            self._list()
            self._show()


def _describe_models(row: Correction) -> str:
    """Return how sure the models are; an empty text if an earlier version has searched."""
    share = _format_share(row.confidence)
    parts = [share and f"probability {share}", row.votes and f"{row.votes} models"]
    return ", ".join(filter(None, parts))


def _format_share(text: str) -> str:
    """Return a share of a table in percent; an empty text if it is none."""
    try:
        return f"{float(text):.0%}"
    except ValueError:
        return ""
