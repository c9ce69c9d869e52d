"""TensorFlow's SavedModel, the format of TensorFlow Serving."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from workbench.exporting.format import Format, Predict


def write_savedmodel(model: keras.Model, path: Path, _: np.ndarray) -> None:
    """Write a SavedModel folder with the endpoint `serve`."""
    model.export(path, format="tf_saved_model", verbose=False)


def load_savedmodel(path: Path) -> Predict:
    """Return the endpoint `serve` of a SavedModel."""
    loaded = tf.saved_model.load(str(path))
    return lambda images: loaded.serve(images).numpy()


SAVEDMODEL = Format("savedmodel", {"float32": write_savedmodel}, load_savedmodel, marker="saved_model.pb")
