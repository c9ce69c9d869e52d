"""A data set ready for training: decoded images and the stratified split, from a `--data` value."""

import dataclasses
import typing

import numpy as np

from vision.data.sources import TEST, TRAIN, UNSPLIT, VALIDATION, open_source
from vision.data.store import open_store
from vision.errors import UserError

VALIDATION_SHARE, TEST_SHARE = 0.20, 0.15
DEFAULT_SIZES = {"digits": 32}
DEFAULT_SIZE = 128


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Data.

    Args:
        data: `digits` (embedded), or a folder: train/<class>/* with test/ or val/ beside it, or <class>/*.
        image_size: Side of the square images in pixels; by default 32 for digits and 128 for photos.
        resize: `crop` keeps proportions and cuts out the centre; `stretch` keeps everything.
        max_unreadable: Share of the images that may be unreadable (they are skipped and listed).
        cache_dir: Folder of the decoded images; by default image-workbench in the user's cache folder.
    """

    data: str = "digits"
    image_size: int | None = None
    resize: typing.Literal["crop", "stretch"] = "crop"
    max_unreadable: float = 0.01
    cache_dir: str | None = None


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

    @property
    def image_size(self):
        """Side of the square images in pixels."""
        return self.images.shape[1]


def resolve_image_size(config):
    """`config` with the image size that holds for its data where none was given.

    Raises:
        UserError: a size below one pixel.
    """
    size = config.image_size
    if size is None:
        size = DEFAULT_SIZES.get(config.data, DEFAULT_SIZE)
    if size < 1:
        raise UserError(f"--image-size {size}: must be at least 1 pixel")
    return dataclasses.replace(config, image_size=size)


def load_dataset(config, seed, progress=None):
    """Open the source, decode it once, and split it.

    A validation set (20 % of the training images) and, where the data has no test set, a test set (15 %) are
    drawn from each class alike, the same ones for the same seed.

    Args:
        config: a `DataConfig`.
        seed: fixes the split.
        progress: see `vision.data.store.open_store`.

    Raises:
        UserError: the data cannot be found, read or split; too many images are unreadable.
    """
    config = resolve_image_size(config)
    source = open_source(config.data)
    store = open_store(source, config.image_size, config.resize, config.cache_dir, progress)
    _check_unreadable(store, config)
    parts = np.array(store.parts, object)
    rng = np.random.default_rng(seed)
    train, validation, test = (np.flatnonzero(parts == part) for part in (TRAIN, VALIDATION, TEST))
    unsplit = np.flatnonzero(parts == UNSPLIT)
    if len(unsplit):
        train, test = _stratified(unsplit, store.labels, TEST_SHARE, rng, source)
    if not len(validation):
        train, validation = _stratified(train, store.labels, VALIDATION_SHARE, rng, source)
    return Dataset(
        name=source.name,
        class_names=list(source.class_names),
        images=store.images,
        labels=store.labels,
        names=store.names,
        train=train,
        validation=validation,
        test=test,
        unreadable=store.unreadable,
        decode_seconds=store.decode_seconds,
        key=source.key,
    )


def _stratified(rows, labels, share, rng, source):
    """Two sorted arrays of rows: the rest, and `share` of each class (at least one image)."""
    held_out = []
    for label, name in enumerate(source.class_names):
        of_class = rows[labels[rows] == label]
        if len(of_class) < 3:
            raise UserError(
                f"class '{name}' of {source.name} has {len(of_class)} readable images for training; "
                "it needs at least 3, to train, validate and test on"
            )
        held_out.append(rng.permutation(of_class)[: max(1, round(share * len(of_class)))])
    held_out = np.sort(np.concatenate(held_out))
    return np.setdiff1d(rows, held_out), held_out


def _check_unreadable(store, config):
    count = len(store.unreadable)
    total = count + len(store.labels)
    if not len(store.labels):
        raise UserError(f"--data {config.data}: holds no readable image (JPEG, PNG, GIF, BMP or WebP)")
    if count > config.max_unreadable * total:
        name, reason = store.unreadable[0]
        raise UserError(
            f"--data {config.data}: {count} of {total} images are unreadable ({count / total:.1%}), "
            f"such as {name}: {reason}; mend or remove them, or allow them with --max-unreadable {count / total:.3f}"
        )
