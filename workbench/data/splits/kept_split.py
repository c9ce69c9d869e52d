"""The split that an earlier run has kept, found again in its data as they are now, or refused."""

import collections
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from workbench.data.source import TEST, TRAIN, VALIDATION, Source
from workbench.data.splits.saved_split import Leak, SplitImage, read_split
from workbench.data.store import Store
from workbench.errors import UserError
from workbench.wording import agree, format_count

# Continue the training; test the model; show or check it on validation images; look at any images.
Use = Literal["resume", "test", "validate", "look"]
_PARTS = {TRAIN: "training", VALIDATION: "validation", TEST: "test"}
_MAX_NAMED = 3  # images that a line names


class DataChanged(UserError):
    """Raised where the data is no longer what a run was trained or is to be tested on."""


@dataclasses.dataclass(frozen=True)
class KeptSplit:
    """The split of an earlier run.

    Attributes:
        run: folder of the run.
        images: its images.
        use: what they are needed for, which decides which changes of the data are refused.
    """

    run: Path
    images: Sequence[SplitImage]
    use: Use


@dataclasses.dataclass(frozen=True)
class FoundImages:
    """The images of a kept split in the data as they are now.

    Attributes:
        rows: part -> int64 row numbers in the store, in the order of the kept split.
        leaks: row -> what is wrong with the image.
        added: names of the images that are in no part.
        gone, changed, left_out: part -> names of the images that are not in the data any more, whose file or class is
            another one, or that are listed in the data's left_out.csv now.
        left_out_name: name of that file.
    """

    rows: Mapping[str, np.ndarray]
    leaks: Mapping[int, Leak]
    added: Sequence[str]
    gone: Mapping[str, Sequence[str]]
    changed: Mapping[str, Sequence[str]]
    left_out: Mapping[str, Sequence[str]]
    left_out_name: str


def open_kept_split(run: str | Path, use: Use) -> KeptSplit | None:
    """Return the split that a run keeps; None if it was written by an earlier version.

    Raises:
        UserError: split.csv is damaged.
    """
    images = read_split(Path(run))
    return None if images is None else KeptSplit(Path(run), images, use)


def find_kept_images(kept: KeptSplit, store: Store, source: Source, data: str) -> FoundImages:
    """Find the images of a kept split, by name and content, or by content alone if they were renamed.

    Args:
        kept: the split.
        store: the images of the data as it is now.
        source: the data.
        data: value of `--data`; named in errors.

    Raises:
        DataChanged: the classes have changed, or images that are needed are gone or have changed.
    """
    left_out = source.left_out
    _check_classes(kept, source.class_names, data)
    classes = [source.class_names[label] for label in store.labels]
    found = _match(kept, store, classes)
    rows: dict[str, list[int]] = {part: [] for part in _PARTS}
    missing: dict[str, dict[str, list[str]]] = {kind: {} for kind in ("gone", "changed", "left_out")}
    present = {*store.names, *(name for name, _ in store.unreadable)}
    for image, row in zip(kept.images, found, strict=True):
        if row is None:
            kind = "changed" if image.name in present else "gone"
            missing[kind].setdefault(image.part, []).append(image.name)
        elif store.names[row] in left_out:
            missing["left_out"].setdefault(image.part, []).append(image.name)
        else:
            rows[image.part].append(row)
    used = {row for row in found if row is not None}
    changed = {name for names in missing["changed"].values() for name in names}
    unused = {*changed, *(name for name in store.names if name in left_out)}
    added = [name for row, name in enumerate(store.names) if row not in used and name not in unused]
    leaks = {row: image.leak for image, row in zip(kept.images, found, strict=True) if row is not None}
    arrays = {part: np.array(numbers, np.int64) for part, numbers in rows.items()}
    images = FoundImages(arrays, leaks, added, **missing, left_out_name=source.left_out_name)
    _check_use(kept, images, data)
    return images


