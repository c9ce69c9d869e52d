"""What the pages of a run and of a sweep share: their head, and parts that are shown again when they have changed."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from workbench.app.catalogue import Entry
from workbench.app.elements.layout import Text, add_notice, add_tiles, frame
from workbench.app.state import AppState

INTERVAL = 2.0  # seconds between two looks at a folder


class LivePage:
    """A page about the folder of a run or of a sweep: name and state, a sentence, notices, and the main numbers.

    Args:
        state: what all pages share.
        entry: the run or the sweep.
        lead: the sentence.
    """

    def __init__(self, state: AppState, entry: Entry, lead: str = "") -> None:
        self._state, self._name = state, entry.name
        self._shown: dict[str, Any] = {}  # part -> the value that it shows
        with Text("div", classes="headline"):
            Text("h1", entry.name)
            self._badge = Text("span", entry.state, f"badge {entry.state}", role="status")
        self._lead = Text("p", lead, "lead")
        self._notices, self._tiles = Text("div"), Text("div")

    async def _read(self, kind: str) -> Entry | None:
        """Read the folder, and show its state; None if it is gone. `kind` is what it is."""
        entry = await asyncio.to_thread(self._state.catalogue.find, self._name)
        if entry is None:
            self._update("notices", [f"The folder of this {kind} is gone."], self._show_notices)
            return None
        self._badge.text = entry.state
        self._badge.classes(replace=f"badge {entry.state}")
        return entry

    def _update(self, part: str, value: Any, show: Callable[[Any], None]) -> None:
        """Show a part of the page again if its value has changed."""
        if self._shown.get(part, self) != value:
            self._shown[part] = value
            show(value)

    def _show_notices(self, notices: list[str]) -> None:
        self._notices.clear()
        with self._notices:
            for notice in notices:
                add_notice(notice)

    def _show_tiles(self, tiles: list[tuple[str, str, str]]) -> None:
        self._tiles.clear()
        with self._tiles:
            add_tiles(tiles)


def add_labels_link(name: str) -> None:
    """Add a link to the page of a label search in the folder of a run or sweep."""
    Text("a", "Labels that may be wrong", "button", href=f"/labels/{quote(name, safe='')}")


def add_missing(kind: str, folder: Path) -> None:
    """Add the page of a run or sweep that does not exist. `kind` is what it would be."""
    with frame(f"No such {kind}", ""):
        Text("h1", f"There is no such {kind}")
        Text("p", f"{folder} has no {kind} of this name; it may have been moved or removed.")
        Text("a", "All runs and sweeps", href="/")
