"""Start TensorFlow quietly, and describe the machine: devices, cores, memory.

Commands import this module before they parse their arguments, and other processes of a sweep never need TensorFlow.
So the functions here import TensorFlow when they are called; no other module does.
"""

import contextlib
import functools
import gc
import importlib.abc
import importlib.util
import os
import sys
import tempfile
import threading
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil

from workbench.errors import UserError

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

# Keras and KerasTuner import these where they are installed, which takes a third of the time. Only Bayesian search
# needs that, see `make_bayesian_search`.
_OPTIONAL = "sklearn", "scipy", "matplotlib", "pandas", "IPython"


def load_tensorflow(
    threads: int = 0,
    use_gpu: bool = True,
    with_keras_tuner: bool = False,
    with_pandas: bool = False,
    strategy: str = "single",
) -> ModuleType:
    """Import TensorFlow without its start-up messages, initialize its devices, and return the module.

    GPU memory is allocated as needed, so that several processes can share a GPU. If the import fails, the messages
    are printed.

    Args:
        threads: CPU threads of one operation; 0 uses one per core.
        use_gpu: False hides the GPUs, so that other processes can use them.
        with_keras_tuner: also import KerasTuner, without its slow optional libraries.
        with_pandas: see `import_tensorflow`.
        strategy: of a training. `multi_worker` waits for the other processes, to which TensorFlow can connect only
            while it starts.
    """
    tf = import_tensorflow(with_keras_tuner, with_pandas)
    with hold_back_stderr():
        with contextlib.suppress(RuntimeError):  # the devices are already initialized
            if threads:
                tf.config.threading.set_intra_op_parallelism_threads(threads)
                tf.config.threading.set_inter_op_parallelism_threads(threads)
            if not use_gpu:
                tf.config.set_visible_devices([], "GPU")
        for gpu in tf.config.list_physical_devices("GPU"):
            with contextlib.suppress(RuntimeError):  # the devices are already initialized
                tf.config.experimental.set_memory_growth(gpu, True)
        if strategy == "multi_worker":
            _get_multi_worker_strategy()
        tf.config.list_logical_devices()
    tf.get_logger().setLevel("ERROR")
    return tf


def import_tensorflow(with_keras_tuner: bool = False, with_pandas: bool = False) -> ModuleType:
    """Import TensorFlow without its start-up messages, and return the module. Its devices are not initialized.

    Args:
        with_keras_tuner: see `load_tensorflow`.
        with_pandas: let Keras import pandas where it is installed, so that the caller can fit models to data frames.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with hold_back_stderr(), skip_optional_imports(kept={"pandas"} if with_pandas else ()):
        import keras  # noqa: F401
        import tensorflow as tf

        if with_keras_tuner:
            import keras_tuner  # noqa: F401
    return tf


def is_tensorflow_loaded() -> bool:
    """Return whether this process has imported TensorFlow."""
    return "tensorflow" in sys.modules


@contextlib.contextmanager
def import_without_collections() -> Iterator[None]:
    """Collect no garbage in a block of imports, and let later collections skip all objects that are there after it.

    TensorFlow and Keras make hundreds of thousands of objects that stay until the process ends. To look at them again
    and again takes a tenth of the time that the imports take, and more in the first training and at exit. It is for
    processes of our own: what is there after the block is never collected if it becomes garbage in cycles.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def skip_optional_imports(kept: Collection[str] = ()) -> Iterator[None]:
    """Let Keras and KerasTuner be imported in this block without their slow optional libraries, except `kept`.

    Other threads can import these libraries meanwhile: a page of the app may need one while another loads a model.
    """
    refusal = _RefuseImports(frozenset(_OPTIONAL).difference(kept))
    sys.meta_path.insert(0, refusal)
    try:
        yield
    finally:
        sys.meta_path.remove(refusal)


class _RefuseImports(importlib.abc.MetaPathFinder):
    """Lets imports of libraries that are not imported yet fail, in the thread that made this object."""

    def __init__(self, names: Collection[str]) -> None:
        self._names, self._thread = names, threading.get_ident()

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Raise an error for a library that is refused; leave all others to the finders that follow.

        Raises:
            ModuleNotFoundError: the library is refused.
        """
        if name in self._names and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"{name} is not imported here", name=name)


@contextlib.contextmanager
def hold_back_stderr() -> Iterator[None]:
    """Hold back what native code writes to stderr (it bypasses sys.stderr), and print it if the block fails.

    Ctrl-C does not count as a failure.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


