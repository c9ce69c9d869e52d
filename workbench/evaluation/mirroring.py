"""Test-time augmentation: the mean of the probabilities of each image and of its mirror image."""

from typing import TypedDict

import numpy as np

from workbench.evaluation.metrics.statistics import mcnemar, wilson_interval
from workbench.evaluation.model_predictions import ModelPredictions
from workbench.evaluation.prediction import predict_logits
from workbench.evaluation.probabilities import softmax
from workbench.finished_run import FinishedRun


class MirroringMetrics(TypedDict):
    """The accuracy with mirror images, compared with that without.

    Attributes:
        accuracy, accuracy_interval: top-1 accuracy, and its 95 % interval by Wilson's method.
        difference: accuracy minus that without mirror images.
        only_with, only_without: number of images that are right only with, and only without mirror images.
        p: p-value of McNemar's exact test.
    """

    accuracy: float
    accuracy_interval: tuple[float, float]
    difference: float
    only_with: int
    only_without: int
    p: float


def predict_with_mirror_images(run: FinishedRun, predictions: ModelPredictions) -> np.ndarray:
    """Return probabilities, float64 (n, num_classes): the mean of those of the images and of their mirror images."""
    dataset = predictions.dataset
    logits = predict_logits(run.model, dataset.images, dataset.test, "mirrored", lambda images, _: images[:, :, ::-1])
    return (predictions.probabilities + softmax(logits)) / 2


def measure_mirroring(predictions: ModelPredictions, probabilities: np.ndarray) -> MirroringMetrics:
    """Compare the predictions with mirror images with those without.

    Args:
        predictions: the predictions without.
        probabilities: (n, num_classes), those with mirror images.
    """
    correct = probabilities.argmax(axis=1) == predictions.labels
    only_with, only_without, p = mcnemar(correct, predictions.correct)
    return {
        "accuracy": float(correct.mean()),
        "accuracy_interval": wilson_interval(correct.sum(), len(correct)),
        "difference": float(correct.mean() - predictions.correct.mean()),
        "only_with": only_with,
        "only_without": only_without,
        "p": p,
    }
