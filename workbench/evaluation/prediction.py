"""The prediction of stored images in batches."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from workbench.console import open_bar

if TYPE_CHECKING:
    import keras  # not imported here: a report must not wait for TensorFlow

BATCH_SIZE = 64  # images in one step, if they have up to 224 pixels a side
_BATCH_PIXELS = BATCH_SIZE * 224**2
# Changes images, uint8 (n, size, size, 3), before they are predicted. Its second argument are their rows, int (n,).
ChangeImages = Callable[[np.ndarray, np.ndarray], np.ndarray]


def predict_logits(
    model: "keras.Model", images: np.ndarray, rows: np.ndarray, description: str, change: ChangeImages | None = None
) -> np.ndarray:
    """Return the logits of images, float32 (n, num_classes), and show the progress.

    Args:
        model: from uint8 RGB images to logits.
        images: uint8 (m, size, size, 3).
        rows: int (n,), which of them to predict, n > 0.
        description: what is done, next to the bar.
        change: changes each batch of images.
    """
    batches, logits = split_rows(images, rows), []
    with open_bar() as progress:
        for batch in progress.track(batches, description=description):
            pixels = images[batch]
            logits.append(model.predict_on_batch(pixels if change is None else change(pixels, batch)))
    return np.concatenate(logits)


def split_rows(images: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each batch. Batches of large images are smaller, so that the network's maps fit into memory.

    Args:
        images, rows: as for `predict_logits`.
    """
    count = max(1, min(BATCH_SIZE, _BATCH_PIXELS // images.shape[1] ** 2))
    return [rows[first : first + count] for first in range(0, len(rows), count)]
