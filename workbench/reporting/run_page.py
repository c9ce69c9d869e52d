"""The report page of a run: its model's training, its test, its explanations, its options, and what to do next."""

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.commandline.calls import format_call
from workbench.console import format_duration
from workbench.data.splits.leaks import describe_leaks
from workbench.data.splits.saved_split import read_split
from workbench.errors import UserError
from workbench.files import read_csv, read_json
from workbench.finished_run import FinishedRun
from workbench.reporting.page import Command, Page, Section, Tile, load_pictures
from workbench.reporting.test_section import (
    OF_EARLIER_MODEL,
    TEST_FIGURES,
    build_evaluation_sections,
    build_test_section,
)
from workbench.sweep.results import format_value
from workbench.training.history import EpochLog, find_best_epoch
from workbench.training.saved_state import has_metrics
from workbench.wording import agree, format_count

CURVES = "learning_curves"
SWEEP_FIGURES = ("sweep_progress", "sweep_parallel", "sweep_importance", "sweep_effects", "sweep_pareto")
_EXPLANATIONS = (  # from the first filters to the class
    *("filters", "first_feature_maps", "feature_maps", "maximised"),
    *("guided_backprop", "gradcam", "integrated_gradients"),
)
_EPOCH = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds")
Metrics = Mapping[str, Any]  # content of metrics.json


def build_run_page(run: FinishedRun) -> Page:
    """Build the page of a run that is not a sweep."""
    history, metrics = read_model_history(run), run.metrics
    size = f" at {run.config['image_size']} px" if run.config.get("image_size") else ""
    notices = []
    if not has_metrics(run.path, history):
        done, epochs = len(history), run.config.get("epochs", "?")
        of_epochs = format_count(epochs, "epoch") if isinstance(epochs, int) else f"{epochs} epochs"
        notices.append(f"Training is not finished: {done} of {of_epochs} {agree(done, 'is', 'are')} done.")
    notices += list_leak_notices(run)
    return Page(
        title=run.name,
        lead=f"A classifier of {len(run.class_names)} classes, trained on {run.config.get('data', '?')}{size}.",
        notices=notices,
        tiles=[*_build_training_tiles(history, metrics), *build_test_tiles(run, metrics)],
        sections=build_model_sections(run, metrics, history),
        command=report_command(run),
        epochs=len(history),
    )


def list_leak_notices(run: FinishedRun) -> list[str]:
    """Return one sentence on images of the run's split that are in two parts or classes; none if there are none."""
    try:
        split = read_split(run.path) or ()
    except UserError as error:  # the rest of the page is as useful without it
        return [f"{error}."]
    lines = describe_leaks(split, str(run.config.get("data", "DATA")))
    return [f"{line.removeprefix('warning: ')}." for line in lines]


def report_command(run: FinishedRun) -> str:
    """Return the command that makes a run's page."""
    output = f" --out {shlex.quote(str(run.output))}" if run.output else ""
    return f"{format_call('workbench.report')} {shlex.quote(str(run.path))}{output}"


def read_model_history(run: FinishedRun) -> list[EpochLog]:
    """Read the history of a run's model, from history.csv or, of a sweep, from the best trial's record."""
    rows = read_csv(run.path / "history.csv")
    if not rows:
        trial = run.metrics.get("trial")
        result = read_json(run.path / "tuner" / f"trial_{trial}" / "result.json")
        rows = result.get("history", []) if isinstance(result, dict) else []
    try:
        history = [{name: float(row[name]) for name in _EPOCH} for row in rows]
    except (TypeError, ValueError, KeyError, OverflowError):  # incomplete, or written by another program
        return []
    return history if all(math.isfinite(value) for log in history for value in log.values()) else []


def build_model_sections(run: FinishedRun, metrics: Metrics, history: Sequence[EpochLog]) -> list[Section]:
    """Build the sections about a run's model: training, test, explanations, what to do next, options."""
    folder = run.results_path / "figures"
    curves = []
    if len(history) > 1:
        from workbench.reporting.curves import (
            draw_curves,
        )  # imported late: one epoch has no curve, and needs no Matplotlib

        folder.mkdir(exist_ok=True)
        curves = load_pictures([draw_curves(history, folder / f"{CURVES}.png")])
    others = {*SWEEP_FIGURES, CURVES, *TEST_FIGURES}
    drawn = {path.name: path for figures in (run.path / "figures", folder) for path in figures.glob("*.png")}
    paths = sorted((path for path in drawn.values() if path.stem not in others), key=_explanation_order)
    explanations, test = load_pictures(paths), metrics.get("test")
    return [
        Section("training", "Training", figures=curves),
        build_test_section(test, load_pictures(_find_test_figures(run)), is_old=run.has_changed_since(test or {})),
        *build_evaluation_sections(run),
        Section("insight", "What the network sees", figures=explanations),
        _build_next_section(run, metrics, bool(explanations)),
        _build_options_section(run),
    ]


