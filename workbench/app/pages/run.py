"""The page of a run: its curves, live while it trains; its tests, and the images behind each number."""

import asyncio
import shlex
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from nicegui import ui

from workbench.app.catalogue import Entry
from workbench.app.elements.charts import ChartGrid
from workbench.app.elements.layout import PATIENCE, Text, add_button, add_command, add_notice, frame
from workbench.app.elements.live_page import INTERVAL, LivePage, add_labels_link, add_missing
from workbench.app.elements.photo_grid import ShownPhoto, add_photo_grid, locate_photo
from workbench.app.elements.report_section import add_figures, add_sections, add_table, add_text
from workbench.app.images.figures import list_figures, locate_pictures
from workbench.app.label_review import find_table
from workbench.app.pages.folds import FoldsPage
from workbench.app.processes import describe_stop, format_stop
from workbench.app.run_charts import build_confusion, build_curves
from workbench.app.state import AppState
from workbench.commandline.calls import format_call
from workbench.console import format_duration
from workbench.errors import UserError
from workbench.evaluation.predictions_table import PREDICTIONS
from workbench.files import read_csv
from workbench.origin import describe_resuming
from workbench.reporting.page import Picture, Section
from workbench.reporting.test_section import CONFUSIONS, OF_EARLIER_MODEL
from workbench.wording import format_count

_MOST_WRONG, _OF_CELL = 24, 48  # images that are shown
_EXPLANATIONS = ("gradcam", "integrated", "filters")  # beginnings of their names
_NEEDED = {"image", "true", "predicted", "correct", "confidence", "true_probability"}
Predictions = Sequence[Mapping[str, str]]


def add_page(state: AppState) -> None:
    """Add the page to the application."""

    @ui.page("/run/{name}", response_timeout=PATIENCE)
    async def show(name: str) -> None:
        entry = await asyncio.to_thread(state.catalogue.find, name)
        if entry is None:
            add_missing("run", state.catalogue.folder)
            return
        with frame(entry.name, ""):
            page = FoldsPage(state, entry) if entry.num_folds else RunPage(state, entry)
            await page.refresh()
            ui.timer(INTERVAL, page.refresh, immediate=False)


class RunPage(LivePage):
    """The content of the page; `refresh` reads the run again and changes what is new.

    Args:
        state: what all pages share.
        entry: the run, or the sweep whose best model is shown.
    """

    def __init__(self, state: AppState, entry: Entry) -> None:
        super().__init__(state, entry)
        self._actions = Text("div", classes="actions")
        self._command = Text("div")
        self._curves_heading = Text("h2", "Training")
        self._curves = ChartGrid()
        Text("h2", "Test")
        self._test, self._other = Text("div"), Text("div")
        self._explanations = Text("div")

    async def refresh(self) -> None:
        """Read the run, and change what is new."""
        entry = await self._read("run")
        if entry is None:
            return
        self._lead.text = _describe(entry)
        self._update("notices", _list_notices(entry), self._show_notices)
        has_table = find_table(entry) is not None
        actions = entry.has_model, entry.is_sweep, has_table
        self._update("actions", actions, lambda _: self._show_actions(entry, has_table))
        self._update("tiles", _list_tiles(entry), self._show_tiles)
        self._update("command", (entry.state, entry.path), lambda _: self._show_command(entry))
        self._curves_heading.set_visibility(bool(entry.history))
        if self._shown.get("curves") != len(entry.history):
            self._shown["curves"] = len(entry.history)
            self._curves.show(build_curves(entry.history))
        built = await asyncio.to_thread(self._state.reports.build_tests, entry)
        if self._shown.get("tests") != (built, entry.has_model, entry.has_old_test):
            self._shown["tests"] = built, entry.has_model, entry.has_old_test
            predictions = await asyncio.to_thread(_read_predictions, entry) if entry.metrics.get("test") else []
            self._test.clear()
            with self._test:
                _add_test(entry, predictions, built.sections[0])
            self._other.clear()
            with self._other:
                if built.problem and not entry.problem and not entry.is_starting:
                    add_notice(built.problem, "bad")
                add_sections(built.sections[1:])
        drawn = await asyncio.to_thread(_locate_explanations, entry)
        self._update("explanations", drawn, self._show_explanations)

    def _show_actions(self, entry: Entry, has_table: bool) -> None:
        where = quote(entry.name, safe="")
        self._actions.clear()
        with self._actions:
            if entry.has_model:
                Text("a", "Try it on photos", "button primary", href=f"/try?run={where}")
            if entry.is_sweep:
                Text("a", "The sweep", "button", href=f"/sweep/{where}")
            if has_table:
                add_labels_link(entry.name)

    def _show_command(self, entry: Entry) -> None:
        self._command.clear()
        with self._command:
            if entry.holder:
                add_command(f"{describe_stop(entry.holder)} (finished epochs are kept):", format_stop(entry.holder))
            elif entry.state == "stopped" and not entry.is_sweep:
                line = describe_resuming(entry.path, entry.config).partition("continue it with ")[2]
                if line:
                    add_command("To continue it:", line)

    def _show_explanations(self, drawn: Sequence[Picture]) -> None:
        """Show what was drawn by `workbench.explain`."""
        self._explanations.clear()
        with self._explanations:
            Text("h2", "What the network sees")
            if not drawn:
                path = self._state.catalogue.folder / self._name
                add_command(
                    "To draw filters, feature maps, Grad-CAM and integrated gradients:",
                    f"{format_call('workbench.explain')} {shlex.quote(str(path))}",
                )
            add_figures(drawn)


def _locate_explanations(entry: Entry) -> list[Picture]:
    names = {name: path for name, path in list_figures(entry.path).items() if "/" not in name}  # not of other photos
    return locate_pictures(entry.path, [path for name, path in names.items() if name.startswith(_EXPLANATIONS)])