def _match(kept: KeptSplit, store: Store, classes: Sequence[str]) -> list[int | None]:
    """Return the row of each image of the split; None if no image has the same content and the same class."""
    row_of = {name: row for row, name in enumerate(store.names)}
    found: list[int | None] = []
    for image in kept.images:
        row = row_of.get(image.name)
        is_same = row is not None and (store.digests[row], classes[row]) == (image.digest, image.class_name)
        found.append(row if is_same else None)
    taken = {row for row in found if row is not None}
    others = collections.defaultdict(list)  # (digest, class) -> rows that have no image yet
    if len(taken) < len(found):
        for row in range(len(store.names) - 1, -1, -1):
            if row not in taken:
                others[store.digests[row], classes[row]].append(row)
    for number, image in enumerate(kept.images):
        renamed = others.get((image.digest, image.class_name)) if found[number] is None else None
        if renamed:
            found[number] = renamed.pop()
    return found


def _check_classes(kept: KeptSplit, class_names: Sequence[str], data: str) -> None:
    trained = {image.class_name for image in kept.images}
    if trained != set(class_names):
        name = min(trained ^ set(class_names))
        problem = "is missing" if name in trained else "is new"
        raise DataChanged(f"--data {data}: has other classes than those {kept.run} was trained on ('{name}' {problem})")


def _check_use(kept: KeptSplit, found: FoundImages, data: str) -> None:
    """Refuse a use for which images are missing or have changed.

    Raises:
        DataChanged: names the images and what to do.
    """
    if kept.use == "test":
        changes = list(_describe_missing(found, [TEST], ("gone", "changed")))
        if changes:
            raise DataChanged(
                f"--data {data}: {', '.join(changes)}; {kept.run} cannot be tested on other images: restore its "
                "own, or train again"
            )
    elif kept.use == "resume":
        changes = list(_describe_missing(found, [TRAIN, VALIDATION], ("gone", "changed", "left_out")))
        if changes:
            raise DataChanged(
                f"--data {data}: {', '.join(changes)}; {kept.run} is continued with the images that it began with: "
                "restore them, or train again under another --name"
            )
    elif kept.use == "validate" and not len(found.rows[VALIDATION]):
        raise DataChanged(
            f"--data {data}: has none of the validation images of {kept.run}, which are needed here; name the "
            "data that it was trained on"
        )
    elif not any(len(found.rows[part]) for part in (VALIDATION, TEST)):
        raise DataChanged(f"--data {data}: has none of the validation and test images of {kept.run}")


def describe_changes(kept: KeptSplit, found: FoundImages) -> list[str]:
    """Return one line about what has changed in the data since the run was trained; none if nothing has."""
    changes = []
    if found.added:
        was, is_not = agree(len(found.added), "was", "were"), agree(len(found.added), "is", "are")
        changes.append(
            f"{format_count(len(found.added), 'image')} {was} added{_name(found.added)} and {is_not} not used"
        )
    changes += _describe_missing(found, list(_PARTS), ("gone", "changed", "left_out"))
    return [f"the data has changed since {kept.run} was trained: {'; '.join(changes)}"] if changes else []


def _describe_missing(found: FoundImages, parts: Sequence[str], kinds: Sequence[str]) -> Iterator[str]:
    """Yield a phrase for each part and each kind of change."""
    verbs = {"gone": ("is gone", "are gone"), "changed": ("has changed", "have changed")}
    verbs["left_out"] = (f"is left out by {found.left_out_name}", f"are left out by {found.left_out_name}")
    for kind in kinds:
        for part in parts:
            names = getattr(found, kind).get(part)
            if names:
                images = format_count(len(names), f"{_PARTS[part]} image")
                yield f"{images} {agree(len(names), *verbs[kind])}{_name(names)}"


def _name(names: Sequence[str]) -> str:
    """Return the first names in brackets."""
    return f" ({', '.join(names[:_MAX_NAMED])}{', ...' if len(names) > _MAX_NAMED else ''})"