def _build_training_tiles(history: Sequence[EpochLog], metrics: Metrics) -> list[Tile]:
    if not history:
        return []
    best = find_best_epoch(history)
    points = 100 * (best["accuracy"] - best["val_accuracy"])
    gap = f"{abs(points):.1f} points {'above' if points > 0 else 'below'} validation"
    tiles = [
        Tile("validation accuracy", f"{best['val_accuracy']:.1%}", f"epoch {best['epoch']:.0f} of {len(history)}"),
        Tile("training accuracy", f"{best['accuracy']:.1%}", gap),
    ]
    if "parameters" in metrics:
        adds = metrics.get("multiply_adds")
        note = f"{adds / 1e6:,.1f} million multiply-adds" if adds else ""
        tiles.append(Tile("parameters", f"{metrics['parameters']:,}", note))
    seconds = sum(log["seconds"] for log in history)
    speed = metrics.get("images_per_second")
    return [*tiles, Tile("training time", format_duration(seconds), f"{speed:,.0f} images/s" if speed else "")]


def build_test_tiles(run: FinishedRun, metrics: Metrics) -> list[Tile]:
    """Build the tile of the test accuracy; none if the model has not been tested."""
    test = metrics.get("test")
    if not test:
        return []
    low, high = test["accuracy_interval"]
    note = f"95 % interval {low:.1%} to {high:.1%}"
    if test.get("leaked") and test["accuracy_without_leaked"] is not None:
        leaked = format_count(test["leaked"], "leaked image")
        note = f"{test['accuracy_without_leaked']:.1%} without {leaked}; {note}"
    if run.has_changed_since(test):
        note = f"{OF_EARLIER_MODEL}; {note}"
    return [Tile("test accuracy", f"{test['accuracy']:.1%}", note)]


def _find_test_figures(run: FinishedRun) -> list[Path]:
    """Return the figures of the run's own test that there are."""
    paths = [run.find_result(f"figures/{name}.png") for name in TEST_FIGURES]
    return [path for path in paths if path.exists()]


def _explanation_order(path: Path) -> tuple[int, str]:
    """Return a sort key: figures of explanations in the order of `_EXPLANATIONS`, then other figures by name."""
    places = [place for place, name in enumerate(_EXPLANATIONS) if path.stem.startswith(name)]
    return (places or [len(_EXPLANATIONS)])[0], path.stem


def _build_options_section(run: FinishedRun) -> Section:
    values = {name: "none" if value is None else format_value(value) for name, value in run.config.items()}
    return Section("settings", "Settings", values=values)


def _build_next_section(run: FinishedRun, metrics: Metrics, has_explanations: bool) -> Section:
    """Build the list of commands that would add to the page, and the one that trains the model again."""
    heading = "What can be done next"
    if not (run.path / "model.keras").exists():
        return Section("next", heading)
    folder, commands = shlex.quote(str(run.path)), []
    if not metrics.get("test"):
        what = "Test the model on the held-out images (accuracy, confusions, calibration):"
        commands.append(Command(what, f"{format_call('workbench.evaluate')} {folder}"))
    elif run.has_changed_since(metrics["test"]):
        what = "The model has changed since it was tested. Test it again:"
        commands.append(Command(what, f"{format_call('workbench.evaluate')} {folder}"))
    if not has_explanations:
        what = "Explain what the network sees (filters, feature maps, guided backpropagation, Grad-CAM):"
        commands.append(Command(what, f"{format_call('workbench.explain')} {folder}"))
    if commands:
        commands.append(Command("Then make this page again:", report_command(run)))
    commands.append(Command("Classify photos:", f"{format_call('workbench.predict')} {folder} PHOTO_OR_FOLDER"))
    if "train_module" in metrics and not (run.path / "best.yaml").exists():
        path, name = shlex.quote(str(run.path / "config.yaml")), shlex.quote(f"{run.name}-again")
        line = f"{format_call(metrics['train_module'])} --config {path} --name {name}"
        commands.append(Command("Train the model again:", line))
    return Section("next", heading, commands=commands)
