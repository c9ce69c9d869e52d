"""A data set ready for training: decoded images and the stratified split, from a `--data` value."""

import dataclasses
import hashlib
import math
import typing

import numpy as np

from workbench.data.sources import TEST, TRAIN, UNSPLIT, VALIDATION, open_source
from workbench.data.store import open_store
from workbench.errors import UserError

VALIDATION_SHARE, TEST_SHARE = 0.20, 0.15
DEFAULT_SIZES = {"digits": 32}
DEFAULT_SIZE, MAX_SIZE = 128, 4096
UNEVEN = 2  # times as many images in the largest class as in the smallest: worth telling


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Data.

    Args:
        data: `digits` (embedded), `nature_12k`, `tfds:NAME[:VERSION]`, or a folder: train/<class>/* with test/ or
            val/ beside it, or <class>/*.
        image_size: Side of the square images in pixels; by default 32 for digits and 128 for photos.
        resize: `crop` keeps proportions and cuts out the centre; `stretch` keeps everything.
        max_unreadable: Share of the images that may be unreadable (they are skipped and listed).
        cache_dir: Folder of the decoded images; by default image-workbench in the user's cache folder.
        split_seed: Fixes which images are held out to validate, and to test where there is no test set; --seed
            by default.
    """

    data: str = "digits"
    image_size: int | None = None
    resize: typing.Literal["crop", "stretch"] = "crop"
    max_unreadable: float = 0.01
    cache_dir: str | None = None
    split_seed: int | None = None


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images with labels and a split.

    Attributes:
        name: short name, such as `flowers`.
        class_names: in the order of the labels.
        images: uint8 RGB, shape (n, size, size, 3), mapped from the store.
        labels: int32 class indices, shape (n,).
        names: the images' names, paths relative to the data folder.
        train, validation, test: int64 arrays of row numbers, disjoint.
        unreadable: list of [name, reason] of images that were skipped.
        decode_seconds: how long decoding took just now, 0.0 where the store stood already.
        key: changes whenever the source's content does.
        left_out: names of the images that the data's left_out.csv keeps from use; in none of the parts.
    """

    name: str
    class_names: list
    images: np.ndarray
    labels: np.ndarray
    names: list
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    unreadable: list
    decode_seconds: float
    key: str
    left_out: list = dataclasses.field(default_factory=list)

    @property
    def image_size(self):
        """Side of the square images in pixels."""
        return self.images.shape[1]

    def class_counts(self):
        """int64 array of the number of training images of each class."""
        return np.bincount(self.labels[self.train], minlength=len(self.class_names))


def balanced_weights(dataset):
    """Weight of an image of each class, so that all classes weigh the same and the mean over images is 1.

    Returns:
        float32 array of shape (num_classes,).
    """
    counts = dataset.class_counts()
    return (counts.sum() / (len(counts) * counts)).astype(np.float32)


def imbalance(dataset):
    """One line about training classes of very different sizes, or None where they are about even."""
    counts = dataset.class_counts()
    rare, common = int(counts.argmin()), int(counts.argmax())
    if counts[common] < UNEVEN * counts[rare]:
        return None
    return (
        f"uneven classes: '{dataset.class_names[common]}' has {counts[common]:,} training images and "
        f"'{dataset.class_names[rare]}' {counts[rare]:,}; --class-weights balanced gives every class the same weight"
    )


def describe(dataset, class_weights="none"):
    """Lines for the screen that say what a data set holds, and that its classes are uneven where they are.

    Args:
        class_weights: the training's setting; with `balanced`, uneven classes are no news.
    """
    parts = ((dataset.train, "training"), (dataset.validation, "validation"), (dataset.test, "test"))
    counts = ", ".join(f"{len(rows):,} {part}" for rows, part in parts)
    line = f"{dataset.name}: {counts} images of {len(dataset.class_names)} classes, {dataset.image_size} px"
    line += f"; {len(dataset.unreadable)} unreadable" if dataset.unreadable else ""
    line += f"; {len(dataset.left_out)} left out (left_out.csv)" if dataset.left_out else ""
    uneven = imbalance(dataset) if class_weights == "none" else None
    return [line, uneven] if uneven else [line]


def resolve_image_size(config):
    """`config` with the image size that holds for its data where none was given.

    Raises:
        UserError: a size that no image can have here.
    """
    size = config.image_size
    if size is None:
        size = DEFAULT_SIZES.get(config.data, DEFAULT_SIZE)
    if not 1 <= size <= MAX_SIZE:
        raise UserError(f"--image-size {size}: must be between 1 and {MAX_SIZE:,} pixels")
    return dataclasses.replace(config, image_size=size)


def load_dataset(config, seed, progress=None):
    """Open the source, decode it once, and split it.

    A validation set (20 % of the training images) and, where the data has no test set, a test set (15 %) are
    drawn from each class alike, the same ones for the same seed. Images that the data's left_out.csv lists are in
    none of them.

    Args:
        config: a `DataConfig`.
        seed: fixes the split where the configuration's `split_seed` does not.
        progress: see `workbench.data.store.open_store`.

    Raises:
        UserError: the data cannot be found, read or split; too many images are unreadable.
    """
    config = resolve_image_size(config)
    if not 0 <= config.max_unreadable <= 1:
        raise UserError(f"--max-unreadable {config.max_unreadable}: must be between 0 and 1, a share of the images")
    for option, value in (("--seed", seed), ("--split-seed", config.split_seed)):
        if value is not None and not 0 <= value < 1 << 32:
            raise UserError(f"{option} {value}: must be between 0 and {(1 << 32) - 1:,}")
    source = open_source(config.data)
    store = open_store(source, config.image_size, config.resize, config.cache_dir, progress)
    unreadable = [entry for entry in store.unreadable if entry[0] not in source.left_out]
    _check_unreadable(unreadable, len(store.labels), config)
    left_out = [name for name in store.names if name in source.left_out]
    parts = np.array(store.parts, object)
    parts[[name in source.left_out for name in store.names]] = None
    rng = np.random.default_rng(seed if config.split_seed is None else config.split_seed)
    train, validation, test = (np.flatnonzero(parts == part) for part in (TRAIN, VALIDATION, TEST))
    unsplit = np.flatnonzero(parts == UNSPLIT)
    _check_classes(
        np.concatenate([train, unsplit]), store.labels, source, 1 + bool(len(unsplit)) + (not len(validation))
    )
    if len(unsplit):
        train, test = _stratified(unsplit, store.labels, TEST_SHARE, rng)
    if not len(validation):
        train, validation = _stratified(train, store.labels, VALIDATION_SHARE, rng)
    return Dataset(
        name=source.name,
        class_names=list(source.class_names),
        images=store.images,
        labels=store.labels,
        names=store.names,
        train=train,
        validation=validation,
        test=test,
        unreadable=unreadable,
        decode_seconds=store.decode_seconds,
        key=hashlib.sha256("\n".join([source.key, *left_out]).encode()).hexdigest() if left_out else source.key,
        left_out=left_out,
    )


def _check_classes(rows, labels, source, needed):
    """Refuse a class with fewer than `needed` images: one for each part that is drawn from `rows`."""
    uses = {1: "to train on", 2: "to train and validate on", 3: "to train, validate and test on"}
    counts = np.bincount(labels[rows], minlength=len(source.class_names))
    for name, count in zip(source.class_names, counts, strict=True):
        if count < needed:
            raise UserError(
                f"class '{name}' of {source.name} has {count} readable training images; "
                f"it needs at least {needed}, {uses[needed]}"
            )


def _stratified(rows, labels, share, rng):
    """Two sorted arrays of rows: the rest, and `share` of each class (at least one image)."""
    held_out = []
    for label in np.unique(labels[rows]):
        of_class = rows[labels[rows] == label]
        held_out.append(rng.permutation(of_class)[: max(1, round(share * len(of_class)))])
    held_out = np.sort(np.concatenate(held_out))
    return np.setdiff1d(rows, held_out), held_out


def _check_unreadable(unreadable, readable, config):
    count, total = len(unreadable), len(unreadable) + readable
    if not readable:
        raise UserError(f"--data {config.data}: holds no readable image (JPEG, PNG, GIF, BMP or WebP)")
    if count > config.max_unreadable * total:
        name, reason = unreadable[0]
        enough = math.ceil(1000 * count / total) / 1000
        raise UserError(
            f"--data {config.data}: {count} of {total} images are unreadable ({count / total:.1%}), "
            f"such as {name}: {reason}; mend or remove them, or allow them with --max-unreadable {enough}"
        )
