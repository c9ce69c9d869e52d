"""A data set ready for training: decoded images and the stratified split, from a `--data` value."""

import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from workbench.config import DataConfig
from workbench.data.corrections import CORRECTIONS, Corrected, Correction, apply_corrections
from workbench.data.image_formats import READABLE, describe_missing_decoders
from workbench.data.source import TEST, TRAIN, UNSPLIT, VALIDATION, Source
from workbench.data.sources import open_source
from workbench.data.splits.drawing import check_held_out, draw_split
from workbench.data.splits.earlier_runs import UsedImage
from workbench.data.splits.folds import draw_folds, parse_fold
from workbench.data.splits.groups import find_groups
from workbench.data.splits.kept_split import KeptSplit, describe_changes, find_kept_images
from workbench.data.splits.leaks import describe_leaks, find_leaks, open_pairs
from workbench.data.splits.saved_split import Leak, SplitImage
from workbench.data.store import Progress, Store, open_store
from workbench.errors import UserError
from workbench.wording import agree, format_count

DEFAULT_SIZES = {"digits": 32}
DEFAULT_SIZE, MAX_SIZE = 128, 4096


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Images with labels and a split. It equals itself alone, so that it can be the key of a cache.

    Attributes:
        name: short name, such as `flowers`.
        class_names: in the order of the labels.
        images: uint8 RGB, shape (n, size, size, 3), mapped from the store; or stored features of images.
        labels: int32 class indices, shape (n,).
        names: the images' names, paths relative to the data folder.
        train, validation, test: int64 arrays of row numbers, disjoint.
        unreadable: [name, reason] of the images that were skipped.
        decode_seconds: time that decoding took just now, 0.0 if the store was there already.
        key: changes whenever the source's content or a label does.
        images_key: key of the store of the images; changes whenever their pixels or their rows do.
        left_out: names of the images that the data's left_out.csv or the corrections exclude; they are in none of the
            parts.
        left_out_name: names of the files that exclude them, such as `left_out.csv and labels.csv`.
        validation_images: the images of the rows `validation`, in that order, where they are not in `images`; such as
            exact features where those of the training images are rounded. None if they are in `images`.
        augmentable: whether the training pipeline may augment the images; False for stored features and for images that
            are stored augmented.
        folders: part -> name of the folder that holds its images, see `workbench.data.source.Source`.
        warnings: the source's lines for the user.
        split: the images of all parts, as they are saved in a run's folder.
        changes: lines for the user on what has changed since the run was trained whose split is used.
        fold: the fold that validates, such as `2/5`; None without cross-validation.
        notes: lines for the user: about lines of left_out.csv that name no image, corrected labels, and what the split
            keeps together.
        corrections: of the labels, which the run keeps.
        source_labels: int32 (n,), class indices before the corrections; empty where the images are of another source.
    """

    name: str
    class_names: list[str]
    images: np.ndarray
    labels: np.ndarray
    names: list[str]
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    unreadable: list[list[str]]
    decode_seconds: float
    key: str
    images_key: str
    left_out: list[str] = dataclasses.field(default_factory=list)
    left_out_name: str = ""
    validation_images: np.ndarray | None = None
    augmentable: bool = True
    folders: Mapping[str, str] = dataclasses.field(default_factory=dict)
    warnings: Sequence[str] = dataclasses.field(default_factory=list)
    split: Sequence[SplitImage] = dataclasses.field(default_factory=list)
    changes: Sequence[str] = dataclasses.field(default_factory=list)
    fold: str | None = None
    notes: Sequence[str] = dataclasses.field(default_factory=list)
    corrections: Sequence[Correction] = dataclasses.field(default_factory=list)
    source_labels: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int32))

    @property
    def image_size(self) -> int:
        """Return the side of the square images in pixels."""
        return self.images.shape[1]

    def get_source_classes(self) -> dict[str, str]:
        """Return image -> name of its class in the source, before the corrections."""
        classes = [self.class_names[label] for label in self.source_labels]
        return dict(zip(self.names, classes, strict=True))

    def count_classes(self) -> np.ndarray:
        """Return the number of training images of each class, int64 (num_classes,)."""
        return np.bincount(self.labels[self.train], minlength=len(self.class_names))


def compute_class_weights(dataset: Dataset) -> np.ndarray:
    """Return the weight of an image of each class, float32 (num_classes,).

    All classes together weigh the same, and the mean weight of the training images is 1.
    """
    counts = dataset.count_classes()
    return (counts.sum() / (len(counts) * counts)).astype(np.float32)


def choose_image_size(data: DataConfig) -> int:
    """Return the side of the square images in pixels: the one asked for, or the default for this data.

    Raises:
        UserError: the size is out of range.
    """
    size = data.image_size
    if size is None:
        size = DEFAULT_SIZES.get(data.data, DEFAULT_SIZE)
    if not 1 <= size <= MAX_SIZE:
        raise UserError(f"--image-size {size}: must be between 1 and {MAX_SIZE:,} pixels")
    return size


def load_dataset(
    data: DataConfig,
    seed: int,
    progress: Progress | None = None,
    kept: KeptSplit | None = None,
    used: Mapping[str, UsedImage] | None = None,
) -> Dataset:
    """Open the source, decode it once, and split it.

    A validation set (20 % of the training images) and, where the data has no test set, a test set (15 %) are drawn from
    each class in the same proportion, and are the same ones for the same seed. Images that the data's left_out.csv
    lists are in none of the parts. Images of a group (`data.groups`) stay together. With `data.fold`, the training and
    validation images are divided into folds, of which one validates.

    Args:
        data: which data, at which size.
        seed: of the split, unless `data.split_seed` is set.
        progress: see `workbench.data.store.open_store`.
        kept: the split of an earlier run, which is used in place of a new one. Images that are in none of its parts are
            not used.
        used: digest -> use of the images that an earlier run has used whose network is fine-tuned, see
            `workbench.data.splits.earlier_runs`. A kept split knows them.

    Raises:
        UserError: the data cannot be found, read or split; too many images are unreadable; images of the kept split
            have changed in a way that its use does not allow.
    """
    image_size = choose_image_size(data)
    check_options(data, seed)
    source = open_source(data.data)
    store = open_store(source, image_size, data.resize, data.cache_dir, progress)
    notes, source_labels = _describe_unknown_exclusions(source, store), store.labels
    table, listed = _find_corrections(data, kept), source.left_out
    corrected = apply_corrections(table, source, store, is_kept=kept is not None) if table else Corrected(source, store)
    source, store = corrected.source, corrected.store
    unreadable = [entry for entry in store.unreadable if entry[0] not in source.left_out]
    _check_unreadable(unreadable, len(store.labels), data)
    left_out = [name for name in store.names if name in source.left_out]
    excluding = [source.left_out_name] if any(name in listed for name in left_out) else []
    if table and any(name not in listed for name in left_out):
        excluding.append(table.name)
    parts = _keep_split(kept, store, source, data.data) if kept else _draw_split(store, source, data, seed, used or {})
    split = _list_images(parts, store, source.class_names)
    return Dataset(
        name=source.name,
        class_names=list(source.class_names),
        images=store.images,
        labels=store.labels,
        names=store.names,
        train=parts.rows[TRAIN],
        validation=parts.rows[VALIDATION],
        test=parts.rows[TEST],
        unreadable=unreadable,
        decode_seconds=store.decode_seconds,
        key=_make_key(source.key, [*left_out, *([corrected.key] if corrected.key else [])]),
        images_key=store.folder.name,
        left_out=left_out,
        left_out_name=" and ".join(excluding),
        folders=source.folders,
        warnings=[*source.warnings, *describe_leaks(split, data.data)],
        split=split,
        changes=parts.changes,
        fold=data.fold,
        notes=[*notes, *corrected.notes, *parts.notes],
        corrections=corrected.rows,
        source_labels=source_labels,
    )


def _make_key(key: str, changes: Sequence[str]) -> str:
    """Return the key of a source after some changes; the same without changes."""
    return hashlib.sha256("\n".join([key, *changes]).encode()).hexdigest() if changes else key


def _describe_unknown_exclusions(source: Source, store: Store) -> list[str]:
    """Return one line about what left_out.csv lists that is not in the data; none if all is."""
    known = {*store.names, *(name for name, _ in store.unreadable)}
    unknown = [name for name in source.left_out if name not in known]
    if not unknown:
        return []
    lines = f"{format_count(len(unknown), 'line')} of {source.left_out_name}"
    return [f"warning: {lines} {agree(len(unknown), 'names', 'name')} no image, such as '{unknown[0]}'"]


def _find_corrections(data: DataConfig, kept: KeptSplit | None) -> Path | None:
    """Return the table of `--labels`, or the one that the run has kept whose split is used; None if there is none."""
    if kept:
        path = kept.run / CORRECTIONS
        return path if path.exists() else None
    return Path(data.labels).expanduser() if data.labels else None


@dataclasses.dataclass(frozen=True)
class _Split:
    """How a data set is split.

    Attributes:
        rows: part -> int64 rows of the store.
        leaks: row -> what is wrong with the image.
        changes: lines on what has changed since the split was kept.
        notes: lines on what the split keeps together.
    """

    rows: Mapping[str, np.ndarray]
    leaks: Mapping[int, Leak]
    changes: Sequence[str] = ()
    notes: Sequence[str] = ()


def _list_images(parts: _Split, store: Store, class_names: Sequence[str]) -> list[SplitImage]:
    """Return the images of all parts."""
    return [
        SplitImage(
            store.names[row], class_names[store.labels[row]], part, store.digests[row], *parts.leaks.get(row, Leak())
        )
        for part, rows in parts.rows.items()
        for row in rows.tolist()
    ]


def _draw_split(store: Store, source: Source, data: DataConfig, seed: int, used: Mapping[str, UsedImage]) -> _Split:
    """Draw a new split, and compare its images with each other and with those that an earlier run has used."""
    parts = np.array(store.parts, object)
    parts[[name in source.left_out for name in store.names]] = None
    split_seed = seed if data.split_seed is None else data.split_seed
    pairs = open_pairs(store)
    groups = find_groups(data.groups, store.names, pairs)
    train, validation, test = draw_split(parts, store.labels, source, split_seed, groups)
    fold = parse_fold(data.fold) if data.fold else None
    if fold:
        pool = np.sort(np.concatenate([train, validation]))
        folds = draw_folds(pool, store.labels, source, split_seed, fold.total, groups)
        validation = folds.pop(fold.number - 1)
        train = np.sort(np.concatenate(folds))
    rows = {TRAIN: train, VALIDATION: validation, TEST: test}
    for part in [
        *([TEST] if UNSPLIT in parts else []),
        *([VALIDATION] if VALIDATION not in parts and not fold else []),
    ]:
        check_held_out(part, rows[part], store.labels, source)
    divided = {UNSPLIT, *([TRAIN] if VALIDATION not in parts else []), *([TRAIN, VALIDATION] if fold else [])}
    notes: list[str] = []
    if groups:
        split_rows = np.flatnonzero([part in divided for part in parts])
        notes += groups.describe(split_rows, [np.intersect1d(part, split_rows) for part in rows.values()])
        notes += groups.describe_divided(list(rows.values()))
    return _Split(rows, find_leaks(store, pairs, rows, used), notes=notes)


def _keep_split(kept: KeptSplit, store: Store, source: Source, data: str) -> _Split:
    """Return the split that an earlier run keeps."""
    found = find_kept_images(kept, store, source, data)
    return _Split(found.rows, found.leaks, changes=describe_changes(kept, found))


def check_options(data: DataConfig, seed: int) -> None:
    """Refuse a share of unreadable images, or a seed, that is out of range. No data are read.

    Raises:
        UserError: names the option.
    """
    if not 0 <= data.max_unreadable <= 1:
        raise UserError(f"--max-unreadable {data.max_unreadable}: must be between 0 and 1, a share of the images")
    for option, value in (("--seed", seed), ("--split-seed", data.split_seed)):
        if value is not None and not 0 <= value < 1 << 32:
            raise UserError(f"{option} {value}: must be between 0 and {(1 << 32) - 1:,}")


def _check_unreadable(unreadable: Sequence[Sequence[str]], num_readable: int, data: DataConfig) -> None:
    count, total = len(unreadable), len(unreadable) + num_readable
    missing = describe_missing_decoders(reason for _, reason in unreadable)
    if not num_readable:
        raise UserError(f"--data {data.data}: {'; '.join(missing) or f'holds no readable image ({READABLE})'}")
    if count > data.max_unreadable * total:
        name, reason = unreadable[0]
        enough = math.ceil(1000 * count / total) / 1000
        if missing:
            raise UserError(f"--data {data.data}: {'; '.join(missing)}; or skip images with --max-unreadable {enough}")
        images = f"{count} of {format_count(total, 'image')} {agree(count, 'is', 'are')}"
        raise UserError(
            f"--data {data.data}: {images} unreadable ({count / total:.1%}), "
            f"such as {name}: {reason}; repair or remove them, or allow them with --max-unreadable {enough}"
        )
