"""The number format a network is trained in: what is asked for, or the fastest by a short measurement."""

import contextlib
import dataclasses
import hashlib
import json
import platform
import time
import typing

from workbench.errors import UserError
from workbench.files import read_json, write_json

LARGE = 3e8  # multiply-adds an image above which a measurement pays: below, a step is all overhead


@dataclasses.dataclass(frozen=True)
class PrecisionConfig:
    """Precision.

    Args:
        precision: What maps and products are held in while training; weights, statistics, logits and the saved
            model are float32 always. `auto` measures once which is fastest; `float16` needs a GPU.
    """

    precision: typing.Literal["auto", "float32", "bfloat16", "float16"] = "auto"


def resolve_precision(asked, network, multiply_adds, step_seconds):
    """The format to train in; what was measured is remembered in the cache folder.

    Args:
        asked: as in `PrecisionConfig`.
        network: list of what the speed of a step depends on, such as activation and image size; JSON values.
        multiply_adds: of one image's forward pass.
        step_seconds: precision -> seconds of a training step.

    Returns:
        `float32`, `bfloat16` or `float16`.

    Raises:
        UserError: float16 without a GPU.
    """
    from workbench.console import console
    from workbench.runtime import gpus

    if asked == "float16" and not gpus():
        raise UserError("--precision float16: needs a GPU; use auto, float32 or bfloat16")
    if asked != "auto":
        return asked
    if multiply_adds < LARGE:
        return "float32"
    path = _cache_file([*_machine(), *network])
    known = read_json(path)
    if known is None:
        console.print("measuring, once for this network, in which precision it runs fastest here", style="dim")
        known = {name: step_seconds(name) for name in ("float32", _reduced())}
        with contextlib.suppress(OSError):  # a cache that cannot be written is measured again
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, known)
    return min(known, key=known.get)


def dtype_policy(precision):
    """Name of the Keras policy that computes in a format and holds its weights in float32."""
    return precision if precision == "float32" else f"mixed_{precision}"


def for_a_sweep(config):
    """A trial's configuration, in which `auto` is float32 on CPUs.

    Workers that run side by side cannot measure what is fastest, and a measurement for each network would take longer
    than many a trial.
    """
    from workbench.runtime import gpus

    return config if config.precision != "auto" or gpus() else dataclasses.replace(config, precision="float32")


def shortest_seconds(call, times):
    """Seconds of the quickest of some calls, after one in which the graph is traced."""
    seconds = []
    for _ in range(1 + times):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def _reduced():
    """The 16-bit format that this hardware may be fast in."""
    from workbench.runtime import gpus

    return "bfloat16" if not gpus() or gpus_have_bfloat16() else "float16"


def gpus_have_bfloat16():
    """Whether no GPU lacks instructions for bfloat16, which those of NVIDIA have from Ampere (8.0) on."""
    import tensorflow as tf

    details = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    return all(of_one.get("compute_capability", (8, 0)) >= (8, 0) for of_one in details)


def _machine():
    import keras
    import tensorflow as tf

    device = tf.config.list_physical_devices("GPU") or tf.config.list_physical_devices("CPU")
    details = tf.config.experimental.get_device_details(device[0])
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    return platform.node(), str(details), threads, tf.__version__, keras.__version__


def _cache_file(facts):
    from workbench.cache import find_cache_dir

    digest = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    return find_cache_dir() / "precision" / f"{digest}.json"
