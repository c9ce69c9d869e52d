"""The test of a run's model on the held-out images: its predictions and its metrics."""

import hashlib
import math
import time
from typing import NamedTuple, NotRequired, TypedDict

import numpy as np

from workbench.console import console, show_decoding
from workbench.data.dataset import Dataset
from workbench.data.source import TEST
from workbench.data.splits.earlier_runs import describe_unchecked_runs, find_base, list_unchecked_runs
from workbench.data.splits.leaks import describe_leaks
from workbench.devices.device import describe_device
from workbench.errors import UserError
from workbench.evaluation.calibration.rejection import RejectionRates, measure_rejection
from workbench.evaluation.calibration.saved_calibration import SavedCalibration, calibrate_run
from workbench.evaluation.metrics.prediction_metrics import PredictionMetrics, measure
from workbench.evaluation.metrics.statistics import measure_calibration, wilson_interval
from workbench.evaluation.mirroring import MirroringMetrics
from workbench.evaluation.model_predictions import ModelPredictions
from workbench.evaluation.prediction import predict_logits, split_rows
from workbench.evaluation.predictions_table import PREDICTIONS, list_predictions
from workbench.evaluation.robustness.measuring import RobustnessRow
from workbench.files import read_csv, write_csv, write_json
from workbench.finished_run import FinishedRun
from workbench.saved_metrics import can_be_compared


class LeakMetrics(TypedDict):
    """The accuracy without the test images that were also used for training or validation.

    Attributes:
        leaked: number of test images whose photo is also in the training or the validation set, also in those of an
            earlier run whose network was fine-tuned.
        accuracy_without_leaked, interval_without_leaked: top-1 accuracy on the other test images, with its 95 %
            interval; None if there are no others.
    """

    leaked: int
    accuracy_without_leaked: float | None
    interval_without_leaked: tuple[float, float] | None


class CalibratedMetrics(TypedDict):
    """Metrics of calibrated probabilities of the test images.

    Attributes:
        temperature, validation_images: the temperature, and the number of images that it was fitted on.
        ece: expected calibration error over 15 bins.
        confidence: mean probability of the predicted class.
        unknown: how often a prediction below the threshold is called unknown.
    """

    temperature: float
    validation_images: int
    ece: float
    confidence: float
    unknown: RejectionRates


class ModelMetrics(PredictionMetrics, LeakMetrics):
    """Metrics of a tested model, as they are saved under `test` in metrics.json.

    Attributes:
        keeps_split: whether the run keeps its split. If not, it is not known whether its data has changed.
        unchecked_runs: earlier runs whose network was fine-tuned and of which it is not known which images they used.
        images_sha256: hash of the test images and their classes, the same in any order.
        calibrated: missing without validation images, and in tests of earlier versions.
        tta, robustness: missing unless they were asked for, in this test or an earlier one of the same model.
    """

    keeps_split: bool
    unchecked_runs: list[str]
    device: str
    images_per_second: float
    total_parameters: int
    model_bytes: int
    model_sha256: str | None
    images_sha256: str
    calibrated: NotRequired[CalibratedMetrics]
    tta: NotRequired[MirroringMetrics]
    robustness: NotRequired[list[RobustnessRow]]


class SavedScore(NamedTuple):
    """The saved result of a test: rows of test_predictions.csv, and the metrics."""

    predictions: list[dict[str, str]]
    metrics: ModelMetrics


def score_run(run: FinishedRun) -> tuple[ModelPredictions, ModelMetrics]:
    """Test a run's model on its test images, and save predictions and metrics in the run folder.

    Raises:
        UserError: the model or the data cannot be loaded, or the data has no test image.
    """
    dataset = load_test_images(run)
    calibration = calibrate_run(run, dataset)
    predictions = predict_test(run, dataset)
    metrics = measure_predictions(run, predictions, calibration)
    save_score(run, predictions, metrics, calibration)
    return predictions, metrics


def load_test_images(run: FinishedRun) -> Dataset:
    """Load the data of a run with its test images, and print what is wrong with them.

    Raises:
        UserError: the data cannot be loaded, or has no test image.
    """
    dataset = run.load_dataset(show_decoding, use="test")
    unchecked = list_unchecked_runs(find_base(run.path))
    for line in (*describe_leaks(dataset.split, run.data_config.data), *describe_unchecked_runs(unchecked)):
        console.print(line)
    if not len(dataset.test):
        raise UserError(f"--data {run.data_config.data}: has no test image, so that {run.path} cannot be tested")
    return dataset


