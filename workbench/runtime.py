"""TensorFlow brought up quietly, and the devices it found."""

import contextlib
import os
import sys
import tempfile
from pathlib import Path

import psutil

_OPTIONAL = "sklearn", "matplotlib"  # of no use here to Keras and KerasTuner, and a third of their time to import


def load_tensorflow(threads=0, use_gpu=True):
    """Import TensorFlow and bring up its devices without its start-up chatter, and return the module.

    GPU memory is taken as it is needed, so that several processes can share a GPU. If the import fails,
    what TensorFlow said is shown after all.

    Args:
        threads: CPU threads of an operation; 0 takes one a core.
        use_gpu: False leaves the GPUs to other processes.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with stderr_held_back():
        with lean_imports():
            import keras  # noqa: F401
            import tensorflow as tf

        with contextlib.suppress(RuntimeError):  # the devices are up already
            if threads:
                tf.config.threading.set_intra_op_parallelism_threads(threads)
                tf.config.threading.set_inter_op_parallelism_threads(threads)
            if not use_gpu:
                tf.config.set_visible_devices([], "GPU")
        for gpu in tf.config.list_physical_devices("GPU"):
            with contextlib.suppress(RuntimeError):  # the devices are up already
                tf.config.experimental.set_memory_growth(gpu, True)
        tf.config.list_logical_devices()
    tf.get_logger().setLevel("ERROR")
    return tf


@contextlib.contextmanager
def lean_imports():
    """Within the block Keras and KerasTuner are imported without what is optional to them and slow."""
    absent = [name for name in _OPTIONAL if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


def python_path():
    """The PYTHONPATH with which another process finds this project, whatever its working directory."""
    root = str(Path(__file__).parents[1])
    return os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])


def num_cores():
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def num_threads():
    """Operations that TensorFlow runs side by side in this process."""
    import tensorflow as tf

    return tf.config.threading.get_inter_op_parallelism_threads() or num_cores()


def gpus():
    """Names of the logical GPUs, such as `/device:GPU:0`; empty on a machine without one."""
    import tensorflow as tf

    return [device.name for device in tf.config.list_logical_devices("GPU")]


def distribution(strategy):
    """A context in which a model is built and trained on one device, or on all GPUs of the machine alike.

    Args:
        strategy: `single`, or `mirrored` for tf.distribute.MirroredStrategy: every GPU holds the weights and
            computes its share of each batch. Without a GPU the logical CPU devices take their place.
    """
    import tensorflow as tf

    if strategy == "single":
        return contextlib.nullcontext()
    devices = gpus() or [device.name for device in tf.config.list_logical_devices("CPU")]
    with stderr_held_back():
        return tf.distribute.MirroredStrategy(devices).scope()


def num_replicas():
    """Devices that share a batch: 1 outside `distribution("mirrored")`."""
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def peak_memory():
    """The most memory this process has held, in bytes."""
    try:
        import resource
    except ImportError:  # Windows
        return psutil.Process().memory_info().peak_wset
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def peak_gpu_memory():
    """The most memory this process has held on its first GPU, in bytes."""
    import tensorflow as tf

    return tf.config.experimental.get_memory_info("GPU:0")["peak"]


@contextlib.contextmanager
def stderr_held_back():
    """Hold back what native code writes to stderr (it bypasses sys.stderr); show it if the block fails.

    Ctrl-C is no failure.
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
