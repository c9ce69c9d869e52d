"""The lines that say what a data set holds, how it is split, and what may be wrong with it."""

import numpy as np

from workbench.data.dataset import Dataset
from workbench.data.image_formats import describe_missing_decoders
from workbench.data.source import TEST, TRAIN, UNSPLIT, VALIDATION
from workbench.data.splits.drawing import TEST_SHARE, VALIDATION_SHARE
from workbench.wording import agree, format_count

MAX_NAMED = 3  # classes that a line names before it counts them
UNEVEN = 2  # times as many images in the largest class as in the smallest: worth a note


def describe(dataset: Dataset, class_weights: str = "none") -> list[str]:
    """Return lines for the screen that say what a data set holds, how it is split, and what may be wrong with it.

    Args:
        dataset: the data set.
        class_weights: setting of the training; with `balanced` the line on uneven classes is omitted.
    """
    parts = ((dataset.train, "training"), (dataset.validation, "validation"), (dataset.test, "test"))
    counts = ", ".join(f"{len(rows):,} {part}" for rows, part in parts)
    images = agree(len(dataset.test), "image", "images")
    line = f"{dataset.name}: {counts} {images} of {len(dataset.class_names)} classes, {dataset.image_size} px"
    line += f"; {len(dataset.unreadable)} unreadable" if dataset.unreadable else ""
    line += f"; {len(dataset.left_out)} left out ({dataset.left_out_name})" if dataset.left_out else ""
    uneven = describe_imbalance(dataset) if class_weights == "none" else None
    notes = [_describe_folders(dataset), *dataset.notes, _describe_missing_classes(dataset), *dataset.warnings, uneven]
    notes += describe_missing_decoders(reason for _, reason in dataset.unreadable)
    notes += dataset.changes
    return [line, *filter(None, notes)]


def _describe_folders(dataset: Dataset) -> str | None:
    """Return one line that says which folder is for training, validation and testing; None without folders."""
    folders = dataset.folders
    if dataset.fold:
        number, _, count = dataset.fold.partition("/")
        return f"cross-validation: fold {number} of {count} validates, the others are trained on"
    if not folders:
        return None
    if UNSPLIT in folders:
        return (
            f"{folders[UNSPLIT]}/ is for training, validation and testing: {TEST_SHARE * 100:.0f} % of each class are "
            f"for testing, and {VALIDATION_SHARE * 100:.0f} % of the rest for validation"
        )
    test = f"{folders[TEST]}/ for testing"
    if VALIDATION in folders:
        return f"{folders[TRAIN]}/ is for training, {folders[VALIDATION]}/ for validation, {test}"
    reason = "" if folders[TEST].lower() == "test" else ", because there is no test/"
    share = f"{VALIDATION_SHARE * 100:.0f} % of each class"
    return f"{folders[TRAIN]}/ is for training and validation ({share}), {test}{reason}"


def _describe_missing_classes(dataset: Dataset) -> str | None:
    """Return one line about the classes of which the validation or the test set has no image; None if all have one."""
    missing = []
    for rows, part in ((dataset.validation, "validation"), (dataset.test, "test")):
        counts = np.bincount(dataset.labels[rows], minlength=len(dataset.class_names))
        names = [f"'{name}'" for name, count in zip(dataset.class_names, counts, strict=True) if not count]
        if len(names) > MAX_NAMED + 1:
            names = [*names[:MAX_NAMED], f"{len(names) - MAX_NAMED:,} more"]
        if names:
            listed = f"classes {', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else f"class {names[0]}"
            missing.append(f"no {part} image of {listed}")
    return (
        f"warning: {', '.join(missing)}; add images, because accuracy there is measured on the other classes only"
        if missing
        else None
    )


def describe_imbalance(dataset: Dataset) -> str | None:
    """Return one line about training classes of very different sizes; None if their sizes are similar."""
    counts = dataset.count_classes()
    rare, common = int(counts.argmin()), int(counts.argmax())
    if counts[common] < UNEVEN * counts[rare]:
        return None
    most = format_count(int(counts[common]), "training image")
    return (
        f"uneven classes: '{dataset.class_names[common]}' has {most} and "
        f"'{dataset.class_names[rare]}' {counts[rare]:,}; --class-weights balanced gives every class the same weight"
    )