def _describe(entry: Entry) -> str:
    of_sweep = "The best model of this sweep. " if entry.is_sweep else ""
    classes = format_count(len(entry.class_names), "class")
    size = f" at {entry.config['image_size']} px" if entry.config.get("image_size") else ""
    return f"{of_sweep}A classifier of {classes}, trained on {entry.data_name or '?'}{size}."


def _list_notices(entry: Entry) -> list[str]:
    if entry.problem:
        return [f"This run cannot be read: {entry.problem}."]
    if entry.is_starting:
        return ["The command has started, and is reading the data."]
    if entry.state == "running" and not entry.history and not entry.is_sweep:
        return ["The first epoch is running; the curves begin with its end."]
    return []


def _list_tiles(entry: Entry) -> list[tuple[str, str, str]]:
    metrics, tiles = entry.metrics, []
    if entry.accuracy is not None:
        tiles.append(("validation accuracy", f"{entry.accuracy:.1%}", "best so far" if entry.holder else ""))
    test = metrics.get("test")
    if test:
        low, high = test["accuracy_interval"]
        of_earlier = f"{OF_EARLIER_MODEL}; " if entry.has_old_test else ""
        note = f"{of_earlier}95 % interval {low:.1%} to {high:.1%}"
        tiles.append(("test accuracy", f"{test['accuracy']:.1%}", note))
    if not entry.is_sweep:
        left = entry.seconds_left
        tiles.append(("progress", entry.progress, f"{format_duration(left)} left" if left is not None else ""))
    if metrics.get("parameters"):
        tiles.append(("parameters", f"{metrics['parameters']:,}", ""))
    if entry.history:
        tiles.append(("training time", format_duration(sum(log["seconds"] for log in entry.history)), ""))
    if entry.device:
        tiles.append(("device", entry.device, ""))
    return tiles


def _read_predictions(entry: Entry) -> Predictions:
    """Read the predictions of the test images; none if the file is missing or damaged."""
    try:
        rows = read_csv(entry.path / PREDICTIONS)
        for row in rows:
            float(row["confidence"]), float(row["true_probability"]), float(row.get("calibrated_confidence", 0))
    except (UserError, OSError, KeyError, TypeError, ValueError):
        return []
    return rows if not rows or rows[0].keys() >= _NEEDED else []


def _add_test(entry: Entry, predictions: Predictions, section: Section) -> None:
    """Add the section of the report, with a confusion matrix whose images can be opened, and the most wrong images."""
    test = entry.metrics.get("test")
    command = f"{format_call('workbench.evaluate')} {shlex.quote(str(entry.path))}"
    if not test:
        if entry.has_model:
            add_notice("This model has not been tested on the held-out images yet.")
            add_command("To test it:", command)
        else:
            Text("p", "There is no model to test yet.", "soft")
        return
    add_text(section)
    if entry.has_old_test:
        add_command("To test the present model:", command)
    if not predictions:
        Text("p", f"{PREDICTIONS} is missing or damaged, so the images cannot be shown. Test the model again.", "soft")
        _add_numbers(section)
        return
    charts = ChartGrid()

    def open_cell(true: str, predicted: str) -> None:
        opened.clear()
        with opened:
            _add_cell(entry, predictions, true, predicted)
        opened.run_method("scrollIntoView", {"behavior": "smooth", "block": "nearest"})

    chart = build_confusion(predictions, entry.class_names)
    if chart:
        charts.show([chart])
        charts.on_click("confusion", lambda x, y: open_cell(entry.class_names[y], entry.class_names[x]))
    pairs = test["confused"]
    if pairs:
        Text("h3", "The most frequent confusions")
        with Text("div", classes="actions"):
            for pair in pairs[:10]:
                label = f"{pair['true']} seen as {pair['predicted']} ({pair['count']})"
                add_button(label, lambda _, pair=pair: open_cell(pair["true"], pair["predicted"]))
    opened = Text("div")
    wrong = sorted(
        (row for row in predictions if row["correct"] != "1"), key=lambda row: float(row["true_probability"])
    )
    if wrong:
        Text("h3", "The images that are most wrong")
        add_photo_grid([_make_photo(entry, row) for row in wrong[:_MOST_WRONG]])
    _add_numbers(section)


def _add_cell(entry: Entry, predictions: Predictions, true: str, predicted: str) -> None:
    """Add the images of a cell of the confusion matrix."""
    rows = [row for row in predictions if (row["true"], row["predicted"]) == (true, predicted)]
    what = f"{true}, rightly recognised" if true == predicted else f"{true} seen as {predicted}"
    more = f", the first {_OF_CELL} of them" if len(rows) > _OF_CELL else ""
    Text("h3", f"{what}: {format_count(len(rows), 'image')}{more}", role="status")
    add_photo_grid([_make_photo(entry, row) for row in rows[:_OF_CELL]])


def _make_photo(entry: Entry, row: Mapping[str, str]) -> ShownPhoto:
    is_wrong, calibrated = row["correct"] != "1", row.get("calibrated_confidence")
    strong = f"{row['predicted']} {float(calibrated or row['confidence']):.0%}"
    # The probability of the true class is not calibrated, so it is left out next to one that is.
    share = "" if calibrated else f" ({float(row['true_probability']):.0%})"
    text = f"is {row['true']}{share}; {row['image']}" if is_wrong else row["image"]
    return ShownPhoto(locate_photo(entry.data, row["image"]), strong, text, is_wrong)


def _add_numbers(section: Section) -> None:
    """Add the tables and figures of the test; the confusions are shown as a chart that opens their images."""
    for table in section.tables:
        if table.caption != CONFUSIONS:
            add_table(table)
    add_figures(section.figures)
