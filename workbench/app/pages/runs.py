"""The first page: all runs and sweeps, live."""

import asyncio
import time
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from nicegui import ui

from workbench.app.catalogue import Entry
from workbench.app.elements.data_table import Column, DataTable, Row
from workbench.app.elements.layout import PATIENCE, Text, add_button, add_empty, frame
from workbench.app.state import AppState
from workbench.commandline.calls import format_call
from workbench.console import format_duration
from workbench.reporting.test_section import OF_EARLIER_MODEL
from workbench.wording import format_count

_INTERVAL = 2.0  # seconds between two looks at the folder
_HINT = "Tick two or more finished runs to compare them."
_COLUMNS = (
    Column("name"),
    Column("state", badge=True),
    Column("validation", numeric=True),
    Column("test", numeric=True),
    Column("progress"),
    Column("time left", numeric=True),
    Column("kind"),
    Column("data"),
    Column("device"),
    Column("changed", numeric=True),
)


def add_page(state: AppState) -> None:
    """Add the page to the application."""

    @ui.page("/", response_timeout=PATIENCE)
    async def show() -> None:
        with frame("Runs", "/"):
            Text("h1", "Runs and sweeps")
            lead = Text("p", "", "lead")
            empty = Text("div")
            with empty:
                add_empty(
                    f"There are no runs in {state.catalogue.folder} yet. Train a network or start a sweep in a "
                    "terminal; it appears here at once.",
                    [
                        ("Sweep on handwritten digits, which need no download:", format_call("cnn_scratch.tune")),
                        (
                            "Train on your own photos, one folder of images a class:",
                            f"{format_call('cnn_scratch.train')} --data FOLDER",
                        ),
                    ],
                )
            filled = Text("div")
            with filled:
                ticked: list[str] = []
                with Text("div", classes="actions"):
                    compare = add_button("Compare", lambda: _compare(ticked), "primary", disabled=True)
                    hint = Text("span", _HINT, "soft")

                def update_button(selected: Sequence[str]) -> None:
                    ticked[:] = selected
                    compare.props["disabled"] = len(selected) < 2
                    compare.update()
                    hint.text = f"{format_count(len(selected), 'run')} ticked." if selected else _HINT

                table = DataTable("Runs and sweeps", "run", _COLUMNS, on_select=update_button)

            async def refresh() -> None:
                entries = await asyncio.to_thread(state.catalogue.list_entries)
                lead.text = _describe(entries)
                empty.set_visibility(not entries)
                filled.set_visibility(bool(entries))
                table.set_rows([_make_row(entry) for entry in entries])

            await refresh()
            ui.timer(_INTERVAL, refresh, immediate=False)


def _compare(selected: Sequence[str]) -> None:
    if len(selected) > 1:
        ui.navigate.to(f"/compare?{urlencode([('run', name) for name in selected])}")


def _describe(entries: Sequence[Entry]) -> str:
    """Return one sentence on what runs and what is best."""
    running = [entry for entry in entries if entry.state == "running"]
    parts = [f"{format_count(len(running), 'run')} running now" if running else "nothing is running"]
    tested = [entry for entry in entries if entry.test_accuracy is not None and not entry.has_old_test]
    if tested:
        best = max(tested, key=lambda entry: entry.test_accuracy or 0)
        parts.append(f"the best test accuracy is {best.test_accuracy:.1%}, of {best.name}")
    damaged = sum(entry.state == "damaged" for entry in entries)
    if damaged:
        parts.append(f"{format_count(damaged, 'folder')} cannot be read")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _make_row(entry: Entry) -> Row:
    href = f"/{'sweep' if entry.is_sweep else 'run'}/{quote(entry.name, safe='')}"
    left = entry.seconds_left
    kind = "sweep" if entry.is_sweep else "cross-validation" if entry.num_folds else "run"
    progress = entry.problem if entry.state == "damaged" else entry.progress
    cells = [
        (entry.name, entry.name),
        (entry.state, entry.state),
        _format_share(entry.accuracy),
        _format_share(entry.test_accuracy, f" {OF_EARLIER_MODEL}" if entry.has_old_test else ""),
        (progress, progress),
        ("" if left is None else format_duration(left), left),
        (kind, kind),
        (entry.data_name, entry.data),
        (entry.device, entry.device),
        (format_age(time.time() - entry.changed) if entry.changed else "", entry.changed or None),
    ]
    return Row(entry.name, cells, href, can_be_selected=entry.has_model)


def _format_share(share: float | None, note: str = "") -> tuple[str, float | None]:
    return ("" if share is None else f"{share:.1%}{note}", share)


def format_age(seconds: float) -> str:
    """Return how long ago something was, in words of one unit."""
    for size, unit in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            return f"{format_count(int(seconds // size), unit)} ago"
    return "just now"
