"""Draw the split of a data set: its validation images, and its test images if the source has none."""

import collections
from collections.abc import Mapping, Sequence

import numpy as np

from workbench.data.source import TEST, TRAIN, UNSPLIT, VALIDATION, Source
from workbench.data.splits.groups import Groups
from workbench.errors import UserError
from workbench.wording import format_count

VALIDATION_SHARE, TEST_SHARE = 0.20, 0.15
_USES = {1: "to train on", 2: "to train and validate on", 3: "to train, validate and test on"}


def draw_split(
    parts: np.ndarray, labels: np.ndarray, source: Source, seed: int, groups: Groups | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows of the training, validation and test images; draw those that the source does not hold out.

    The images of a group stay together. Without groups of several images, the split is that of earlier versions.

    Args:
        parts: object array (n,), the part of each image in the source; None for images that are not used.
        labels: (n,) class indices.
        source: the data set; named in errors.
        seed: of the draw.
        groups: of images that stay on one side; None divides all images.

    Raises:
        UserError: a class has too few images, or too few groups.
    """
    rng = np.random.default_rng(seed)
    train, validation, test = (np.flatnonzero(parts == part) for part in (TRAIN, VALIDATION, TEST))
    unsplit = np.flatnonzero(parts == UNSPLIT)
    needed = 1 + bool(len(unsplit)) + (not len(validation))
    rows = np.concatenate([train, unsplit])
    check_classes(rows, labels, source, needed)
    numbers = choose_groups(rows, labels, source, needed, groups)
    if len(unsplit):
        train, test = _split_stratified(unsplit, labels, numbers, TEST_SHARE, needed - 1, rng)
    if not len(validation):
        train, validation = _split_stratified(train, labels, numbers, VALIDATION_SHARE, 1, rng)
    return train, validation, test


def check_classes(rows: np.ndarray, labels: np.ndarray, source: Source, needed: int) -> None:
    """Refuse a class with fewer than `needed` images: one for each part that is drawn from `rows`."""
    counts = np.bincount(labels[rows], minlength=len(source.class_names))
    for name, count in zip(source.class_names, counts, strict=True):
        if count < needed:
            raise UserError(
                f"class '{name}' of {source.name} has {format_count(int(count), 'readable training image')}; "
                f"it needs at least {needed}, {_USES[needed]}"
            )


def choose_groups(
    rows: np.ndarray, labels: np.ndarray, source: Source, needed: int, groups: Groups | None
) -> np.ndarray:
    """Return the numbers of the groups by which `rows` are divided, int64 (n,).

    A class that is almost a single photo could not be divided; its near-duplicates are not kept together.

    Raises:
        UserError: a class has images of fewer than `needed` of the groups that were asked for.
    """
    if groups is None:
        return np.arange(len(labels))
    counts = _count_groups(groups.given, rows, labels)
    for label, name in enumerate(source.class_names):
        if counts[label] < needed:
            row = rows[(labels[rows] == label) & ~groups.without_key[rows]][0]
            raise UserError(
                f"--groups {groups.spec}: class '{name}' has images of {format_count(counts[label], 'group')} only, "
                f"such as '{groups.keys[groups.given[row]]}'; it needs at least {needed}, {_USES[needed]}"
            )
    merged = _count_groups(groups.numbers, rows, labels)
    is_short = np.isin(labels, [label for label, count in merged.items() if count < needed])
    return np.where(is_short, groups.numbers.max() + 1 + groups.given, groups.numbers)


def check_held_out(part: str, held_out: np.ndarray, labels: np.ndarray, source: Source) -> None:
    """Refuse a part that was drawn without an image of some class, as no group of this class could be spared."""
    for label, name in enumerate(source.class_names):
        if label not in labels[held_out]:
            raise UserError(
                f"class '{name}' of {source.name} would have no {part} image, because its groups have images of other "
                "classes, which need them to train on; give another --split-seed or other --groups"
            )


def _count_groups(numbers: np.ndarray, rows: np.ndarray, labels: np.ndarray) -> Mapping[int, int]:
    """Return label -> number of groups of which the class has images."""
    pairs = np.unique(np.stack([labels[rows], numbers[rows]]), axis=1)
    return collections.Counter(pairs[0].tolist())


class Draw:
    """Groups of images in a random order, of which some are held out.

    Attributes:
        order: the groups, in the order in which they are considered.
        contents: group -> label -> number of images.
        rows: group -> rows.
        sizes: label -> number of images.
    """

    def __init__(self, rows: np.ndarray, labels: np.ndarray, numbers: np.ndarray, rng: np.random.Generator) -> None:
        """Draw a place for each image among those of its class; a group has the first place of its images."""
        place = np.zeros(len(labels))
        self.sizes: dict[int, int] = {}
        for label in np.unique(labels[rows]).tolist():
            of_class = rows[labels[rows] == label]
            place[rng.permutation(of_class)] = np.arange(len(of_class)) / len(of_class)
            self.sizes[label] = len(of_class)
        self.rows: dict[int, list[int]] = {}
        self.contents: dict[int, collections.Counter[int]] = {}
        for row in rows[np.argsort(place[rows], kind="stable")].tolist():
            group = int(numbers[row])
            self.rows.setdefault(group, []).append(row)
            self.contents.setdefault(group, collections.Counter())[int(labels[row])] += 1
        self.order = list(self.rows)

    def join(self, groups: Sequence[int]) -> np.ndarray:
        """Return the rows of some groups, sorted."""
        return np.sort(np.array([row for group in groups for row in self.rows[group]], np.int64))


def _split_stratified(
    rows: np.ndarray, labels: np.ndarray, numbers: np.ndarray, share: float, reserve: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return two sorted arrays of rows: the rest, and about `share` of each class, at least one image.

    Groups are taken in a random order while they fit into every class's share; then those that bring the classes closer
    to it; and for a class that has none yet, its smallest group.

    Args:
        rows: to be divided.
        labels: (n,) class indices.
        numbers: (n,) of the groups.
        share: of the images to hold out.
        reserve: groups of each class that remain in the rest.
        rng: of the draw.
    """
    draw = Draw(rows, labels, numbers, rng)
    wanted = {label: max(1, round(share * size)) for label, size in draw.sizes.items()}
    taken: collections.Counter[int] = collections.Counter()
    left = collections.Counter(label for contents in draw.contents.values() for label in contents)
    held_out: dict[int, None] = {}

    def can_be_spared(group: int) -> bool:
        return group not in held_out and all(left[label] > reserve for label in draw.contents[group])

    def measure_excess(group: int) -> float:
        """Return by how much the classes would be farther from their share, in shares; negative if nearer."""
        return sum(
            (abs(taken[label] + count - wanted[label]) - abs(taken[label] - wanted[label])) / wanted[label]
            for label, count in draw.contents[group].items()
        )

    def take(group: int) -> None:
        held_out[group] = None
        taken.update(draw.contents[group])
        left.subtract(draw.contents[group].keys())

    for group in draw.order:
        contents = draw.contents[group]
        if can_be_spared(group) and all(taken[label] + count <= wanted[label] for label, count in contents.items()):
            take(group)
    for group in draw.order:
        if can_be_spared(group) and measure_excess(group) < 0:
            take(group)
    for label in draw.sizes:
        if not taken[label]:
            candidates = [group for group in draw.order if label in draw.contents[group] and can_be_spared(group)]
            if candidates:
                take(min(candidates, key=measure_excess))
    test = draw.join([*held_out])
    return np.setdiff1d(rows, test), test
