"""Compute the frozen layers once: their output for every training and validation image, stored on disk."""

import dataclasses
import functools
import hashlib
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from transfer.backbone import Network
from transfer.config import TransferConfig
from transfer.feature_store import count_bytes, open_features
from transfer.folding import fold_batch_norm
from workbench.console import console, format_duration, open_bar
from workbench.data.dataset import Dataset
from workbench.data.pipeline import augment
from workbench.errors import UserError
from workbench.keras_graph import find_input
from workbench.runtime import list_gpus
from workbench.training.precision import choose_precision, gpus_have_bfloat16, measure_call

FORMAT = 1  # to be raised when the computation or the layout changes, so that older features are not used
BATCH = 32
_MEASURED = 3  # batches after which the speed is known; the graph is traced in the first one
_FORMATS = {  # feature_precision -> (number format of the computation, of the stored values)
    "float32": ("float32", "float32"),
    "float16": ("float32", "float16"),
    "bfloat16": ("bfloat16", "float16"),
}


@dataclasses.dataclass(frozen=True)
class Features:
    """Stored features.

    Attributes:
        dataset: a data set whose `images` are float arrays of shape (n, ...): the features of the training images
            (all augmented views of the first kind, then of the second, ...) and of the validation images.
        seconds: how long computing them took just now; 0.0 if they were stored already.
        images: number of images, or views of them, that were computed just now.
    """

    dataset: Dataset
    seconds: float
    images: int


@dataclasses.dataclass(frozen=True)
class _Batch:
    """Images that go through the network together: their rows in the data set, and their view; None for no view."""

    view: int | None
    rows: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What is computed, in order.

    Attributes:
        batches: the batches.
        rows: rows of the data set, of all batches together.
        train, validation: positions of the training and the validation images in `rows`.
    """

    batches: list[_Batch]
    rows: np.ndarray
    train: np.ndarray
    validation: np.ndarray


def compute_features(dataset: Dataset, operation: keras.Operation, config: TransferConfig, views: int) -> Features:
    """Return the output of a network's frozen part for a data set; compute it if it is not stored yet.

    Args:
        dataset: images.
        operation: the last operation of the frozen part, see `transfer.freezing.find_last_frozen`.
        config: a resolved configuration, its `feature_precision` not `auto`.
        views: augmented views of each training image; 0 computes the images as they are.

    Raises:
        UserError: the disk is full, or the activations are too large for float16.
    """
    start, seed = time.perf_counter(), config.training.seed
    frozen = keras.Model(find_input(operation), operation.output)
    compute_dtype, stored_dtype = _FORMATS[config.features.feature_precision]
    plan = _plan_batches(dataset, views)
    shape = (len(plan.rows), *frozen.output_shape[1:])

    def compute_blocks(rows_done: int) -> Iterator[np.ndarray]:
        _announce(len(plan.rows) - rows_done, shape, stored_dtype, compute_dtype)
        model = fold_batch_norm(frozen, compute_dtype)
        return _compute(model, dataset.images, plan.batches, rows_done, seed, stored_dtype)

    key = _make_key(frozen, plan, dataset, config, views)
    array, computed = open_features(key, shape, stored_dtype, config.data.cache_dir, compute_blocks)
    seconds = time.perf_counter() - start if computed else 0.0
    if computed:
        console.print(f"computed in {seconds:.1f} s ({computed / seconds:,.0f} images/s)", style="dim")
    stored = dataclasses.replace(
        dataset,
        images=array,
        labels=dataset.labels[plan.rows],
        names=[dataset.names[row] for row in plan.rows],
        train=plan.train,
        validation=plan.validation,
        test=np.zeros(0, np.int64),
        augmentable=False,
    )
    return Features(stored, seconds, computed)


def choose_feature_precision(network: Network) -> str:
    """Return the value of `feature_precision` with which this machine computes a backbone fastest.

    It is measured, because some CPUs compute twice as fast in bfloat16 as in float32, and others half as fast. The
    measurement is remembered.

    Returns:
        `bfloat16` or `float16`.
    """
    if not _has_bfloat16():
        return "float16"
    backbone = keras.Model(network.model.input, network.layers[-1].output)
    facts = ["inference", len(backbone.layers), backbone.layers[-1].name, *backbone.input_shape[1:]]
    dtype = choose_precision("auto", facts, math.inf, lambda dtype: _measure_batch(backbone, dtype))
    return "bfloat16" if dtype == "bfloat16" else "float16"


def _measure_batch(frozen: keras.Model, dtype: str) -> float:
    """Return the seconds of a small batch, the shorter of two times."""
    model, images = fold_batch_norm(frozen, dtype), tf.zeros((8, *frozen.input_shape[1:]), tf.uint8)
    forward = tf.function(lambda batch: model(batch, training=False))
    return measure_call(lambda: forward(images), 2)


def _has_bfloat16() -> bool:
    if list_gpus():
        return gpus_have_bfloat16()
    return bool(_read_cpu_flags() & {"avx512_bf16", "amx_bf16"})


@functools.cache
def _read_cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())


def _plan_batches(dataset: Dataset, views: int) -> _Plan:
    """Plan what is computed. Without views, no image's position depends on the split."""
    if not views:
        rows = np.union1d(dataset.train, dataset.validation)
        batches = [_Batch(None, rows[first : first + BATCH]) for first in range(0, len(rows), BATCH)]
        return _Plan(batches, rows, np.searchsorted(rows, dataset.train), np.searchsorted(rows, dataset.validation))
    parts = [*((view, dataset.train) for view in range(views)), (None, dataset.validation)]
    batches = [_Batch(view, part[i : i + BATCH]) for view, part in parts for i in range(0, len(part), BATCH)]
    rows = np.concatenate([part for _, part in parts])
    count = views * len(dataset.train)
    return _Plan(batches, rows, np.arange(count), np.arange(count, len(rows)))


