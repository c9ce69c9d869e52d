"""Corrections of labels: the reviewed table that `--labels FILE` applies. No file is moved or deleted.

The table is the one that `workbench.data labels` writes, with an action for each image that was looked at: `keep`,
`relabel` (to the class in the column `suggested`, which may be edited) or `exclude`. Rows without an action change
nothing. A run keeps the table that it was trained with as corrections.csv, so that a later change of the file does not
change what the run was trained on.
"""

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import filelock
import numpy as np

from workbench.data.source import Source
from workbench.data.store import Store
from workbench.data.table_file import edit_row, read_table
from workbench.errors import UserError
from workbench.files import write_csv
from workbench.wording import format_count

CORRECTIONS = "corrections.csv"  # in the folder of a run
KEEP, RELABEL, EXCLUDE = "keep", "relabel", "exclude"
_ACTIONS = ("", KEEP, RELABEL, EXCLUDE)
_NEEDED, _OPTIONAL = ("image", "label", "suggested", "action"), ("score", "seen", "confidence", "votes")
_PATIENCE = 10.0  # seconds that a choice waits for another one, or for a search, to be written


class Correction(NamedTuple):
    """A row of the table.

    Attributes:
        image: name of the image, as in the source.
        label: class that it has in the source.
        suggested: class that `relabel` gives it: the one that the models see, until it is edited.
        score: how well its label fits, 0 to 1; as text.
        seen: class that the models see in it.
        confidence: mean probability of this class, 0 to 1; as text.
        votes: how many of the models see this class, such as `3 of 4`.
        action: `keep`, `relabel`, `exclude`, or an empty text.
    """

    image: str
    label: str
    suggested: str
    score: str = ""
    seen: str = ""
    confidence: str = ""
    votes: str = ""
    action: str = ""


@dataclasses.dataclass(frozen=True)
class Corrected:
    """A source and its store after the corrections.

    Attributes:
        source: its `left_out` has the excluded images too.
        store: its `labels` are the corrected ones.
        rows: the corrections.
        notes: lines for the user.
        key: changes with the labels; an empty text if no label was changed.
    """

    source: Source
    store: Store
    rows: Sequence[Correction] = ()
    notes: Sequence[str] = ()
    key: str = ""


def read_corrections(path: Path) -> list[Correction]:
    """Read a table of corrections.

    Raises:
        UserError: it is not such a table, or has an unknown action, or an image twice; names the row.
    """
    rows, seen = [], set()
    for number, values in read_table(path, _NEEDED, _OPTIONAL, option="--labels"):
        row = Correction(**{**values, "action": values["action"].lower()})
        where = f"{path}: row {number}"
        if row.action not in _ACTIONS:
            raise UserError(f"{where}: unknown action '{row.action}'; write keep, relabel or exclude, or nothing")
        if row.image in seen:
            raise UserError(f"{where}: repeats '{row.image}'; remove one of the rows")
        seen.add(row.image)
        rows.append(row)
    return rows


def merge_corrections(*tables: Iterable[Correction]) -> list[Correction]:
    """Return the rows that have an action, one for each image: that of the last table that has the image."""
    return [*{row.image: row for table in tables for row in table if row.action}.values()]


def write_corrections(path: Path, rows: Sequence[Correction]) -> None:
    """Write a table of corrections; without rows, only its heading."""
    if rows:
        write_csv(path, [row._asdict() for row in rows])
    else:
        path.write_text(",".join(Correction._fields) + "\n", encoding="utf-8")


def lock_corrections(path: Path) -> filelock.FileLock:
    """Return the lock of a table, which must be held to read and then write the table. The folder must exist."""
    return filelock.FileLock(path.with_name(f".{path.name}.lock"))


def choose_action(path: Path, image: str, action: str, class_name: str = "") -> None:
    """Write an action into the row of an image; other rows, columns and their order stay.

    Args:
        path: of the table.
        image: name of the image.
        action: `keep`, `relabel`, `exclude`, or an empty text to take the action back.
        class_name: the image's new class, for `relabel`.

    Raises:
        UserError: the table has no such image, the action cannot be used, or the file cannot be written.
    """
    if action not in _ACTIONS:
        raise UserError(f"unknown action '{action}': choose keep, relabel or exclude, or nothing")
    try:
        with lock_corrections(path).acquire(timeout=_PATIENCE):
            row = next((row for row in read_corrections(path) if row.image == image), None)
            if row is None:
                raise UserError(f"{path}: has no image '{image}' any more")
            if action == RELABEL and class_name in ("", row.label):
                raise UserError(f"'{image}' is labelled '{row.label}' already; choose another class, or keep")
            suggested = class_name if action == RELABEL else row.seen or row.suggested
            edit_row(path, ("image", image), {"action": action, "suggested": suggested})
    except filelock.Timeout:
        raise UserError(f"{path}: is being written by another command; choose again") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from error


