"""The page of a data set: counts, a contact sheet, photos that are there twice, unreadable files."""

import asyncio
import shlex
from collections.abc import Sequence
from urllib.parse import quote

from nicegui import ui
from nicegui.events import GenericEventArguments
from starlette.requests import Request

from workbench.app.elements.data_table import Column, DataTable, Row
from workbench.app.elements.layout import (
    PATIENCE,
    Text,
    add_button,
    add_choice,
    add_command,
    add_empty,
    add_notice,
    describe_problem,
    frame,
)
from workbench.app.elements.photo_grid import ShownPhoto, add_photo_grid, locate_photo
from workbench.app.inspection import Inspection
from workbench.app.label_review import list_reviews
from workbench.app.state import AppState
from workbench.commandline.calls import format_call
from workbench.data.inspecting.findings import Findings, summarize
from workbench.data.splits.duplicates import PARTS
from workbench.reporting.inspection_page import MAX_PAIRS, choose_contacts, choose_pairs, name_pair
from workbench.wording import format_count

_PAIRS = 12  # pairs of photos that are shown at once
_LISTED = 500  # unreadable files that are listed


def add_page(state: AppState) -> None:
    """Add the page to the application."""
    inspections: dict[str, Inspection] = {}  # value of --data -> its inspection

    @ui.page("/data", response_timeout=PATIENCE)
    async def show(request: Request) -> None:
        known = await asyncio.to_thread(state.list_data)
        with frame("Data", "/data"):
            Text("h1", "Look through the photos")
            if not known:
                add_empty(
                    "There is no data to look through: no run has been trained yet, and the app was started without "
                    "--data.",
                    [("Open the app with your photos:", f"{format_call('workbench.app')} --data FOLDER")],
                )
                return
            asked = request.query_params.get("data", "")
            DataPage(state, inspections, known, asked if asked in known else known[0])


class DataPage:
    """The content of the page.

    Args:
        state: what all pages share.
        inspections: those that were made since the app was started.
        known: values of `--data` that may be shown.
        data: the one that is chosen at first.
    """

    def __init__(self, state: AppState, inspections: dict[str, Inspection], known: Sequence[str], data: str) -> None:
        self._state, self._inspections, self._known, self._data = state, inspections, known, data
        self._turn = 0  # grows with each inspection; what an earlier one finds is not shown any more
        Text("p", "Photos are only read: none is moved, changed or deleted.", "lead")
        with Text("div", classes="choices"):
            add_choice("Data", known, data, self._choose)
        with Text("div", classes="actions"):
            add_button("Look through again", self._look_again)
        self._labels = Text("div")
        self._progress = Text("div")
        self._content = Text("div")
        ui.timer(0.05, self._show, once=True)

    async def _choose(self, event: GenericEventArguments) -> None:
        if str(event.args) in self._known:
            self._data = str(event.args)
            await self._show()

    async def _look_again(self) -> None:
        self._inspections.pop(self._data, None)
        self._state.photos.forget(self._data)
        await self._show()

    async def _show(self) -> None:
        """Inspect the data if that was not done yet, and show what was found."""
        self._turn += 1
        turn, data = self._turn, self._data
        inspection = self._inspections.setdefault(data, Inspection(self._state.photos, data))
        self._content.clear()
        self._progress.clear()
        await self._show_labels(data)
        with self._progress:
            text = Text("p", "Reading the photos ...", "soft", role="status")
            bar = Text("progress", max="1", value="0", aria_label="Photos that were read")

            def update() -> None:
                share = inspection.done / max(1, inspection.total)
                text.text = f"Reading the photos: {inspection.done:,} of {inspection.total:,}"
                bar.props["value"] = f"{share:.3f}"
                bar.update()

            timer = ui.timer(0.5, update)
        findings, problem = None, ""
        try:
            findings = await asyncio.to_thread(inspection.run)
        except Exception as error:
            problem = describe_problem(error)
            if self._inspections.get(data) is inspection:
                del self._inspections[data]
        finally:
            timer.cancel()
        if turn != self._turn or self._content.is_deleted:
            return
        self._progress.clear()
        with self._content:
            if findings is None:
                add_notice(problem, "bad")
                line = f"{format_call('workbench.data')} inspect {shlex.quote(data)}"
                add_command("To look through it in a terminal:", line)
            else:
                _add_findings(data, findings)

    async def _show_labels(self, data: str) -> None:
        """Show the label searches in this data, each with a link to its review; or how to search."""
        entries = await asyncio.to_thread(self._state.catalogue.list_entries)
        found = await asyncio.to_thread(list_reviews, [entry for entry in entries if entry.data == data])
        self._labels.clear()
        with self._labels:
            Text("h2", "Labels that may be wrong")
            if not found:
                add_command(
                    "To find them, train with --folds 5, or use a sweep or a run that you have:",
                    f"{format_call('workbench.data')} labels RUN",
                )
            for name, progress in found:
                with Text("p"):
                    Text("a", name, href=f"/labels/{quote(name, safe='')}")
                    Text("span", f": {progress}")