@contextlib.contextmanager
def turn_off_tf32() -> Iterator[None]:
    """Let GPUs compute products of float32 in full in this block, as processors do. Ampere and newer ones use TF32."""
    import tensorflow as tf

    was_on = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(was_on)


def distribute(strategy: str) -> contextlib.AbstractContextManager:
    """Return a context in which a model is built and trained on one device, or on all GPUs of the machine.

    Args:
        strategy: `single`, or `mirrored` for tf.distribute.MirroredStrategy: every GPU holds the weights and
            computes its share of each batch. Without a GPU the logical CPU devices are used instead. With one device
            it does what `single` does. `multi_worker` for tf.distribute.MultiWorkerMirroredStrategy: the same with the
            devices of all processes.

    Raises:
        UserError: `multi_worker`, but `load_tensorflow` has not connected this process with others.
    """
    import tensorflow as tf

    if strategy == "multi_worker":
        return _get_multi_worker_strategy().scope()
    if count_devices(strategy) == 1:  # MirroredStrategy would refuse batches that are prefetched to the GPU
        return contextlib.nullcontext()
    with hold_back_stderr():
        return tf.distribute.MirroredStrategy(_list_mirrored_devices()).scope()


def count_devices(strategy: str) -> int:
    """Return the number of devices that will share a batch under `distribute(strategy)`."""
    if strategy == "multi_worker":
        return _get_multi_worker_strategy().num_replicas_in_sync
    return 1 if strategy == "single" else len(_list_mirrored_devices())


@functools.cache
def _get_multi_worker_strategy() -> Any:
    """Return the one tf.distribute.MultiWorkerMirroredStrategy of this process, which TF_CONFIG describes."""
    import tensorflow as tf

    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        if "program startup" not in str(error):
            raise
        raise UserError(
            "--strategy multi_worker: processes can be connected only by a command line, such as "
            "python -m cnn_scratch.train, because TensorFlow does it when it starts"
        ) from error


def is_multi_worker() -> bool:
    """Return whether the present code runs in `distribute("multi_worker")`."""
    import tensorflow as tf

    return isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy)


def gather_numbers(number: int) -> list[int]:
    """Return the number that each process of a `multi_worker` training gives, in their order; wait for all of them.

    Args:
        number: of this process, 64 bits.
    """
    import tensorflow as tf

    return _get_multi_worker_strategy().gather(tf.constant([number], tf.int64), axis=0).numpy().tolist()


def _list_mirrored_devices() -> list[str]:
    """Return the names of all logical GPUs, without one those of the logical CPU devices."""
    import tensorflow as tf

    return list_gpus() or [device.name for device in tf.config.list_logical_devices("CPU")]


def list_gpus() -> list[str]:
    """Return the names of the logical GPUs, such as `/device:GPU:0`; empty on a machine without a GPU."""
    import tensorflow as tf

    return [device.name for device in tf.config.list_logical_devices("GPU")]


def read_gpu_names() -> list[str]:
    """Return the names of the GPUs that TensorFlow finds on this machine, also of those hidden from it later."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    return [tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in gpus]


def count_replicas() -> int:
    """Return the number of devices that share a batch, of all processes: 1 outside of `distribute`."""
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def count_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count_threads() -> int:
    """Return how many operations TensorFlow runs at the same time in this process."""
    import tensorflow as tf

    return tf.config.threading.get_inter_op_parallelism_threads() or count_cores()


def measure_memory() -> int:
    """Return the memory that this process can use at most, in bytes: the machine's, or less in a container."""
    limits = [psutil.virtual_memory().total + psutil.swap_memory().total]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # no such limit, or "max"
            limits.append(int(Path(path).read_text(encoding="utf-8")))
    return min(limits)


def measure_peak_memory() -> int:
    """Return the largest amount of memory this process has used so far, in bytes."""
    if resource is None:
        return psutil.Process().memory_info().peak_wset
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def measure_peak_gpu_memory() -> int:
    """Return the largest amount of memory this process has used so far on its first GPU, in bytes."""
    import tensorflow as tf

    return tf.config.experimental.get_memory_info("GPU:0")["peak"]


def list_package_folders(names: Iterable[str]) -> list[Path]:
    """Return the folders of packages of this project, or of others, by their names."""
    found = (importlib.util.find_spec(name) for name in names)
    return [Path(place) for spec in found if spec for place in spec.submodule_search_locations or []]


def make_python_path() -> str:
    """Return a PYTHONPATH with which another process can import this project from any working directory."""
    root = str(Path(__file__).parents[1])
    return os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
