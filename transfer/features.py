"""Compute the frozen layers once: their output for every training and validation image, stored on disk.

The features of the training images may be computed in bfloat16 and are stored in float16, where a check has shown that
this changes hardly any prediction. The features of the validation images are exact, so that a validation accuracy is
that of the network that is saved.
"""

import dataclasses
import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from transfer.backbone import Network
from transfer.config import TransferConfig
from transfer.feature_precision import choose_feature_precision
from transfer.feature_store import StoredFeatures, count_bytes, open_features
from transfer.frozen_part import BATCH, FORMAT, FORMATS, FrozenPart
from workbench.console import console, format_duration, open_bar
from workbench.data.augmentation import Augmentation, augment, draw_changes
from workbench.data.dataset import Dataset
from workbench.errors import UserError
from workbench.runtime import is_multi_worker
from workbench.training.batches import read_augmentation
from workbench.wording import format_count

_MEASURED = 3  # batches after which the speed is known; the graph is traced in the first one


@dataclasses.dataclass(frozen=True)
class Features:
    """Stored features.

    Attributes:
        dataset: a data set whose `images` are a float array of shape (n, ...): the features of the training images (all
            augmented views of the first kind, then of the second, ...). Its `validation_images` are exact features.
        precision: number format of the training images' features, a value of `feature_precision`.
        agreement: of how many validation images the predictions agree with those of exact features, and the number of
            images compared; None if the format was asked for or is exact.
        seconds_of: key of each stored array -> how long computing it took, whenever that was.
        images: number of images, or views of them, that were computed just now; 0 if all were stored already.
    """

    dataset: Dataset
    precision: str
    agreement: tuple[int, int] | None
    seconds_of: Mapping[str, float]
    images: int

    @property
    def seconds(self) -> float:
        """Return how long computing them took, whenever that was."""
        return sum(self.seconds_of.values(), 0.0)

    def describe(self) -> str:
        """Return a line that says in which number format the features are, and what they cost."""
        line = f"features of the training images: {self.precision}"
        if self.agreement:
            line += " (predictions agree with float32's on {} of {} validation images)".format(*self.agreement)
        return line if self.images else f"{line}; cached, computing them took {self.seconds:.1f} s"


def describe_origin(computed: Sequence[Features], is_known: bool = True) -> str:
    """Return where a run's features come from: `none`, `computed` (some of them in this run), `cached` or `not known`.

    Args:
        computed: the features that the run uses.
        is_known: whether these are all; False where the head was trained before the run was resumed.
    """
    if not is_known:
        return "not known"
    if not computed:
        return "none"
    return "computed" if any(features.images for features in computed) else "cached"


def describe_cost(computed: Sequence[Features], is_known: bool) -> dict[str, Any]:
    """Return what a run's features cost, for its metrics.json; the arguments are those of `describe_origin`."""
    seconds_of = {key: seconds for features in computed for key, seconds in features.seconds_of.items()}
    return {
        "features": describe_origin(computed, is_known),
        "feature_seconds": sum(seconds_of.values(), 0.0),
        "feature_images": sum(features.images for features in computed),
    }


@dataclasses.dataclass(frozen=True)
class _Batch:
    """Images that go through the network together: their rows in the data set, and their view; None for no view."""

    view: int | None
    rows: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Inputs:
    """The images that go through the frozen layers, in order.

    Attributes:
        what: `training` or `validation`.
        batches: the batches.
        rows: rows of the data set, of all batches together.
        views: augmented views of each image; 0 for the images as they are.
        augmentation: of the views.
    """

    what: str
    batches: list[_Batch]
    rows: np.ndarray
    views: int
    augmentation: Augmentation


def compute_features(
    dataset: Dataset, network: Network, operation: keras.Operation, config: TransferConfig, views: int
) -> Features:
    """Return the output of a network's frozen part for a data set; compute it if it is not stored yet.

    Args:
        dataset: images.
        network: its layers after `operation` have their initial weights.
        operation: the last operation of the frozen part, see `transfer.freezing.find_last_frozen`.
        config: a resolved configuration. Where its `feature_precision` is `auto`, it is chosen for this network and
            these images.
        views: augmented views of each training image; 0 computes the images as they are.

    Raises:
        UserError: the disk is full, or the activations are too large for float16.
    """
    frozen = FrozenPart(operation)
    if is_multi_worker():  # all processes make the variables together, also those that find stored features
        for name in ("float32", config.features.feature_precision):
            frozen.build(FORMATS[name][0])
    # Each image validates in one fold, so all folds share exact features of all images.
    pool = np.sort(np.concatenate([dataset.train, dataset.validation])) if dataset.fold else None
    validation = dataset.validation if pool is None else pool
    exact = _open_part(frozen, dataset, _make_inputs("validation", validation, 0, Augmentation()), config, "float32")
    precision: str = config.features.feature_precision
    agreement = None
    if precision == "auto" and dataset.fold:
        precision = "float32"
    if precision == "auto":
        precision, agreement = choose_feature_precision(network, operation, frozen, dataset, exact.values, config)
    rows = pool if pool is not None else dataset.train if views else np.sort(dataset.train)
    inputs = _make_inputs("training", rows, views, read_augmentation(config.training))
    training = _open_part(frozen, dataset, inputs, config, precision)
    train, exact_values = np.arange(len(inputs.rows)) if views else np.searchsorted(rows, dataset.train), exact.values
    if pool is not None:
        places = np.searchsorted(pool, dataset.train)
        train = np.concatenate([view * len(pool) + places for view in range(max(1, views))])
        exact_values = exact.values[np.searchsorted(pool, dataset.validation)]
    rows = np.concatenate([inputs.rows, dataset.validation])
    stored = dataclasses.replace(
        dataset,
        images=training.values,
        validation_images=exact_values,
        labels=dataset.labels[rows],
        source_labels=dataset.source_labels[rows],
        names=[dataset.names[row] for row in rows],
        train=train,
        validation=np.arange(len(inputs.rows), len(rows)),
        test=np.zeros(0, np.int64),
        augmentable=False,
    )
    seconds_of = {part.key: part.seconds for part in (exact, training)}  # one array, if the two have the same key
    return Features(stored, precision, agreement, seconds_of, training.computed + exact.computed)


