"""The page of a label search: the images whose label may be wrong, and a person's decision on each."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from nicegui import ui

from workbench.app.catalogue import Entry
from workbench.app.elements.label_cards import Choice, LabelCards
from workbench.app.elements.layout import PATIENCE, Text, add_command, add_notice, frame
from workbench.app.elements.live_page import INTERVAL, add_missing
from workbench.app.label_review import choose, describe_review, find_table, list_commands
from workbench.app.state import AppState
from workbench.data.corrections import Correction, read_corrections
from workbench.errors import UserError


def add_page(state: AppState) -> None:
    """Add the page to the application."""

    @ui.page("/labels/{name}", response_timeout=PATIENCE)
    async def show(name: str) -> None:
        entry = await asyncio.to_thread(state.catalogue.find, name)
        table = await asyncio.to_thread(find_table, entry) if entry else None
        if entry is None or table is None:
            add_missing("label search", state.catalogue.folder)
            return
        with frame(f"Labels of {entry.name}", "/data"):
            page = LabelsPage(state, entry, table)
            await page.refresh()
            ui.timer(INTERVAL, page.refresh, immediate=False)


class LabelsPage:
    """The content of the page; `refresh` reads the table again if it has changed, such as by another window.

    Args:
        state: what all pages share.
        entry: the run in whose folder the table is.
        table: path of the table.
    """

    def __init__(self, state: AppState, entry: Entry, table: Path) -> None:
        self._state, self._entry, self._table = state, entry, table
        self._read_at: tuple[int, int] | None = None  # time and number of the file that is shown
        Text("h1", "Labels that may be wrong")
        where = "sweep" if entry.is_sweep else "run"
        with Text("p", classes="lead"):
            Text("span", f"Found in {entry.data_name or '?'} by the models of ")
            Text("a", entry.name, href=f"/{where}/{quote(entry.name, safe='')}")
            Text("span", "; the label that fits least comes first.")
        Text(
            "p",
            "Each decision is saved at once. No photo is moved, changed or deleted. With the keyboard: Tab reaches an "
            "image, K keeps its label, R relabels it, X leaves it out, U undoes that, and the arrow keys move.",
            "soft",
        )
        self._problem = Text("div")
        self._progress = Text("p", "", role="status")
        self._cards = LabelCards(entry.data, entry.class_names, self._choose)
        Text("h2", "Train with these labels")
        self._commands = Text("div")

    async def refresh(self) -> None:
        """Read the table again if it has changed."""
        try:
            stat = self._table.stat()
            read_at = stat.st_mtime_ns, stat.st_ino
            if read_at == self._read_at:
                return
            rows = await asyncio.to_thread(read_corrections, self._table)
        except OSError:
            self._show_problem(f"{self._table} is gone.")
            return
        except UserError as error:
            self._show_problem(f"The table cannot be read: {error}.")
            return
        self._read_at = read_at
        self._show_problem("")
        self._progress.text = describe_review(rows)
        self._cards.set_rows(rows)
        self._show_commands(rows)

    async def _choose(self, choice: Choice) -> None:
        try:
            await asyncio.to_thread(choose, self._entry, choice.image, choice.action, choice.class_name)
        except UserError as error:
            ui.notify(str(error), type="negative")
        await self.refresh()

    def _show_problem(self, problem: str) -> None:
        self._problem.clear()
        if problem:
            self._read_at = None
            with self._problem:
                add_notice(problem, "bad")

    def _show_commands(self, rows: Sequence[Correction]) -> None:
        self._commands.clear()
        with self._commands:
            if not any(row.action for row in rows):
                Text("p", "The command is shown here after the first decision.", "soft")
                return
            for what, line in list_commands(self._entry, self._table):
                add_command(what, line)
