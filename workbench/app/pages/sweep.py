"""The page of a sweep: what it does now, its charts, its trials; it can be stopped and continued there."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from nicegui import ui

from workbench.app import continuing, processes
from workbench.app.catalogue import Entry
from workbench.app.continuing import Offer
from workbench.app.elements.charts import ChartGrid
from workbench.app.elements.data_table import Cell, Column, DataTable, Row
from workbench.app.elements.layout import PATIENCE, Text, add_button, add_command, add_notice, frame
from workbench.app.elements.live_page import INTERVAL, LivePage, add_labels_link, add_missing
from workbench.app.elements.report_section import add_sections
from workbench.app.label_review import find_table
from workbench.app.report_sections import BuiltSections
from workbench.app.state import AppState
from workbench.console import format_duration
from workbench.errors import UserError
from workbench.reporting.page import Tile
from workbench.sweep.figures.importance import MIN_TRIALS, Importance, estimate_importance
from workbench.sweep.figures.interactive import build_charts
from workbench.sweep.results import RESULT_COLUMNS, SweepResults, TrialResult, format_value, format_values

_NUMBER = (int, float)  # a tuple: there may be 10,000 trials
_MANY = 500  # trials from which the charts wait for a twentieth more


def add_page(state: AppState) -> None:
    """Add the page to the application."""

    @ui.page("/sweep/{name}", response_timeout=PATIENCE)
    async def show(name: str) -> None:
        entry = await asyncio.to_thread(state.catalogue.find, name)
        if entry is None or not entry.is_sweep:
            add_missing("sweep", state.catalogue.folder)
            return
        with frame(entry.name, ""):
            page = SweepPage(state, entry)
            await page.refresh()
            ui.timer(INTERVAL, page.refresh_all)


class SweepPage(LivePage):
    """The content of the page; `refresh` reads the sweep again and changes what is new.

    Args:
        state: what all pages share.
        entry: the sweep.
    """

    def __init__(self, state: AppState, entry: Entry) -> None:
        super().__init__(state, entry)
        self._charted = self._estimated = -1  # trials that the charts, and the importance, were made from
        self._importance: Importance | None = None
        self._log: Path | None = None  # what the command prints that this page has started, until the sweep runs
        self._bar = Text("progress", max="1", value="0", aria_label="Finished trials")
        self._control = Text("div")
        self._workers = Text("div")
        self._new_images = Text("div")  # what the report says of new images
        Text("h2", "The trials in charts")
        self._few = Text("p", "The charts appear when two trials have finished.", "soft")
        self._charts = ChartGrid()
        Text("h2", "All trials")
        names = [name for name in entry.results.parameters if name != "epochs"] if entry.results else []
        self._rows = TrialRows(names)
        columns = [Column("trial"), Column("status", badge=True)]
        columns += [Column(column.label, numeric=True) for column in RESULT_COLUMNS]
        columns += [Column(name) for name in names]
        self._table = DataTable("Trials, the best first", "trial", [*columns, Column("reason")])

    async def refresh(self) -> Entry | None:
        """Read the sweep, change what is new, and return the sweep; None if its folder is gone."""
        entry = await self._read("sweep")
        if entry is None:
            return None
        self._lead.text = _describe(entry)
        results = entry.results
        self._update("notices", _list_notices(entry) + self._describe_start(entry), self._show_notices)
        built = await asyncio.to_thread(self._state.reports.build_sweep, entry)
        self._update("tiles", _list_tiles(entry, built.tiles), self._show_tiles)
        self._update("new images", built, self._show_new_images)
        holder, offer = entry.holder, continuing.find_offer(entry)
        control = entry.state, holder, offer, continuing.is_started(entry.path), find_table(entry)
        self._update("control", control, lambda _: self._show_control(entry, offer))
        running = entry.status.running if entry.status and holder else ()
        self._update("workers", running, self._show_workers)
        if results is None:
            return entry
        total = entry.status.total if entry.status else len(results)
        self._bar.props["value"] = str(min(1.0, len(results) / max(1, total)))
        self._bar.update()
        if results is not self._shown.get("results"):
            self._shown["results"] = results
            self._table.set_rows(self._rows.make(results))
        return entry

    async def refresh_all(self) -> None:
        """Read the sweep, and change what is new, also in the charts, which take longer."""
        entry = await self.refresh()
        if entry and entry.results:
            await self._refresh_charts(entry.results)

    async def _refresh_charts(self, results: SweepResults) -> None:
        """Show the charts again if there are enough new trials, and the importance each time they have doubled."""
        count = len(results)
        enough = 1 if count < _MANY else count // 20
        if count - self._charted < enough and self._charted >= 0 and count >= self._charted:
            return
        self._charted = count
        await self._show_charts(results)
        if count >= MIN_TRIALS and (count >= 2 * self._estimated or count < self._estimated):
            self._estimated = count
            self._importance = await asyncio.to_thread(estimate_importance, results)
            await self._show_charts(results)

    async def _show_charts(self, results: SweepResults) -> None:
        charts = await asyncio.to_thread(build_charts, results, self._importance)
        self._few.set_visibility(len(charts) < 2)
        self._charts.show(charts)

    def _show_control(self, entry: Entry, offer: Offer | None) -> None:
        """Show the button that stops or continues the sweep, and the command that does the same."""
        self._control.clear()
        with self._control:
            if entry.holder:
                self._show_stop(entry.holder)
            else:
                self._show_actions(entry, offer)
            try:
                if offer:
                    add_command(offer.purpose, continuing.format_continue(entry.path, entry.config, offer.max_trials))
            except UserError as error:
                Text("p", str(error), "soft")

    def _show_actions(self, entry: Entry, offer: Offer | None) -> None:
        """Show the button that continues the sweep, and links to its best model."""
        where, is_over = quote(entry.name, safe=""), entry.state == "finished"
        with Text("div", classes="actions"):
            if offer:
                is_started = continuing.is_started(entry.path)
                kind = "" if is_over else "primary"
                add_button(offer.label, lambda: self._continue(offer.max_trials), kind, disabled=is_started)
            if entry.has_model:
                Text("a", "Results of the best model", f"button {'primary' if is_over else ''}", href=f"/run/{where}")
                Text("a", "Try it on photos", "button", href=f"/try?run={where}")
            if find_table(entry):
                add_labels_link(entry.name)

    def _show_stop(self, holder: processes.Holder) -> None:
        if holder.is_here:
            with Text("div", classes="actions"):
                add_button("Stop the sweep", self._stop, "danger")
                Text("span", "Finished trials are kept; it can be continued.", "soft")
        add_command(f"{processes.describe_stop(holder)}:", processes.format_stop(holder))

    def _show_workers(self, running: Any) -> None:
        self._workers.clear()
        if not running:
            return
        with self._workers:
            Text("h3", "Running now")
            with Text("div", classes="scroll", role="region", tabindex="0", aria_label="Running trials"):
                _add_running_table(running)

    def _show_new_images(self, built: BuiltSections) -> None:
        self._new_images.clear()
        with self._new_images:
            if built.problem:
                add_notice(built.problem, "bad")
            add_sections(built.sections)

    async def _stop(self) -> None:
        entry = await asyncio.to_thread(self._state.catalogue.find, self._name)
        try:
            if entry:
                await asyncio.to_thread(processes.stop, entry.path)
            ui.notify("The sweep is asked to stop; finished trials are kept.")
        except UserError as error:
            ui.notify(str(error), type="negative")

    async def _continue(self, max_trials: int | None) -> None:
        entry = await asyncio.to_thread(self._state.catalogue.find, self._name)
        if entry is None:
            return
        try:
            self._log = await asyncio.to_thread(continuing.continue_sweep, entry.path, entry.config, max_trials)
        except (UserError, OSError) as error:
            ui.notify(str(error), type="negative")
            return
        ui.notify("The sweep is starting; its workers need some seconds.")
        await self.refresh()

    def _describe_start(self, entry: Entry) -> list[str]:
        """Return what has become of the command that this page has started; nothing once the sweep runs."""
        if entry.holder:
            self._log = None
        if self._log is None:
            return []
        if continuing.is_started(entry.path):
            return [f"Starting. What the command prints is in {self._log}."]
        return [f"The command ended: {continuing.read_last_line(self._log) or f'see {self._log}'}"]


def _list_notices(entry: Entry) -> list[str]:
    results, status = entry.results, entry.status
    if entry.problem:
        return [entry.problem]
    if entry.is_starting:
        return ["The command has started, and is reading the data."]
    if results is None:
        return []
    if entry.state == "finished" and results.best is None:
        return ["No trial could be completed; the table below has the reasons."]
    if entry.state == "finished" and status and status.ended == "budget":
        return [f"No further trial fits into the budget of {entry.config.get('budget')}."]
    if not len(results):
        return ["No trial has finished yet. The first one also pays for tracing its network."]
    return []


def _describe(entry: Entry) -> str:
    tuner, data = entry.config.get("tuner") or "grid", entry.data_name or "?"
    count = len(entry.results.parameters) if entry.results else 0
    return f"A {tuner} search over {count} hyperparameters on {data}."


def _list_tiles(entry: Entry, expected: Sequence[Tile]) -> list[tuple[str, str, str]]:
    results, status = entry.results, entry.status
    if results is None:
        return []
    best, done = results.best, len(results)
    pruned = sum(trial.status == "pruned" for trial in results.scored)
    tiles = []
    if best and best.score is not None:
        tiles.append((f"best {results.metric_name}", results.format_score(best.score), f"trial {best.id}"))
    tiles += [(tile.label, tile.value, tile.note) for tile in expected]
    total = f" of {status.total:,}" if status else ""
    tiles.append(("trials", f"{done:,}{total}", f"{len(results.failed):,} failed, {pruned:,} pruned"))
    if entry.holder:
        left, running = entry.seconds_left, len(status.running) if status else 0
        workers = status.workers if status else 0
        tiles.append(("time left", format_duration(left) if left is not None else "not known yet", "at this speed"))
        tiles.append(("workers", f"{workers or running:,}", f"{running:,} at work"))
    if entry.device:
        tiles.append(("device", entry.device, entry.holder.host if entry.holder else ""))
    return tiles


def _add_running_table(running: Any) -> None:
    with Text("table"):
        with Text("thead"), Text("tr"):
            for label in ("worker", "trial", "so far", "settings"):
                Text("th", label, scope="col")
        with Text("tbody"):
            for trial in running:
                with Text("tr"):
                    Text("th", trial.worker, scope="row")
                    Text("td", trial.id)
                    accuracy = trial.val_accuracy
                    Text("td", "first epoch" if accuracy is None else f"epoch {trial.epoch}: {accuracy:.1%}")
                    Text("td", format_values(trial.values), "long")


class TrialRows:
    """Makes the rows of the table of trials. Those of earlier trials are kept, so that one more trial costs little.

    Args:
        names: of the hyperparameters that have columns.
    """

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._made: dict[str, tuple[TrialResult, Row]] = {}

    def make(self, results: SweepResults) -> list[Row]:
        """Return a row for each trial, the best first."""
        trials = results.trials
        for trial in trials:
            made = self._made.get(trial.id)
            if made is None or made[0] is not trial:
                self._made[trial.id] = trial, _make_row(trial, self._names)
        return [self._made[trial.id][1] for trial in trials]


def _make_row(trial: TrialResult, names: list[str]) -> Row:
    cells: list[Cell] = [(trial.id, trial.id), (trial.status, trial.status)]
    cells += [(column.write(trial), getattr(trial, column.field)) for column in RESULT_COLUMNS]
    for name in names:
        value = trial.values.get(name)
        text = format_value(value)
        cells.append((text, value if isinstance(value, _NUMBER) else text))
    return Row(trial.id, [*cells, (trial.reason, trial.reason or None)])
