"""Choose the number format of stored features: the fastest one in which predictions are those of float32."""

import contextlib
import functools
import hashlib
import math
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from transfer.backbone import Network
from transfer.config import TransferConfig
from transfer.folding import fold_batch_norm
from transfer.frozen_part import BATCH, FORMAT, FORMATS, FrozenPart
from workbench.cache import find_cache_dir
from workbench.console import console
from workbench.data.dataset import Dataset
from workbench.files import read_json, write_json
from workbench.runtime import list_gpus
from workbench.training.precision import choose_precision, gpus_have_bfloat16, measure_call

_CHECKED = 2 * BATCH  # validation images on which the predictions of rounded features are compared with exact ones
_AGREEING = 0.95  # share of them that must be predicted the same


def choose_feature_precision(
    network: Network,
    operation: keras.Operation,
    frozen: FrozenPart,
    dataset: Dataset,
    exact: np.ndarray,
    config: TransferConfig,
) -> tuple[str, tuple[int, int] | None]:
    """Choose the fastest number format in which the network predicts what it predicts in float32.

    The first batches of validation images, spread evenly over all of them, are computed in the format and compared with
    their exact features. The counts are remembered in the cache folder.

    Args:
        network, operation, frozen, dataset, config: as in `compute_features`.
        exact: features of the validation images in float32.

    Returns:
        (the value of `feature_precision`, (number of images whose predictions agree, number of images compared)).
    """
    count = len(exact)
    positions = np.unique(np.linspace(0, count - 1, min(count, _CHECKED)).round().astype(int))
    rows = dataset.validation[positions]
    settings = (FORMAT, dataset.images_key, rows.tolist(), frozen.digest)
    key = hashlib.sha256(repr(settings).encode()).hexdigest()[:24]
    path = find_cache_dir(config.data.cache_dir) / f"agreement-{key}.json"
    rest = keras.Model(operation.output, network.model.output)
    for precision in dict.fromkeys((choose_fastest_precision(network), "float16")):
        known = read_json(path) or {}
        is_new = precision not in known
        if is_new:
            rounded = _round(frozen, dataset.images[rows], exact[positions], precision)
            known[precision] = count_agreements(rest, exact[positions], rounded)
            with contextlib.suppress(OSError):  # without a writable cache, the next run checks again
                write_json(path, known)
        if known[precision] >= _AGREEING * len(rows):
            return precision, (known[precision], len(rows))
        if is_new:
            console.print(
                f"features in {precision}: predictions agree with float32's on only {known[precision]} of {len(rows)} "
                "validation images, so that it is not used",
                style="dim",
            )
    return "float32", None


def _round(frozen: FrozenPart, images: np.ndarray, exact: np.ndarray, precision: str) -> np.ndarray:
    """Return the features of images in a number format, converted back to float32."""
    (compute_dtype, stored_dtype), values = FORMATS[precision], exact
    if compute_dtype != "float32":
        batches = [tf.constant(images[first : first + BATCH]) for first in range(0, len(images), BATCH)]
        values = np.concatenate([frozen.compute(batch, compute_dtype).numpy().astype(np.float32) for batch in batches])
    with np.errstate(over="ignore"):  # infinite values agree with nothing
        return values.astype(stored_dtype).astype(np.float32)


def count_agreements(rest: keras.Model, exact: np.ndarray, rounded: np.ndarray) -> int:
    """Return for how many images the class with the largest logit is the same.

    The head has not been trained. So each logit's mean over the images is subtracted: a trained head's bias would do
    that, and without it all images could be predicted to be of one class, whatever the rounding.
    """
    expected, found = (np.asarray(rest(features, training=False)) for features in (exact, rounded))
    mean = expected.mean(axis=0)
    agree = (expected - mean).argmax(axis=1) == (found - mean).argmax(axis=1)
    return int((agree & np.isfinite(found).all(axis=1)).sum())


def choose_fastest_precision(network: Network) -> str:
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
    images = tf.zeros((8, *backbone.input_shape[1:]), tf.uint8)

    @functools.cache
    def build_forward(dtype: str) -> Callable[[tf.Tensor], tf.Tensor]:
        model = fold_batch_norm(backbone, dtype)
        return tf.function(lambda batch: model(batch, training=False))

    def measure_batch(dtype: str) -> float:
        forward = build_forward(dtype)
        return measure_call(lambda: forward(images), 1)

    dtype = choose_precision("auto", facts, math.inf, measure_batch)
    return "bfloat16" if dtype == "bfloat16" else "float16"


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
