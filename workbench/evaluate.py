"""Test a finished run on held-out or other images: accuracy with its interval, calibration, confusions, figures."""

import sys

from workbench import cli
from workbench.commands import EVALUATE, EvaluateConfig

if __name__ == "__main__":  # parse first: the imports below load TensorFlow
    sys.exit(cli.main(EVALUATE))

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from workbench.console import console
from workbench.data.dataset import Dataset
from workbench.evaluation.calibration.saved_calibration import SavedCalibration, calibrate_run
from workbench.evaluation.mirroring import measure_mirroring, predict_with_mirror_images
from workbench.evaluation.model_predictions import ModelPredictions
from workbench.evaluation.other_data.other_data import OtherData, open_other_data
from workbench.evaluation.other_data.other_score import (
    OtherMetrics,
    add_other,
    find_calibration,
    make_folder,
    predict_foreign,
    save_other,
)
from workbench.evaluation.predictions_table import PREDICTIONS
from workbench.evaluation.robustness.measuring import measure_robustness
from workbench.evaluation.scoring import ModelMetrics, load_test_images, measure_predictions, predict_test, save_score
from workbench.evaluation.summary import summarize, summarize_foreign
from workbench.evaluation.tracking import log_test
from workbench.finished_run import FinishedRun, open_run
from workbench.reporting.evaluation_figures import draw_figures
from workbench.reporting.run_report import leave_report

Metrics = TypeVar("Metrics", bound=ModelMetrics)
# Saves predictions, metrics, and the probabilities with mirror images or None; returns the metrics as they were saved.
Save = Callable[[ModelPredictions, ModelMetrics, np.ndarray | None], Metrics]


def evaluate(config: EvaluateConfig) -> ModelMetrics:
    """Test a run, and save the results in its folder, or in that of `--out`.

    With `--data`, the content of the images decides: the run's own data that has moved, or other data, on which the
    run is evaluated apart from its own test.

    Returns:
        The metrics. Those of the run's own test are saved in metrics.json under `test`; test_predictions.csv has one
        row per image, calibration.json the temperature and the threshold for "unknown"; figures/ and report.html show
        the results. TensorBoard gets the figures too, and so does Weights & Biases if the run was logged to it.
        The metrics on other data are `OtherMetrics`, saved in evaluations/NAME.

    Raises:
        UserError: the run or the data cannot be opened, or there is no image to test.
    """
    run = open_run(config.run, output=config.out)
    other = open_other_data(run, config.data) if config.data else None
    if other:
        metrics: ModelMetrics = _evaluate_other(run, other, config)
    else:
        metrics = _evaluate_own(run.move_data(config.data) if config.data else run, config)
    console.print(f"report:       {leave_report(run.path, config.out)}")
    return metrics


def _evaluate_own(run: FinishedRun, config: EvaluateConfig) -> ModelMetrics:
    """Evaluate a run on the test images of its own data."""
    dataset = load_test_images(run)
    calibration = calibrate_run(run, dataset)

    def save(predictions: ModelPredictions, metrics: ModelMetrics, mirrored: np.ndarray | None) -> ModelMetrics:
        save_score(run, predictions, metrics, calibration, mirrored)
        return metrics

    predictions, metrics = _measure(run, dataset, calibration, config, save)
    for line in summarize(metrics):
        console.print(line)
    figures = draw_figures(run.results_path / "figures", run.class_names, predictions, metrics, calibration)
    logs = log_test(run, figures, metrics)
    tensorboard = f", and in TensorBoard from {logs}" if logs else ""
    folder = run.results_path
    _print_places(f"{folder / 'metrics.json'} (test)", folder / PREDICTIONS, figures, tensorboard)
    return metrics


def _evaluate_other(run: FinishedRun, other: OtherData, config: EvaluateConfig) -> OtherMetrics:
    """Evaluate a run on other data."""
    calibration = find_calibration(run)
    foreign, folder = predict_foreign(run, other), make_folder(run, other)

    def save(predictions: ModelPredictions, metrics: ModelMetrics, mirrored: np.ndarray | None) -> OtherMetrics:
        added = add_other(metrics, other, foreign, calibration)
        save_other(folder, run, other, (predictions, foreign), added, calibration, mirrored)
        return added

    predictions, metrics = _measure(run, other.dataset, calibration, config, save)
    for line in [*summarize(metrics), *summarize_foreign(metrics)]:
        console.print(line)
    figures = draw_figures(folder / "figures", run.class_names, predictions, metrics, calibration)
    _print_places(str(folder / "metrics.json"), folder / "predictions.csv", figures)
    return metrics


def _measure(
    run: FinishedRun,
    dataset: Dataset,
    calibration: SavedCalibration | None,
    config: EvaluateConfig,
    save: Save[Metrics],
) -> tuple[ModelPredictions, Metrics]:
    """Predict and measure test images, and save the result before and after the slow `--robustness`."""
    predictions = predict_test(run, dataset)
    metrics, mirrored = measure_predictions(run, predictions, calibration), None
    if config.tta:
        mirrored = predict_with_mirror_images(run, predictions)
        metrics["tta"] = measure_mirroring(predictions, mirrored)
    saved = save(predictions, metrics, mirrored)
    if config.robustness:
        metrics["robustness"] = measure_robustness(run, predictions)
        saved = save(predictions, metrics, mirrored)
    return predictions, saved


def _print_places(numbers: str, predictions: Path, figures: Sequence[Path], tensorboard: str = "") -> None:
    console.print()
    console.print(f"numbers:      {numbers}, each image in {predictions}")
    console.print(f"figures:      {figures[0].parent} ({len(figures)}){tensorboard}")
