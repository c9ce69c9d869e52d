"""Draw the split of a data set: its validation images, and its test images if the source has none."""

import numpy as np

from workbench.data.source import TEST, TRAIN, UNSPLIT, VALIDATION, Source
from workbench.errors import UserError
from workbench.wording import format_count

VALIDATION_SHARE, TEST_SHARE = 0.20, 0.15


def draw_split(
    parts: np.ndarray, labels: np.ndarray, source: Source, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows of the training, validation and test images; draw those that the source does not hold out.

    Args:
        parts: object array (n,), the part of each image in the source; None for images that are not used.
        labels: (n,) class indices.
        source: the data set; named in errors.
        seed: of the draw.

    Raises:
        UserError: a class has too few images.
    """
    rng = np.random.default_rng(seed)
    train, validation, test = (np.flatnonzero(parts == part) for part in (TRAIN, VALIDATION, TEST))
    unsplit = np.flatnonzero(parts == UNSPLIT)
    needed = 1 + bool(len(unsplit)) + (not len(validation))
    _check_classes(np.concatenate([train, unsplit]), labels, source, needed)
    if len(unsplit):
        train, test = _split_stratified(unsplit, labels, TEST_SHARE, rng)
    if not len(validation):
        train, validation = _split_stratified(train, labels, VALIDATION_SHARE, rng)
    return train, validation, test


def _check_classes(rows: np.ndarray, labels: np.ndarray, source: Source, needed: int) -> None:
    """Refuse a class with fewer than `needed` images: one for each part that is drawn from `rows`."""
    uses = {1: "to train on", 2: "to train and validate on", 3: "to train, validate and test on"}
    counts = np.bincount(labels[rows], minlength=len(source.class_names))
    for name, count in zip(source.class_names, counts, strict=True):
        if count < needed:
            raise UserError(
                f"class '{name}' of {source.name} has {format_count(int(count), 'readable training image')}; "
                f"it needs at least {needed}, {uses[needed]}"
            )


def _split_stratified(
    rows: np.ndarray, labels: np.ndarray, share: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return two sorted arrays of rows: the rest, and `share` of each class (at least one image)."""
    drawn = []
    for label in np.unique(labels[rows]):
        of_class = rows[labels[rows] == label]
        drawn.append(rng.permutation(of_class)[: max(1, round(share * len(of_class)))])
    held_out = np.sort(np.concatenate(drawn))
    return np.setdiff1d(rows, held_out), held_out
