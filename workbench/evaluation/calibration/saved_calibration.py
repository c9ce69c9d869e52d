"""The calibration of a run's model, fitted on its validation images and saved in calibration.json of its folder."""

import dataclasses
import shlex

import numpy as np

from workbench.commandline.calls import format_call
from workbench.data.dataset import Dataset
from workbench.errors import UserError
from workbench.evaluation.calibration.rejection import RejectionRates, choose_threshold, measure_rejection
from workbench.evaluation.calibration.temperature import fit_temperature
from workbench.evaluation.metrics.statistics import measure_calibration
from workbench.evaluation.prediction import predict_logits
from workbench.evaluation.probabilities import softmax
from workbench.files import read_json, write_json
from workbench.finished_run import FinishedRun
from workbench.saved_metrics import find_damage_of_calibration
from workbench.wording import format_count

CALIBRATION = "calibration.json"


@dataclasses.dataclass(frozen=True)
class SavedCalibration:
    """The calibration of a model.

    Attributes:
        model_sha256: hash of the model file that it belongs to.
        images: number of validation images that it was fitted on.
        temperature: the logits are divided by it.
        ece_before, ece_after: expected calibration error of the validation images without and with the temperature.
        unknown: the threshold of confidence, and its error rates on the validation images.
    """

    model_sha256: str | None
    images: int
    temperature: float
    ece_before: float
    ece_after: float
    unknown: RejectionRates

    @property
    def threshold(self) -> float:
        """Calibrated confidence below which a prediction is called unknown."""
        return self.unknown["threshold"]

    def compute_probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return calibrated probabilities, float64, of logits (..., num_classes)."""
        return softmax(np.asarray(logits, np.float64) / self.temperature)

    def describe(self) -> str:
        """Return one line for the user on what the probabilities are."""
        images = format_count(self.images, "validation image")
        return f"calibrated probabilities (temperature {self.temperature:.2f}, fitted on {images})"


def fit_calibration(logits: np.ndarray, labels: np.ndarray, model_sha256: str | None) -> SavedCalibration:
    """Fit the temperature and the threshold.

    Args:
        logits: (n, num_classes), of validation images, n > 0.
        labels: int (n,), their true classes.
        model_sha256: hash of the model file.
    """
    temperature, correct = fit_temperature(logits, labels), logits.argmax(axis=1) == labels
    before, after = (softmax(np.asarray(logits, np.float64) / t).max(axis=1) for t in (1.0, temperature))
    return SavedCalibration(
        model_sha256=model_sha256,
        images=len(labels),
        temperature=temperature,
        ece_before=measure_calibration(before, correct).error,
        ece_after=measure_calibration(after, correct).error,
        unknown=measure_rejection(after, correct, choose_threshold(after, correct)),
    )


def calibrate_run(run: FinishedRun, dataset: Dataset) -> SavedCalibration | None:
    """Return the calibration of a run's model: the saved one, or else fit it on the validation images and save it.

    Returns:
        The calibration; None if there are no validation images.

    Raises:
        UserError: calibration.json is damaged.
    """
    saved = read_calibration(run)
    if saved is not None:
        return saved
    rows = dataset.validation
    if not len(rows):
        return None
    logits = predict_logits(run.model, dataset.images, rows, "calibrating")
    calibration = fit_calibration(logits, dataset.labels[rows], run.hash_model())
    write_json(run.results_path / CALIBRATION, dataclasses.asdict(calibration))
    return calibration


def read_calibration(run: FinishedRun) -> SavedCalibration | None:
    """Return the saved calibration of a run's present model; None if there is none.

    Raises:
        UserError: calibration.json is damaged.
    """
    path = run.find_result(CALIBRATION)
    if not path.exists():
        return None
    values = read_json(path)
    damage = find_damage_of_calibration(values)
    if damage:
        raise UserError(
            f"{path}: damaged ({damage}); remove it, and {format_call('workbench.evaluate')} "
            f"{shlex.quote(str(run.path))} writes it again"
        )
    if values["model_sha256"] != run.hash_model():
        return None
    return SavedCalibration(**{field.name: values[field.name] for field in dataclasses.fields(SavedCalibration)})