def _open_part(
    frozen: FrozenPart, dataset: Dataset, inputs: _Inputs, config: TransferConfig, precision: str
) -> StoredFeatures:
    """Return the features of the training or of the validation images; compute them if they are not stored yet."""
    compute_dtype, stored_dtype = FORMATS[precision]
    shape, seed = (len(inputs.rows), *frozen.model.output_shape[1:]), config.training.seed

    def compute_blocks(rows_done: int) -> Iterator[np.ndarray]:
        _announce(len(inputs.rows) - rows_done, inputs.what, shape, stored_dtype, compute_dtype)
        return _compute(frozen, dataset.images, inputs, rows_done, seed, precision)

    views, augmentation = inputs.views, inputs.augmentation
    settings = (FORMAT, dataset.images_key, views, seed if views else None, augmentation, compute_dtype, stored_dtype)
    digest = hashlib.sha256(repr((*settings, frozen.digest)).encode())
    digest.update(inputs.rows.astype("<i8").tobytes())
    start = time.perf_counter()
    part = open_features(digest.hexdigest()[:24], shape, stored_dtype, config.data.cache_dir, compute_blocks)
    if part.computed:
        seconds = time.perf_counter() - start
        console.print(f"computed in {seconds:.1f} s ({part.computed / seconds:,.0f} images/s)", style="dim")
    return part


def _make_inputs(what: str, rows: np.ndarray, views: int, augmentation: Augmentation) -> _Inputs:
    """Divide some rows of the data set, or augmented views of them, into batches."""
    kinds = range(views) if views else [None]
    batches = [_Batch(view, rows[first : first + BATCH]) for view in kinds for first in range(0, len(rows), BATCH)]
    return _Inputs(what, batches, np.tile(rows, len(kinds)), views, augmentation)


def _announce(count: int, what: str, shape: tuple[int, ...], stored_dtype: str, compute_dtype: str) -> None:
    each = " x ".join(map(str, shape[1:]))
    megabytes = count_bytes(shape, stored_dtype) / 1e6
    console.print(
        f"computing the frozen layers once for {format_count(count, f'{what} image')} in {compute_dtype} "
        f"(kept for later runs: {each} values each, {megabytes:,.1f} MB in all)",
        style="dim",
    )


def _compute(
    frozen: FrozenPart, images: np.ndarray, inputs: _Inputs, rows_done: int, seed: int, precision: str
) -> Iterator[np.ndarray]:
    """Yield the features of each batch after the first `rows_done` rows, and show how far they are."""
    compute_dtype, stored_dtype = FORMATS[precision]
    total, first = len(inputs.rows), 0
    times: list[float] = []
    with open_bar() as progress:
        task = progress.add_task("frozen layers", total=total)
        for batch in inputs.batches:
            if first >= rows_done:
                times.append(time.perf_counter())
                if len(times) == _MEASURED:
                    seconds = (total - first) * (times[2] - times[1]) / BATCH
                    console.print(f"expected: {format_duration(seconds)} for the frozen layers", style="dim")
                pixels = tf.constant(images[batch.rows])
                if batch.view is not None:
                    key = tf.constant([seed, first], tf.int64)
                    draws = draw_changes(key, len(batch.rows), inputs.augmentation)
                    pixels = augment(pixels, draws, inputs.augmentation)
                yield _convert(frozen.compute(pixels, compute_dtype), stored_dtype)
            first += len(batch.rows)
            progress.update(task, completed=first)


def _convert(output: tf.Tensor, dtype: str) -> np.ndarray:
    """Convert activations to the number format in which they are stored."""
    values = output.numpy().astype(np.float32)
    if dtype == "float16" and not np.abs(values).max(initial=0) <= np.finfo(np.float16).max:
        raise UserError(
            f"the frozen layers' activations reach {np.abs(values).max():.3g}, too much for float16; "
            "keep them exactly with --feature-precision float32"
        )
    return values.astype(dtype)
