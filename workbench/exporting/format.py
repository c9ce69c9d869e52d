"""What a format of exported models can do."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

Predict = Callable[[np.ndarray], np.ndarray]  # from uint8 images to logits
# Writes a model to a path; the images (uint8, in the size of the model) calibrate the ranges of int8.
Write = Callable[[keras.Model, Path, np.ndarray], None]


class Format(NamedTuple):
    """A format of exported models. In every one, a model takes uint8 RGB images and returns float32 logits.

    Attributes:
        file_name: name of the exported file or folder.
        writers: number format, such as `float16` -> function that writes a model in it.
        load: loads an exported model from a path, and returns a function from images to logits.
        libraries: the modules that it needs, and that may be missing -> their names for pip.
        marker: for a folder, a file in it by which an earlier export is recognised.
        files: for a folder that its user may add files to, the names of what an export writes there; a folder that
            holds another is not replaced. Empty where everything is replaced.
    """

    file_name: str
    writers: Mapping[str, Write]
    load: Callable[[Path], Predict]
    libraries: Mapping[str, str] = {}
    marker: str | None = None
    files: tuple[str, ...] = ()

    def name_file(self, precision: str) -> str:
        """Return the name of the exported file or folder: `model.tflite`, `model-int8.tflite`."""
        if precision == "float32":
            return self.file_name
        path = Path(self.file_name)
        return f"{path.stem}-{precision}{path.suffix}"


def has_keras(major: int, minor: int) -> bool:
    """Return whether Keras is of this version or a newer one."""
    return tuple(map(int, keras.__version__.split(".")[:2])) >= (major, minor)
