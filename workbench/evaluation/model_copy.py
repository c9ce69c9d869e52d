"""The copy of a small model with which `predict` needs no TensorFlow.

To import TensorFlow takes most of the time in which one photo is classified. So after the first prediction with a small
model, the command keeps a copy of the model in LiteRT's format in the cache folder, and later commands use it. The hash
of model.keras is a part of the copy's name: a model that has changed has none.
"""

import contextlib
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

from workbench.cache import find_cache_dir
from workbench.evaluation.litert_model import LiteRTModel
from workbench.files import replace_file
from workbench.finished_run import FinishedRun
from workbench.runtime import hold_back_stderr

# To convert the five blocks takes about as long as to import TensorFlow, to convert ResNet50 ten times as long.
_MAX_LAYERS = 60
_MAX_BYTES = 32 << 20  # of model.keras
_FEW = 32  # images, for which starting takes longer than predicting
_KEPT = 16  # copies; the oldest ones are removed


def open_copy(run: FinishedRun, paths: Sequence[str]) -> LiteRTModel | None:
    """Return the kept copy of a run's model; None if there is none, or TensorFlow is the better choice.

    Args:
        run: the run.
        paths: of the images that will be predicted. TensorFlow takes many images, and folders.
    """
    path = _find_copy(run, paths)
    if path is None or not path.exists():
        return None
    try:
        model = LiteRTModel(path)
    except ImportError:  # a library that LiteRT needs is missing
        return None
    except (RuntimeError, ValueError):  # damaged; the next copy replaces it
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    return model if model.output_shape == (None, len(run.class_names)) else None


def keep_copy(run: FinishedRun, paths: Sequence[str]) -> None:
    """Convert the model of a run, which is loaded, and keep the copy, if the model is small and LiteRT is installed.

    Nothing is kept where the cache folder cannot be written. Where LiteRT does not have an operation of the model, a
    mark is kept, so that this is not tried again.

    Args:
        run: the run.
        paths: of the images that were predicted; after many of them nothing is kept.
    """
    path = _find_copy(run, paths)
    if path is None or path.exists() or len(run.model.layers) > _MAX_LAYERS:
        return
    failed = path.with_suffix(".failed")
    if failed.exists():
        return
    from workbench.exporting.litert import write_float32  # imported late: it needs TensorFlow

    with contextlib.suppress(Exception), hold_back_stderr():  # the converter raises errors of many classes
        path.parent.mkdir(parents=True, exist_ok=True)
        failed.touch()  # first, because native code of the converter can end the process
        with replace_file(path) as temporary:
            write_float32(run.model, temporary)
        failed.unlink()
        for old in sorted(path.parent.glob("*.tflite"), key=lambda file: file.stat().st_mtime)[:-_KEPT]:
            old.unlink()


def _find_copy(run: FinishedRun, paths: Sequence[str]) -> Path | None:
    """Return where the copy of a run's model is kept, if it is; None if no copy is wanted, or LiteRT is missing."""
    model = run.path / "model.keras"
    if len(paths) > _FEW or any(os.path.isdir(path) for path in paths):
        return None
    if not model.is_file() or model.stat().st_size > _MAX_BYTES or not importlib.util.find_spec("ai_edge_litert"):
        return None
    return find_cache_dir() / "predict" / f"{run.hash_model()}.tflite"
