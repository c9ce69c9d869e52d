"""Choose the number format a network is trained in: the one asked for, or the fastest by a short measurement."""

import contextlib
import hashlib
import json
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import keras
import tensorflow as tf

from workbench.cache import find_cache_dir
from workbench.console import console
from workbench.errors import UserError
from workbench.files import read_json, write_json
from workbench.runtime import list_gpus

Precision = Literal["float32", "bfloat16", "float16"]
TURNS, CLEAR = 4, 2.5  # measurements of each format; one measurement is enough where the times differ by this factor
LARGE = 3e8  # multiply-adds an image; below that, a step is mostly overhead and a measurement does not pay


def choose_precision(
    asked: str,
    facts: Sequence[str | int | None],
    multiply_adds: float,
    measure_step: Callable[[str], float],
) -> str:
    """Return the number format to train in. A measurement is remembered in the cache folder.

    Args:
        asked: the option `precision`; any value but `auto` is returned as it is.
        facts: what the speed of a step depends on, such as activation and image size; JSON values.
        multiply_adds: of one image's forward pass.
        measure_step: called with a number format, returns the seconds of a training step. The formats take turns, so
            that a busy moment of the machine slows both, and the fastest time of each one counts.

    Returns:
        `float32`, `bfloat16` or `float16`.

    Raises:
        UserError: float16 without a GPU.
    """
    if asked == "float16" and not list_gpus():
        raise UserError("--precision float16: needs a GPU; use auto, float32 or bfloat16")
    if asked != "auto":
        return asked
    if multiply_adds < LARGE:
        return "float32"
    path = _cache_file([*_describe_machine(), *facts])
    seconds = read_json(path)
    if seconds is None:
        console.print("measuring, once for this network, in which precision it runs fastest here", style="dim")
        seconds = _measure_in_turns(measure_step, ("float32", _choose_16_bit_format()))
        with contextlib.suppress(OSError):  # without a writable cache, the next run measures again
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, seconds)
    return min(seconds, key=seconds.__getitem__)


def _measure_in_turns(measure: Callable[[str], float], names: Sequence[str]) -> dict[str, float]:
    """Return name -> the smallest of some measurements."""
    seconds = {name: measure(name) for name in names}
    for _ in range(TURNS - 1):
        if max(seconds.values()) > CLEAR * min(seconds.values()):
            break
        seconds = {name: min(known, measure(name)) for name, known in seconds.items()}
    return seconds


def get_dtype_policy(precision: str) -> str:
    """Return the name of the Keras policy that computes in a number format and keeps float32 weights."""
    return precision if precision == "float32" else f"mixed_{precision}"


def choose_sweep_precision(asked: str) -> str:
    """Return the option `precision` of a sweep's trials, in which `auto` becomes float32 on CPUs.

    Workers that run in parallel cannot measure which format is fastest, and measuring each network would take longer
    than many a trial.
    """
    return "float32" if asked == "auto" and not list_gpus() else asked


def measure_call(call: Callable[[], object], times: int) -> float:
    """Return the seconds of the fastest of some calls, after one call that traces the graph."""
    seconds = []
    for _ in range(1 + times):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def gpus_have_bfloat16() -> bool:
    """Return whether all GPUs compute in bfloat16. NVIDIA's do from Ampere (compute capability 8.0) on."""
    details = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    return all(gpu.get("compute_capability", (8, 0)) >= (8, 0) for gpu in details)


def _choose_16_bit_format() -> Precision:
    """Return the 16-bit format that may be fast on this hardware."""
    return "bfloat16" if not list_gpus() or gpus_have_bfloat16() else "float16"


def _describe_machine() -> list[str | int | None]:
    """Return what, apart from the network, the speed of a step depends on."""
    device = tf.config.list_physical_devices("GPU") or tf.config.list_physical_devices("CPU")
    details = tf.config.experimental.get_device_details(device[0])
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    return [platform.node(), str(details), threads, tf.__version__, keras.__version__]


def _cache_file(facts: Sequence[str | int | None]) -> Path:
    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    return find_cache_dir() / "precision" / f"{digest}.json"
