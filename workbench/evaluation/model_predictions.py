"""What a model predicts for labelled images."""

import dataclasses
import functools

import numpy as np

from workbench.data.dataset import Dataset
from workbench.evaluation.probabilities import softmax


@dataclasses.dataclass(frozen=True)
class ModelPredictions:
    """A model's predictions for each test image. Row i of every array belongs to image i.

    Attributes:
        dataset: the data set; these are its test images.
        labels: int (n,), the true classes.
        logits: float (n, num_classes).
        seconds: time that the predictions took.
    """

    dataset: Dataset
    labels: np.ndarray
    logits: np.ndarray
    seconds: float

    def image(self, index: int | np.integer) -> np.ndarray:
        """Return a test image, uint8 RGB (size, size, 3)."""
        return self.dataset.images[self.dataset.test[index]]

    @property
    def repeats(self) -> list[str]:
        """For each image the name of a training or validation image of the same photo, else an empty text.

        It may be one of an earlier run whose network was fine-tuned.
        """
        repeats = {image.name: image.repeats or image.seen_in for image in self.dataset.split}
        return [repeats.get(name, "") for name in self.names]

    @property
    def names(self) -> list[str]:
        """Names of the images."""
        return [self.dataset.names[row] for row in self.dataset.test]

    @functools.cached_property
    def probabilities(self) -> np.ndarray:
        """float64 (n, num_classes), the softmax of the logits."""
        return softmax(self.logits)

    @property
    def predicted(self) -> np.ndarray:
        """int (n,), the most probable classes."""
        return self.probabilities.argmax(axis=1)

    @property
    def confidence(self) -> np.ndarray:
        """float64 (n,), the probabilities of the most probable classes."""
        return self.probabilities.max(axis=1)

    @property
    def correct(self) -> np.ndarray:
        """bool (n,), whether the most probable class is the true one."""
        return self.predicted == self.labels

    @property
    def true_probability(self) -> np.ndarray:
        """float64 (n,), the probabilities of the true classes."""
        return self.probabilities[np.arange(len(self.labels)), self.labels]
