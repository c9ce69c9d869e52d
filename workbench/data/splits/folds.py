"""Folds of the images to train and validate on, for cross-validation: each fold validates once."""

import collections
import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from workbench.data.source import Source
from workbench.data.splits.drawing import Draw, check_classes, choose_groups
from workbench.data.splits.groups import Groups
from workbench.errors import UserError

MAX_FOLDS = 100


class Fold(NamedTuple):
    """The fold that validates.

    Attributes:
        number: from 1 on.
        total: number of all folds.
    """

    number: int
    total: int


def parse_fold(text: str) -> Fold:
    """Read a fold such as `2/5`.

    Raises:
        UserError: the text is not a fold.
    """
    match = re.fullmatch(r"([0-9]{1,3})/([0-9]{1,3})", text)
    fold = Fold(int(match[1]), int(match[2])) if match else None
    if not fold or not (1 <= fold.number <= fold.total and 2 <= fold.total <= MAX_FOLDS):
        raise UserError(f"--fold {text}: give the number of a fold and of all folds, such as 2/5")
    return fold


def check_fold_count(count: int) -> None:
    """Refuse a number of folds that cannot be.

    Raises:
        UserError: names the range.
    """
    if not 2 <= count <= MAX_FOLDS:
        raise UserError(f"--folds {count}: must be between 2 and {MAX_FOLDS}")


def draw_folds(
    rows: np.ndarray, labels: np.ndarray, source: Source, seed: int, count: int, groups: Groups | None = None
) -> list[np.ndarray]:
    """Divide rows into folds of about equal size, each with about the same share of every class; return their rows.

    The images of a group are in one fold.

    Args:
        rows: of all images to train and validate on.
        labels: (n,) class indices.
        source: the data set; named in errors.
        seed: of the draw.
        count: number of folds.
        groups: of images that stay together; None divides all images.

    Raises:
        UserError: a class has too few images or groups for two folds, or there are fewer groups than folds.
    """
    check_classes(rows, labels, source, 2)
    draw = Draw(rows, labels, choose_groups(rows, labels, source, 2, groups), np.random.default_rng(seed))
    if len(draw.order) < count:
        raise UserError(f"--folds {count}: {source.name} can be divided into {len(draw.order)} folds at most")
    folds: list[list[int]] = [[] for _ in range(count)]
    filled = [collections.Counter[int]() for _ in range(count)]
    for group in sorted(draw.order, key=lambda group: -len(draw.rows[group])):  # what is large is placed first
        contents = draw.contents[group]

        def measure_excess(fold: int, contents: Mapping[int, int] = contents) -> tuple[float, int]:
            """Return how much more uneven the folds become: the growth of the sum of squares of the classes' shares."""
            growth = ((2 * filled[fold][label] + n) * n / draw.sizes[label] ** 2 for label, n in contents.items())
            return sum(growth), filled[fold].total()

        best = min(range(count), key=measure_excess)
        folds[best].append(group)
        filled[best].update(contents)
    for label, name in enumerate(source.class_names):
        if sum(fold[label] > 0 for fold in filled) < 2:
            raise UserError(
                f"--folds {count}: all images of class '{name}' would be in one fold, because of their groups; "
                "give another --split-seed or other --groups"
            )
    return [draw.join(fold) for fold in folds]
