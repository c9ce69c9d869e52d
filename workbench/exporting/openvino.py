"""OpenVINO, for Intel's processors and graphics units."""

from pathlib import Path

import keras
import numpy as np

from workbench.exporting.format import Format, Predict, has_keras

_MODEL = "model.xml"  # with model.bin, which holds the weights


def write_float32(model: keras.Model, path: Path, _: np.ndarray) -> None:
    """Write a folder with model.xml and model.bin.

    Raises:
        RuntimeError: Keras is too old.
    """
    if not has_keras(3, 11):
        raise RuntimeError("needs Keras 3.11 or newer")
    path.mkdir()
    model.export(str(path / _MODEL), format="openvino", verbose=False)


def write_float16(model: keras.Model, path: Path, images: np.ndarray) -> None:
    """Write weights in float16, half the size; a processor without float16 arithmetic computes in float32."""
    import openvino  # may be missing; the command has looked for it

    exact = path.with_name("float32")
    write_float32(model, exact, images)
    path.mkdir()
    openvino.save_model(openvino.Core().read_model(exact / _MODEL), path / _MODEL, compress_to_fp16=True)


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
