"""The prediction of stored images in batches."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from workbench.console import open_bar

if TYPE_CHECKING:
    import keras  # not imported here: a report must not wait for TensorFlow

BATCH_SIZE = 64
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
    batches, logits = split_rows(rows), []
    with open_bar() as progress:
        for batch in progress.track(batches, description=description):
            pixels = images[batch]
            logits.append(model.predict_on_batch(pixels if change is None else change(pixels, batch)))
    return np.concatenate(logits)


def split_rows(rows: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each batch."""
    return [rows[first : first + BATCH_SIZE] for first in range(0, len(rows), BATCH_SIZE)]
