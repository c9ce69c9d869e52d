"""The review of a label search: the table in the folder of a run, in which a person decides on one image at a time."""

import collections
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from workbench.app.catalogue import Entry
from workbench.commandline.calls import format_call
from workbench.config import RunConfig
from workbench.data.corrections import EXCLUDE, KEEP, RELABEL, Correction, choose_action, read_corrections
from workbench.errors import UserError
from workbench.labels.table import FOLDER, TABLE
from workbench.origin import find_command_of_run
from workbench.wording import format_count

_DONE = {RELABEL: "relabelled", KEEP: "kept", EXCLUDE: "left out"}
Command = tuple[str, str]  # purpose, command line


def find_table(entry: Entry) -> Path | None:
    """Return the table of a run's label search; None if there is none, or if it is a link out of the run's folder."""
    path = entry.path / FOLDER / TABLE
    is_inside = path.is_file() and path.resolve().is_relative_to(entry.path.resolve())
    return path if is_inside else None


def choose(entry: Entry, image: str, action: str, class_name: str) -> None:
    """Write a person's decision on an image into the table of a run.

    Args:
        entry: the run.
        image: name of the image.
        action: `keep`, `relabel`, `exclude`, or an empty text to take the decision back.
        class_name: the new class, for `relabel`.

    Raises:
        UserError: there is no such table, image, action or class, or the file cannot be written.
    """
    table = find_table(entry)
    if table is None:
        raise UserError(f"{entry.name}: has no table of labels any more")
    if action == RELABEL and class_name not in entry.class_names:
        raise UserError(f"{entry.name}: has no class '{class_name}'")
    choose_action(table, image, action, class_name)


def describe_review(rows: Sequence[Correction]) -> str:
    """Return how far a review is: `3 of 32 images reviewed: 2 relabelled, 1 kept.`"""
    counts = collections.Counter(row.action for row in rows if row.action)
    done = ", ".join(f"{counts[action]:,} {word}" for action, word in _DONE.items() if counts[action])
    return f"{sum(counts.values()):,} of {format_count(len(rows), 'image')} reviewed{f': {done}' if done else ''}."


def list_reviews(entries: Iterable[Entry]) -> list[tuple[str, str]]:
    """Return the name of each run that has a table, and how far its review is, or why the table cannot be read."""
    reviews = []
    for entry in entries:
        table = find_table(entry)
        if table:
            try:
                reviews.append((entry.name, describe_review(read_corrections(table))))
            except UserError as error:
                reviews.append((entry.name, f"{error}."))
    return reviews


def list_commands(entry: Entry, table: Path) -> list[Command]:
    """Return the commands that train with the table of a run: (purpose, command line)."""
    labels = f"--labels {shlex.quote(str(table))}"
    command = find_command_of_run(entry.path, entry.config)
    if command is None:
        return [("To train with these labels, add this option to the command:", labels)]
    folder = entry.path / "fold-1" if entry.num_folds else entry.path  # only a fold has the resolved settings
    config, where = shlex.quote(str(folder / "config.yaml")), shlex.quote(str(entry.path.parent))
    line, name = f"{format_call(command)} --config {config}", f"{entry.name}-corrected"
    options = f"{labels} --runs-dir {where} --name {shlex.quote(name)}"
    if entry.num_folds:
        logs = shlex.quote(str(entry.config.get("logs_dir", RunConfig.logs_dir)))
        line += f" --fold null --logs-dir {logs}"
        again = f"{labels} --runs-dir {where} --name {shlex.quote(f'{name}-folds')}"
        return [
            ("To train a network with these labels:", f"{line} {options}"),
            (
                "To cross-validate with them, after which labels can be searched again:",
                f"{line} --folds {entry.num_folds} {again}",
            ),
        ]
    if not entry.is_sweep:
        return [("To train again with these labels:", f"{line} {options}")]
    space = shlex.quote(str(entry.path / "space.yaml"))
    again = f"{labels} --runs-dir {where} --name {shlex.quote(f'{name}-sweep')}"
    commands = [("To sweep again with these labels:", f"{line} --space {space} {again}")]
    best, module = entry.path / "best.yaml", entry.metrics.get("train_module")
    if best.exists() and module:
        line = f"{format_call(str(module))} --config {shlex.quote(str(best))} {options}"
        commands.insert(0, ("To train the best network of the sweep with these labels:", line))
    return commands
