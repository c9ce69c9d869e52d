"""Other photos than those of a run: which of them are evaluated, and under which classes of the run."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from workbench.console import console, show_decoding
from workbench.data.dataset import Dataset
from workbench.data.image_formats import READABLE
from workbench.data.source import TEST, Source
from workbench.data.sources import open_source
from workbench.data.splits.saved_split import SplitImage, read_split
from workbench.data.store import Store, open_store
from workbench.errors import UserError
from workbench.evaluation.other_data.class_matching import ClassMatch, describe_match, match_classes, name_classes
from workbench.evaluation.other_data.seen_photos import find_seen_photos
from workbench.finished_run import FinishedRun
from workbench.wording import agree, format_count


@dataclasses.dataclass(frozen=True)
class OtherData:
    """Photos that a run was not trained on.

    Attributes:
        data: where they are: an absolute path, or another value of `--data`.
        name: short name.
        evaluated: what of them is evaluated, such as `all 60 images of photos2`.
        dataset: its test images are those of the run's classes, with the run's labels; there are no other parts.
        foreign: its test images are those of other classes, whose labels are -1.
        foreign_classes: name of the class of each.
        match: how the classes belong to those of the run.
    """

    data: str
    name: str
    evaluated: str
    dataset: Dataset
    foreign: Dataset
    foreign_classes: list[str]
    match: ClassMatch


def open_other_data(run: FinishedRun, data: str) -> OtherData | None:
    """Open the data of `--data`, print what it is taken for, and return it; None if it is the run's data, moved.

    It is the run's data if it has the same classes and at least half of the run's images, or of its test images, by
    their content. A run of an earlier version does not know the content of its images; there the classes decide.

    Raises:
        UserError: the data cannot be opened, or none of its classes is one of the run's.
    """
    source, config = open_source(data, min_classes=1), run.data_config
    store = open_store(source, run.image_size, config.resize, config.cache_dir, show_decoding)
    split = read_split(run.path)
    digests = set(store.digests)
    found = [image for image in split or () if image.digest in digests]
    counts = f"{len(found):,} of its {len(split or ()):,} images are in it"
    if list(source.class_names) == run.class_names and (split is None or _is_most(found, split)):
        console.print(f"--data {data}: the data of {run.path}" + ("" if split is None else f" ({counts})"))
        return None
    counts = "" if split is None else f" ({counts})"
    console.print(f"--data {data}: other data than that of {run.path}{counts}; its results are kept apart")
    return _match_data(run, data, source, store)


def _is_most(found: list[SplitImage], split: list[SplitImage]) -> bool:
    """Return whether at least half of all images of a split were found, or of its test images."""
    found_tests, tests = (sum(image.part == TEST for image in images) for images in (found, split))
    return 2 * len(found) >= len(split) or (tests > 0 and 2 * found_tests >= tests)


def _match_data(run: FinishedRun, data: str, source: Source, store: Store) -> OtherData:
    """Choose the images that are evaluated, give them the labels of the run, and print what is worth knowing."""
    match = match_classes(run.class_names, source.class_names)
    if len(match.only_in_data) == len(source.class_names):
        raise UserError(
            f"--data {data}: none of its classes ({name_classes(source.class_names)}) is one of {run.path} "
            f"({name_classes(run.class_names)}); give its folders the names of these classes"
        )
    has_test = TEST in store.parts
    rows = np.array(
        [
            row
            for row, (name, part) in enumerate(zip(store.names, store.parts, strict=True))
            if name not in source.left_out and (part == TEST or not has_test)
        ],
        np.int64,
    )
    labels = match.labels[store.labels]
    known, foreign = rows[labels[rows] >= 0], rows[labels[rows] < 0]
    if not len(known):
        reason = f"holds no readable image ({READABLE})" if not len(rows) else "has no image of these classes to test"
        raise UserError(f"--data {data}: {reason}")
    of_source = f"the test part ({source.folders[TEST]}/)" if TEST in source.folders else "the test part"
    evaluated = f"{of_source if has_test else 'all'} of {source.name}, {format_count(len(rows), 'image')}"
    unreadable = [name for name, _ in store.unreadable if name not in source.left_out]
    if unreadable:
        are = agree(len(unreadable), "is", "are")
        console.print(f"{format_count(len(unreadable), 'image')} {are} unreadable, such as {unreadable[0]}")
    for line in [*source.warnings, f"evaluated: {evaluated}", *describe_match(match)]:
        console.print(line)
    seen = find_seen_photos(run, store)
    is_path = Path(data).expanduser().exists()
    return OtherData(
        data=str(Path(data).expanduser().resolve()) if is_path else data,
        name=source.name,
        evaluated=evaluated,
        dataset=_make_dataset(run, source, store, labels, known, seen),
        foreign=_make_dataset(run, source, store, labels, foreign, seen),
        foreign_classes=[source.class_names[label] for label in store.labels[foreign]],
        match=match,
    )


def _make_dataset(
    run: FinishedRun, source: Source, store: Store, labels: np.ndarray, rows: np.ndarray, seen: Mapping[int, str]
) -> Dataset:
    """Return a data set whose only part are the test images `rows`, each with the photo that the run has seen."""
    split = [
        SplitImage(name, source.class_names[store.labels[row]], TEST, store.digests[row], seen_in=seen.get(row, ""))
        for row, name in ((row, store.names[row]) for row in rows.tolist())
    ]
    empty = np.array([], np.int64)
    return Dataset(
        name=source.name,
        class_names=run.class_names,
        images=store.images,
        labels=labels,
        names=store.names,
        train=empty,
        validation=empty,
        test=rows,
        unreadable=store.unreadable,
        decode_seconds=store.decode_seconds,
        key=source.key,
        images_key=store.folder.name,
        split=split,
    )