def predict_test(run: FinishedRun, dataset: Dataset) -> ModelPredictions:
    """Predict the test images of a data set."""
    batches = split_rows(dataset.images, dataset.test)
    for batch in {len(batch): batch for batch in batches}.values():  # the first one of a size is slow
        run.model.predict_on_batch(dataset.images[batch])
    start = time.perf_counter()
    logits = predict_logits(run.model, dataset.images, dataset.test, "testing")
    seconds = time.perf_counter() - start
    return ModelPredictions(dataset, dataset.labels[dataset.test], logits, seconds)


def measure_predictions(
    run: FinishedRun, predictions: ModelPredictions, calibration: SavedCalibration | None
) -> ModelMetrics:
    """Compute the metrics of a run's predictions."""
    metrics: ModelMetrics = {
        **measure(predictions.labels, predictions.probabilities, run.class_names),
        **measure_without_leaked(predictions),
        "keeps_split": run.keeps_split,
        "unchecked_runs": list_unchecked_runs(find_base(run.path)),
        "device": describe_device(),
        "images_per_second": len(predictions.labels) / predictions.seconds,
        "total_parameters": run.model.count_params(),
        "model_bytes": (run.path / "model.keras").stat().st_size,
        "model_sha256": run.hash_model(),
        "images_sha256": _hash_images(predictions.dataset),
    }
    if calibration:
        metrics["calibrated"] = measure_calibrated(predictions, calibration)
    return metrics


def save_score(
    run: FinishedRun,
    predictions: ModelPredictions,
    metrics: ModelMetrics,
    calibration: SavedCalibration | None,
    mirrored: np.ndarray | None = None,
) -> None:
    """Save predictions and metrics of a run's own test images; see also `keep_additions`.

    Args:
        run: the run.
        predictions, metrics: the result.
        calibration: of the model.
        mirrored: probabilities (n, num_classes) with mirror images, where they were asked for.
    """
    saved = run.metrics
    keep_additions(metrics, saved.get("test"))
    rows = list_predictions(predictions, run.class_names, calibration, mirrored)
    write_csv(run.results_path / PREDICTIONS, rows)
    write_json(run.results_path / "metrics.json", {**saved, "test": metrics})


def keep_additions(metrics: ModelMetrics, earlier: object) -> None:
    """Add to metrics what only an earlier test of the same model and images has measured: `tta` and `robustness`.

    Args:
        metrics: of the new test; changed in place.
        earlier: metrics of the earlier test, or anything else where there was none.
    """
    if not isinstance(earlier, dict):
        return
    now = metrics["model_sha256"], metrics["images_sha256"]
    if (earlier.get("model_sha256"), earlier.get("images_sha256")) == now:
        if "tta" in earlier:
            metrics.setdefault("tta", earlier["tta"])
        if "robustness" in earlier:
            metrics.setdefault("robustness", earlier["robustness"])


def _hash_images(dataset: Dataset) -> str:
    lines = sorted(f"{image.digest} {image.class_name}" for image in dataset.split if image.part == TEST)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def find_score(run: FinishedRun) -> SavedScore | None:
    """Return the saved score of a run; None if its present model has not been tested, or the files do not agree."""
    metrics, predictions = run.metrics.get("test"), read_csv(run.find_result(PREDICTIONS))
    if not isinstance(metrics, dict) or metrics.get("model_sha256") != run.hash_model():
        return None
    is_whole = all(None not in (row.get(name) for name in ("image", "true", "correct")) for row in predictions)
    if not is_whole or not can_be_compared(metrics) or metrics.get("images") != len(predictions):
        return None
    num_correct = sum(row["correct"] == "1" for row in predictions)
    agrees = math.isclose(num_correct, metrics["accuracy"] * len(predictions), abs_tol=1e-6)
    return SavedScore(predictions, metrics) if agrees else None  # type: ignore[arg-type]


def measure_without_leaked(predictions: ModelPredictions) -> LeakMetrics:
    """Compute the accuracy on the test images whose photo is in neither the training nor the validation set."""
    is_clean = np.array([not name for name in predictions.repeats], bool)
    correct = predictions.correct[is_clean]
    return {
        "leaked": len(is_clean) - len(correct),
        "accuracy_without_leaked": float(correct.mean()) if len(correct) else None,
        "interval_without_leaked": wilson_interval(correct.sum(), len(correct)) if len(correct) else None,
    }


def measure_calibrated(predictions: ModelPredictions, calibration: SavedCalibration) -> CalibratedMetrics:
    """Compute the metrics of calibrated probabilities."""
    confidence = calibration.compute_probabilities(predictions.logits).max(axis=1)
    return {
        "temperature": calibration.temperature,
        "validation_images": calibration.images,
        "ece": measure_calibration(confidence, predictions.correct).error,
        "confidence": float(confidence.mean()),
        "unknown": measure_rejection(confidence, predictions.correct, calibration.threshold),
    }
