"""The accuracy of a model on its own test photos, made worse step by step."""

import functools
from typing import TypedDict

import numpy as np

from workbench.data.thread_pool import map_in_order
from workbench.evaluation.metrics.statistics import wilson_interval
from workbench.evaluation.model_predictions import ModelPredictions
from workbench.evaluation.prediction import predict_logits
from workbench.evaluation.robustness.corruptions import CORRUPTIONS, Corruption, corrupt
from workbench.finished_run import FinishedRun

SEED = 0


class RobustnessRow(TypedDict):
    """The accuracy on images that were changed in one way.

    Attributes:
        corruption: name of the change.
        strength: its strength in words.
        accuracy, accuracy_interval: top-1 accuracy, and its 95 % interval by Wilson's method.
        difference: accuracy minus that on the unchanged images.
    """

    corruption: str
    strength: str
    accuracy: float
    accuracy_interval: tuple[float, float]
    difference: float


def measure_robustness(run: FinishedRun, predictions: ModelPredictions, seed: int = SEED) -> list[RobustnessRow]:
    """Test a model on its test images after each change of `CORRUPTIONS`, from weak to strong.

    The images are changed in the size that the network takes.

    Args:
        run: the run.
        predictions: its predictions of the unchanged images.
        seed: of the noise.
    """
    dataset, rows = predictions.dataset, list[RobustnessRow]()
    for corruption in CORRUPTIONS:
        for strength in corruption.strengths:
            change = functools.partial(_corrupt_batch, corruption, strength, seed)
            logits = predict_logits(run.model, dataset.images, dataset.test, corruption.name, change)
            correct = logits.argmax(axis=1) == predictions.labels
            rows.append(
                {
                    "corruption": corruption.name,
                    "strength": corruption.describe(strength),
                    "accuracy": float(correct.mean()),
                    "accuracy_interval": wilson_interval(correct.sum(), len(correct)),
                    "difference": float(correct.mean() - predictions.correct.mean()),
                }
            )
    return rows


def _corrupt_batch(
    corruption: Corruption, strength: float, seed: int, images: np.ndarray, numbers: np.ndarray
) -> np.ndarray:
    """Change images, uint8 (n, size, size, 3), on all cores. `numbers` are their rows."""
    pairs = zip(images, numbers.tolist(), strict=True)
    return np.stack([*map_in_order(lambda pair: corrupt(pair[0], corruption, strength, seed, pair[1]), pairs)])


def describe_worst(row: RobustnessRow) -> str:
    """Return what costs the most accuracy, such as `darkness costs most (15 % of the brightness)`."""
    return f"{row['corruption']} costs most ({row['strength']})"
