"""OpenVINO, for Intel's processors and graphics units."""

from pathlib import Path

import keras
import numpy as np

from workbench.exporting.format import Format, Predict
from workbench.exporting.savedmodel import write_savedmodel

_MODEL = "model.xml"  # with model.bin, which holds the weights


def write_float32(model: keras.Model, path: Path, images: np.ndarray, *, compress: bool = False) -> None:
    """Write a folder with model.xml and model.bin.

    OpenVINO converts a SavedModel, because it cannot convert a model in memory on Python 3.13.
    """
    import openvino  # may be missing; the command has looked for it

    saved = path.with_name("savedmodel")
    write_savedmodel(model, saved, images)
    path.mkdir()
    openvino.save_model(openvino.convert_model(saved), path / _MODEL, compress_to_fp16=compress)


def write_float16(model: keras.Model, path: Path, images: np.ndarray) -> None:
    """Write weights in float16, half the size; a processor without float16 arithmetic computes in float32."""
    write_float32(model, path, images, compress=True)


def load_openvino(path: Path) -> Predict:
    """Return a function that runs an OpenVINO model on the processor."""
    import openvino  # may be missing; the command has looked for it

    exact = {"INFERENCE_PRECISION_HINT": "f32"}  # by default, some processors compute in bfloat16
    compiled = openvino.Core().compile_model(path / _MODEL, "CPU", exact)
    return lambda images: compiled(images)[0]


OPENVINO = Format(
    "openvino",
    {"float32": write_float32, "float16": write_float16},
    load_openvino,
    {"openvino": "openvino"},
    marker=_MODEL,
)
