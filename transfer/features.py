"""What is frozen, computed once: the activations at the cut, for every image that is trained or validated on."""

import dataclasses
import functools
import hashlib
import math
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from transfer.feature_store import count_bytes, open_features
from transfer.folding import fold_batch_norm
from workbench.console import console, format_duration, open_bar
from workbench.data.pipeline import augment
from workbench.errors import UserError
from workbench.keras_graph import find_input
from workbench.runtime import list_gpus
from workbench.training.precision import choose_precision, gpus_have_bfloat16, measure_call

FORMAT = 1  # raised whenever the computation or the layout changes, so that older features are not used
BATCH = 32
_MEASURED = 3  # batches, of which the first has the graph traced, after which the pace is known


@dataclasses.dataclass(frozen=True)
class Features:
    """Stored features.

    Attributes:
        dataset: the `workbench.data.dataset.Dataset` whose images are float arrays of shape (n, ...) now: those of the
            training images (their augmented views one after the other) and of the validation images.
        seconds: that computing them took just now, 0.0 where they were stored already.
        images: how many images (views of them) went through the network for it.
    """

    dataset: object
    seconds: float
    images: int


def stored_features(dataset, operation, config):
    """The output of a network's frozen part for a data set, from disk or computed now.

    Args:
        dataset: a `workbench.data.dataset.Dataset` of images.
        operation: the last one of the frozen part, see `transfer.freezing.last_frozen`.
        config: a `transfer.config.TransferConfig`; its `data_aug`, `views`, `seed`, `feature_precision` and
            `cache_dir` are used, and what the images were decoded with.

    Raises:
        UserError: there is no room on the disk, or the activations are too large for float16.
    """
    frozen = keras.Model(find_input(operation), operation.output)
    compute_dtype = "float32" if config.feature_precision == "float32" else fastest_dtype(frozen)
    start = time.perf_counter()
    store_dtype = "float32" if config.feature_precision == "float32" else "float16"
    views = config.views if config.data_aug else 0
    batches, rows, train, validation = _plan(dataset, views)
    shape = (len(rows), *frozen.output_shape[1:])
    key = _key(frozen, rows, dataset, config, views, compute_dtype, store_dtype)

    def blocks(done):
        console.print(_announcement(len(rows) - done, shape, store_dtype, compute_dtype), style="dim")
        return _compute(fold_batch_norm(frozen, compute_dtype), dataset.images, batches, done, config.seed, store_dtype)

    array, computed = open_features(key, shape, store_dtype, config.cache_dir, blocks)
    seconds = time.perf_counter() - start if computed else 0.0
    if computed:
        console.print(f"computed in {seconds:.1f} s ({computed / seconds:,.0f} images/s)", style="dim")
    replaced = dataclasses.replace(
        dataset,
        images=array,
        labels=dataset.labels[rows],
        names=[dataset.names[row] for row in rows],
        train=train,
        validation=validation,
        test=np.zeros(0, np.int64),
        augmentable=False,
    )
    return Features(replaced, seconds, computed)


def fastest_dtype(frozen):
    """The arithmetic in which this machine runs a network fastest, by a measurement that is remembered.

    There are CPUs whose bfloat16 instructions are half as fast as their float32 ones, and others twice as fast.
    """
    if not _has_bfloat16():
        return "float32"
    network = ["inference", len(frozen.layers), frozen.layers[-1].name, *frozen.input_shape[1:]]
    return choose_precision("auto", network, math.inf, lambda dtype: _batch_seconds(frozen, dtype))


def _batch_seconds(frozen, dtype):
    """Seconds for a small batch, the shorter of two times."""
    model, images = fold_batch_norm(frozen, dtype), tf.zeros((8, *frozen.input_shape[1:]), tf.uint8)
    forward = tf.function(lambda batch: model(batch, training=False))
    return measure_call(lambda: forward(images), 2)


def _has_bfloat16():
    if list_gpus():
        return gpus_have_bfloat16()
    return bool(_cpu_flags() & {"avx512_bf16", "amx_bf16"})


@functools.cache
def _cpu_flags():
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())


def _plan(dataset, views):
    """What is computed in which order.

    Returns:
        (list of (view or None, rows of the data set), all their rows, positions of the training images in these,
        positions of the validation images). Without views no image's position depends on the split.
    """
    if not views:
        rows = np.union1d(dataset.train, dataset.validation)
        batches = [(None, rows[first : first + BATCH]) for first in range(0, len(rows), BATCH)]
        return batches, rows, np.searchsorted(rows, dataset.train), np.searchsorted(rows, dataset.validation)
    parts = [*((view, dataset.train) for view in range(views)), (None, dataset.validation)]
    batches = [(view, part[i : i + BATCH]) for view, part in parts for i in range(0, len(part), BATCH)]
    rows = np.concatenate([part for _, part in parts])
    count = views * len(dataset.train)
    return batches, rows, np.arange(count), np.arange(count, len(rows))


def _key(frozen, rows, dataset, config, views, compute_dtype, store_dtype):
    """Changes whenever the features would."""
    digest = hashlib.sha256()
    layers = [(type(layer).__name__, layer.name) for layer in frozen.layers]
    seed = config.seed if views else None
    settings = (FORMAT, dataset.key, dataset.image_size, config.resize, layers, views, seed, compute_dtype, store_dtype)
    digest.update(repr(settings).encode())
    digest.update(rows.astype("<i8").tobytes())
    for value in frozen.get_weights():
        digest.update(np.ascontiguousarray(value).data.cast("B"))
    return digest.hexdigest()[:24]


def _announcement(count, shape, dtype, compute_dtype):
    each = " x ".join(map(str, shape[1:]))
    return (
        f"computing the frozen layers once for {count:,} images in {compute_dtype} (kept for later runs: {each} values "
        f"each, {count_bytes(shape, dtype) / 1e6:,.1f} MB in all)"
    )


def _compute(model, images, batches, done, seed, dtype):
    """Blocks of features from row `done` on, one a batch."""
    forward = tf.function(lambda batch: model(batch, training=False), reduce_retracing=True)
    total, first, clock = sum(len(rows) for _, rows in batches), 0, []
    with open_bar() as progress:
        task = progress.add_task("frozen layers", total=total)
        for view, rows in batches:
            if first >= done:
                clock.append(time.perf_counter())
                if len(clock) == _MEASURED:
                    seconds = (total - first) * (clock[2] - clock[1]) / BATCH
                    console.print(f"expected: {format_duration(seconds)} for the frozen layers", style="dim")
                batch = tf.constant(images[rows])
                if view is not None:
                    batch = augment(batch, tf.constant([seed, first], tf.int64))
                yield _stored(forward(batch), dtype)
            first += len(rows)
            progress.update(task, completed=first)


def _stored(output, dtype):
    """The activations in the type they are kept in."""
    output = output.numpy().astype(np.float32)
    if dtype == "float16" and not np.abs(output).max(initial=0) <= np.finfo(np.float16).max:
        raise UserError(
            f"the frozen layers' activations reach {np.abs(output).max():.3g}, too much for float16; "
            "keep them exactly with --feature-precision float32"
        )
    return output.astype(dtype)
