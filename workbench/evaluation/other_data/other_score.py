"""The result of a run on other photos: evaluations/NAME in the run's folder, next to the run's own test."""

import dataclasses
import itertools
import re
from pathlib import Path
from typing import NotRequired

import numpy as np

from workbench.console import console, show_decoding
from workbench.errors import UserError
from workbench.evaluation.calibration.saved_calibration import SavedCalibration, calibrate_run, read_calibration
from workbench.evaluation.metrics.statistics import Share, measure_share
from workbench.evaluation.model_predictions import ModelPredictions
from workbench.evaluation.other_data.other_data import OtherData
from workbench.evaluation.prediction import predict_logits
from workbench.evaluation.predictions_table import Row, list_predictions
from workbench.evaluation.scoring import ModelMetrics, keep_additions
from workbench.files import read_json, write_csv, write_json
from workbench.finished_run import FinishedRun
from workbench.saved_metrics import find_damage_of_evaluation

EVALUATIONS = "evaluations"


class OtherMetrics(ModelMetrics):
    """Metrics of a run on other photos, as they are saved in evaluations/NAME/metrics.json.

    Attributes:
        data, name, evaluated: see `OtherData`.
        only_in_run, only_in_data: classes that only one of them has.
        renamed: [name in the data, name in the run] of the classes that are spelled differently.
        foreign_images: number of images of the classes that the run does not have.
        foreign_unknown: how many of these images are called unknown; missing without a calibration.
    """

    data: str
    name: str
    evaluated: str
    only_in_run: list[str]
    only_in_data: list[str]
    renamed: list[list[str]]
    foreign_images: int
    foreign_unknown: NotRequired[Share]


@dataclasses.dataclass(frozen=True)
class SavedEvaluation:
    """The saved result of a run on other photos: its folder and its metrics."""

    folder: Path
    metrics: OtherMetrics


def find_calibration(run: FinishedRun) -> SavedCalibration | None:
    """Return the calibration of a run, fitted now on its own validation images where it is not saved.

    Where these cannot be loaded, the reason is printed and None returned.

    Raises:
        UserError: calibration.json is damaged.
    """
    saved = read_calibration(run)
    if saved is not None:
        return saved
    try:
        dataset = run.load_dataset(show_decoding, use="validate")
    except UserError as error:
        console.print(f"not calibrated, because the run's validation images cannot be loaded: {error}")
        return None
    return calibrate_run(run, dataset)


def predict_foreign(run: FinishedRun, other: OtherData) -> ModelPredictions | None:
    """Predict the images whose classes the run does not have; None if there are none."""
    rows = other.foreign.test
    if not len(rows):
        return None
    logits = predict_logits(run.model, other.foreign.images, rows, "other classes")
    return ModelPredictions(other.foreign, other.foreign.labels[rows], logits, 0.0)


def add_other(
    metrics: ModelMetrics, other: OtherData, foreign: ModelPredictions | None, calibration: SavedCalibration | None
) -> OtherMetrics:
    """Add to the metrics what is known of the other data."""
    added: OtherMetrics = {
        **metrics,
        "data": other.data,
        "name": other.name,
        "evaluated": other.evaluated,
        "only_in_run": list(other.match.only_in_run),
        "only_in_data": list(other.match.only_in_data),
        "renamed": [list(pair) for pair in other.match.renamed],
        "foreign_images": len(foreign.labels) if foreign else 0,
    }
    if foreign and calibration:
        confidence = calibration.compute_probabilities(foreign.logits).max(axis=1)
        added["foreign_unknown"] = measure_share((confidence < calibration.threshold).sum(), len(confidence))
    return added


def make_folder(run: FinishedRun, other: OtherData) -> Path:
    """Create and return the folder for the results on other data: evaluations/NAME, the same for the same data."""
    name = re.sub(r"[^\w.-]+", "-", other.name).strip(".-") or "data"
    for number in itertools.count(1):
        folder = run.results_path / EVALUATIONS / (name if number == 1 else f"{name}-{number}")
        saved = read_json(folder / "metrics.json")
        if not isinstance(saved, dict) or saved.get("data") == other.data:
            folder.mkdir(parents=True, exist_ok=True)
            return folder
    raise AssertionError


def save_other(
    folder: Path,
    run: FinishedRun,
    other: OtherData,
    predictions: tuple[ModelPredictions, ModelPredictions | None],
    metrics: OtherMetrics,
    calibration: SavedCalibration | None,
    mirrored: np.ndarray | None = None,
) -> None:
    """Save predictions.csv and metrics.json of other data; see also `keep_additions`.

    Args:
        folder: for the files.
        run: the run.
        other: the data.
        predictions: of images whose classes the run has, and of those whose classes the run does not have.
        metrics: the result.
        calibration: of the model.
        mirrored: probabilities (n, num_classes) with mirror images, where they were asked for.
    """
    known, foreign = predictions
    rows = list_predictions(known, run.class_names, calibration, mirrored)
    if foreign:
        for row, name in zip(
            list_predictions(foreign, run.class_names, calibration), other.foreign_classes, strict=True
        ):
            rows.append(_fill(row, rows[0]) | {"true": name, "correct": "", "true_probability": ""})
    keep_additions(metrics, read_json(folder / "metrics.json"))
    write_csv(folder / "predictions.csv", rows)
    write_json(folder / "metrics.json", metrics)


def _fill(row: Row, other: Row) -> Row:
    """Return a row with the columns of another one, empty where it has none."""
    return {name: row.get(name, "") for name in other}


def list_evaluations(run: FinishedRun) -> list[SavedEvaluation]:
    """Return the saved results on other data, by the names of their folders.

    Raises:
        UserError: one of them is damaged.
    """
    paths = {
        path.parent.name: path
        for folder in (run.path, run.results_path)
        for path in sorted((folder / EVALUATIONS).glob("*/metrics.json"))
    }
    found = []
    for _, path in sorted(paths.items()):
        metrics = read_json(path)
        damage = find_damage_of_evaluation(metrics)
        if damage:
            raise UserError(f"{path}: damaged ({damage}); remove it, or evaluate that data again")
        found.append(SavedEvaluation(path.parent, metrics))
    return found