def check_same_corrections(path: Path, run: Path, advice: str) -> None:
    """Refuse a table that decides otherwise than the one that a run was trained with.

    Args:
        path: of the table; a missing one decides nothing, because a run without corrections keeps none.
        run: folder of the run.
        advice: what to do, for the error.

    Raises:
        UserError: names an image on which they differ, or the table if it is missing.
    """
    kept = run / CORRECTIONS
    differences = _read_decisions(path) ^ _read_decisions(kept)
    if differences and not path.exists():
        raise UserError(f"{path}: is missing: {advice}")
    if differences:
        raise UserError(f"{path}: decides otherwise on '{min(differences)[0]}' than {kept}: {advice}")


def _read_decisions(path: Path) -> set[tuple[str, ...]]:
    """Return image, label, action and, for `relabel`, new class of the rows with an action."""
    rows = merge_corrections(read_corrections(path)) if path.exists() else []
    return {(row.image, row.label, row.action, row.suggested if row.action == RELABEL else "") for row in rows}


def update_corrections(rows: Iterable[Correction], labels: Mapping[str, str]) -> list[Correction]:
    """Return rows of a table after labels were edited in the data, so that the table can be applied to it.

    A row whose label has changed is dropped, because it was decided on another label. Two decisions are kept: to
    exclude the image, and to relabel it as it is labelled now, which becomes `keep`.

    Args:
        rows: of the table.
        labels: image -> name of its class in the data; rows of other images are returned as they are.
    """
    updated = []
    for row in rows:
        label = labels.get(row.image, row.label)
        if row.label == label or row.action == EXCLUDE:
            updated.append(row._replace(label=label))
        elif row.action == RELABEL and row.suggested == label:
            updated.append(row._replace(label=label, action=KEEP))
    return updated


def apply_corrections(path: Path, source: Source, store: Store, *, is_kept: bool = False) -> Corrected:
    """Return a source and its store with the corrections of a table.

    Args:
        path: of the table.
        source, store: the data as it is now.
        is_kept: whether a run keeps the table. `relabel` of a label that the data does not have any more is then
            ignored, and the image is compared with the split that the run keeps. `exclude` always holds.

    Raises:
        UserError: the table cannot be used, has no action at all, or a label or a class that the data does not have.
    """
    rows = read_corrections(path)
    if rows and not any(row.action for row in rows):
        raise UserError(
            f"{path}: no row has an action; write keep, relabel or exclude into the rows that you looked at"
        )
    place = {name: number for number, name in enumerate(store.names)}
    label_of = {name: label for label, name in enumerate(source.class_names)}
    labels, left_out, missing = store.labels.copy(), dict(source.left_out), 0
    changed = []
    for row in rows:
        number = place.get(row.image)
        if not row.action or number is None:
            missing += bool(row.action)
            continue
        current = source.class_names[store.labels[number]]
        if row.action == RELABEL and row.suggested == current:
            continue  # the photo is in the folder of this class now
        if row.label != current and not is_kept:
            raise UserError(
                f"{path}: '{row.image}' is labelled '{row.label}' there and '{current}' in the data; "
                "correct the row, or search the labels again"
            )
        if row.action == EXCLUDE:
            left_out[row.image] = f"excluded by {path.name}"
        elif row.action == RELABEL and row.label == current:
            if row.suggested not in label_of:
                raise UserError(f"{path}: '{row.image}': there is no class '{row.suggested}' in the data")
            labels[number] = label_of[row.suggested]
            changed.append(f"{row.image}\t{row.suggested}")
    counts = collections.Counter(row.action for row in rows if row.image in place)
    note = f"{path.name}: {format_count(len(changed), 'image')} relabelled, {counts[EXCLUDE]:,} excluded"
    note += f", {counts[KEEP]:,} kept" if counts[KEEP] else ""
    note += f"; {format_count(missing, 'image')} of it not in the data" if missing else ""
    return Corrected(
        dataclasses.replace(source, left_out=left_out),
        dataclasses.replace(store, labels=np.asarray(labels, np.int32)),
        rows,
        [note],
        "\n".join(changed),
    )
