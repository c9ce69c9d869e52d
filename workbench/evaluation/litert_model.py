"""Models that LiteRT runs, without TensorFlow."""

from pathlib import Path
from typing import Any

import numpy as np

from workbench.runtime import hold_back_stderr


class LiteRTModel:
    """A model in LiteRT's format, run by LiteRT's own interpreter.

    Args:
        path: of the file.

    Attributes:
        input_shape, output_shape: as of a Keras model; None is the number of images.

    Raises:
        ValueError: the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter  # may be missing; the callers have looked for it

        self._interpreter = Interpreter(model_path=str(path))
        (self._image,), (self._logits,) = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        side, num_classes = int(self._image["shape"][1]), int(self._logits["shape"][-1])
        self.input_shape: tuple[Any, ...] = (None, side, side, 3)
        self.output_shape = (None, num_classes)

    def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
        """Return the logits, float32 (n, num_classes), of uint8 RGB images (n, size, size, 3)."""
        self._interpreter.resize_tensor_input(self._image["index"], images.shape)
        with hold_back_stderr():  # LiteRT says which of its parts it uses
            self._interpreter.allocate_tensors()
        self._interpreter.set_tensor(self._image["index"], images)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._logits["index"])
