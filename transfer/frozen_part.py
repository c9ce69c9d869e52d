"""The frozen part of a network, which computes stored features in any of their number formats."""

import functools
import hashlib
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from transfer.folding import fold_batch_norm
from workbench.keras_graph import find_input

FORMAT = 2  # to be raised when the computation or the layout changes, so that older features are not used
BATCH = 32
FORMATS = {  # feature_precision -> (number format of the computation, of the stored values)
    "float32": ("float32", "float32"),
    "float16": ("float32", "float16"),
    "bfloat16": ("bfloat16", "float16"),
}


class FrozenPart:
    """The frozen part of a network, ready to compute in any number format.

    Attributes:
        model: maps images to features.
    """

    def __init__(self, operation: keras.Operation) -> None:
        """Take the layers up to an operation; nothing is built before `build` or `compute` is called."""
        self.model = keras.Model(find_input(operation), operation.output)
        self._forward: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {}

    def build(self, dtype: str) -> Callable[[tf.Tensor], tf.Tensor]:
        """Return the function that computes features in a number format; make its variables once."""
        if dtype not in self._forward:
            folded = fold_batch_norm(self.model, dtype)
            self._forward[dtype] = tf.function(lambda batch: folded(batch, training=False), reduce_retracing=True)
        return self._forward[dtype]

    def compute(self, images: tf.Tensor, dtype: str) -> tf.Tensor:
        """Return the features of a batch of images; the graph of a number format is traced once."""
        return self.build(dtype)(images)

    @functools.cached_property
    def digest(self) -> str:
        """A key that changes whenever the layers or their weights do."""
        digest = hashlib.sha256(repr([(type(layer).__name__, layer.name) for layer in self.model.layers]).encode())
        for value in self.model.get_weights():
            digest.update(np.ascontiguousarray(value).data.cast("B"))
        return digest.hexdigest()
