"""LiteRT, formerly TensorFlow Lite: for phones and other small machines."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from workbench.evaluation.litert_model import LiteRTModel
from workbench.exporting.format import Format, Predict, has_keras


def write_float32(model: keras.Model, path: Path, _: np.ndarray | None = None) -> None:
    """Write weights and arithmetic in float32."""
    _export(model, path)


def write_float16(model: keras.Model, path: Path, _: np.ndarray) -> None:
    """Write weights in float16, half the size; a GPU or an NPU can compute in float16 too."""
    _export(model, path, {"optimizations": [tf.lite.Optimize.DEFAULT]}, {"supported_types": [tf.float16]})


def write_int8(model: keras.Model, path: Path, images: np.ndarray) -> None:
    """Write weights and arithmetic in int8, a quarter of the size; operations without an int8 version keep float32."""
    settings = {
        "optimizations": [tf.lite.Optimize.DEFAULT],
        "representative_dataset": lambda: ([image[None]] for image in images),
    }
    _export(model, path, settings)


def load_litert(path: Path) -> Predict:
    """Return a function that runs a LiteRT model in LiteRT's own interpreter."""
    return LiteRTModel(path).predict_on_batch


def _export(model: keras.Model, path: Path, settings: dict[str, Any] | None = None, target: Any = None) -> None:
    """Convert a model.

    Args:
        model: the model.
        path: of the file, ends in `.tflite`.
        settings, target: attributes of the converter, and of its `target_spec`.
    """
    # Keras would also allow operations of TensorFlow itself, which LiteRT's interpreter does not have.
    target = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS], **(target or {})}
    if has_keras(3, 13):
        model.export(path, format="litert", verbose=False, target_spec=target, **(settings or {}))
        return
    converter = tf.lite.TFLiteConverter.from_keras_model(model)  # what Keras' export calls, too
    for name, value in (settings or {}).items():
        setattr(converter, name, value)
    for name, value in target.items():
        setattr(converter.target_spec, name, value)
    path.write_bytes(converter.convert())


LITERT = Format(
    "model.tflite",
    {"float32": write_float32, "float16": write_float16, "int8": write_int8},
    load_litert,
    {"ai_edge_litert": "ai-edge-litert"},
)