def _add_findings(data: str, findings: Findings) -> None:
    for line in summarize(findings):
        if line.startswith("LEAK"):
            add_notice(line, "bad")
        else:
            Text("p", f"{line[0].upper()}{line[1:]}.")
    _add_counts(findings)
    _add_pairs(data, findings)
    _add_unreadable(findings)
    Text("h2", "A contact sheet")
    scan = findings.scan
    for label, rows in choose_contacts(scan, len(findings.source.class_names)).items():
        Text("h3", findings.source.class_names[label])
        add_photo_grid(
            [ShownPhoto(locate_photo(data, scan.names[row]), PARTS[scan.parts[row]], scan.names[row]) for row in rows]
        )


def _add_counts(findings: Findings) -> None:
    Text("h2", "Photos of each class")
    counts = findings.count_images()
    shown = [part for part in range(len(PARTS)) if counts[:, part].any()]
    columns = [Column("class"), *(Column(PARTS[part], numeric=True) for part in shown), Column("in all", numeric=True)]
    table = DataTable("Photos of each class", "class", columns)
    rows = []
    for name, of_class in zip(findings.source.class_names, counts.tolist(), strict=True):
        numbers = [*(of_class[part] for part in shown), sum(of_class)]
        rows.append(Row(name, [(name, name), *((f"{number:,}", number) for number in numbers)]))
    table.set_rows(rows)


def _add_pairs(data: str, findings: Findings) -> None:
    Text("h2", "The same photo twice")
    pairs = choose_pairs(findings)
    scan = findings.scan
    if not pairs:
        Text("p", "No photo is there twice.")
        return
    if findings.repeats:
        add_command(
            "To leave the repeated photos out of later trainings (they stay where they are):",
            f"{format_call('workbench.data')} inspect {shlex.quote(data)} --fix-splits",
        )
    if len(scan.pairs.first) > MAX_PAIRS:
        Text("p", f"The {MAX_PAIRS} pairs that matter most, of {len(scan.pairs.first):,}.", "soft")
    with Text("div", classes="pairs"):
        for pair in pairs[:_PAIRS]:
            _add_pair(data, findings, pair)
    if len(pairs) > _PAIRS:
        with Text("details"):
            Text("summary", format_count(len(pairs) - _PAIRS, "more pair"))
            with Text("div", classes="pairs"):
                for pair in pairs[_PAIRS:]:
                    _add_pair(data, findings, pair)


def _add_pair(data: str, findings: Findings, pair: tuple[int, int, int]) -> None:
    """Add the two photos of a pair, with how similar they are and why it matters."""
    scan, (first, second, number) = findings.scan, pair
    with Text("section", aria_label=f"pair {number}"):
        how = name_pair(findings, number)[2]
        across = scan.parts[first] != scan.parts[second]
        conflict = scan.labels[first] != scan.labels[second]
        marks = [*(["in two parts"] if across else []), *(["in two classes"] if conflict else [])]
        Text("h3", ", ".join([how, *marks]))
        add_photo_grid(
            [
                ShownPhoto(
                    locate_photo(data, scan.names[row]),
                    f"{PARTS[scan.parts[row]]}, {findings.source.class_names[scan.labels[row]]}",
                    scan.names[row],
                    is_wrong=bool(across or conflict),
                )
                for row in (first, second)
            ]
        )


def _add_unreadable(findings: Findings) -> None:
    unreadable = findings.scan.unreadable
    Text("h2", "Files that cannot be read")
    if not unreadable:
        Text("p", "Every file is a readable image.")
        return
    Text("p", f"{format_count(len(unreadable), 'file')}; training skips them.")
    table = DataTable("Files that cannot be read", "file", [Column("file"), Column("reason")])
    table.set_rows([Row(name, [(name, name), (reason, reason)]) for name, reason in unreadable[:_LISTED]])