def _make_key(frozen: keras.Model, plan: _Plan, dataset: Dataset, config: TransferConfig, views: int) -> str:
    """Return a key that changes whenever the features would."""
    digest = hashlib.sha256()
    layers = [(type(layer).__name__, layer.name) for layer in frozen.layers]
    seed = config.training.seed if views else None
    dtypes = _FORMATS[config.features.feature_precision]
    settings = (FORMAT, dataset.key, dataset.image_size, config.data.resize, layers, views, seed, *dtypes)
    digest.update(repr(settings).encode())
    digest.update(plan.rows.astype("<i8").tobytes())
    for value in frozen.get_weights():
        digest.update(np.ascontiguousarray(value).data.cast("B"))
    return digest.hexdigest()[:24]


def _announce(count: int, shape: tuple[int, ...], stored_dtype: str, compute_dtype: str) -> None:
    each = " x ".join(map(str, shape[1:]))
    megabytes = count_bytes(shape, stored_dtype) / 1e6
    console.print(
        f"computing the frozen layers once for {count:,} images in {compute_dtype} (kept for later runs: {each} values "
        f"each, {megabytes:,.1f} MB in all)",
        style="dim",
    )


def _compute(
    model: keras.Model, images: np.ndarray, batches: Sequence[_Batch], rows_done: int, seed: int, dtype: str
) -> Iterator[np.ndarray]:
    """Yield the features of each batch after the first `rows_done` rows, and show how far they are."""
    forward = tf.function(lambda batch: model(batch, training=False), reduce_retracing=True)
    total, first = sum(len(batch.rows) for batch in batches), 0
    times: list[float] = []
    with open_bar() as progress:
        task = progress.add_task("frozen layers", total=total)
        for batch in batches:
            if first >= rows_done:
                times.append(time.perf_counter())
                if len(times) == _MEASURED:
                    seconds = (total - first) * (times[2] - times[1]) / BATCH
                    console.print(f"expected: {format_duration(seconds)} for the frozen layers", style="dim")
                pixels = tf.constant(images[batch.rows])
                if batch.view is not None:
                    pixels = augment(pixels, tf.constant([seed, first], tf.int64))
                yield _convert(forward(pixels), dtype)
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
