"""The table of a test: one row for each image, with its label, its prediction and the probability of each class."""

import numpy as np

from workbench.evaluation.calibration.saved_calibration import SavedCalibration
from workbench.evaluation.model_predictions import ModelPredictions
from workbench.evaluation.probabilities import rank_classes

PREDICTIONS = "test_predictions.csv"
_DIGITS = 6
Row = dict[str, str | int | float]


def list_predictions(
    predictions: ModelPredictions,
    class_names: list[str],
    calibration: SavedCalibration | None,
    mirrored: np.ndarray | None = None,
) -> list[Row]:
    """Return the rows of the table.

    Columns: `image`, `true`, `predicted`, `confidence` (the probability of the predicted class), `correct` (1 or 0),
    `true_probability`, `top_3`, `repeats` (an image of the same photo that was used for training or validation). With a
    calibration also `calibrated_confidence` and `unknown` (1 or 0), with mirror images `tta_predicted` and
    `tta_confidence`. Then the probability of each class, in columns named `p_` and the class.

    Args:
        predictions: the predictions.
        class_names: of the network.
        calibration: of the model.
        mirrored: probabilities (n, num_classes) with mirror images.
    """
    rows: list[Row] = []
    top_3 = rank_classes(predictions.probabilities)[:, :3]
    calibrated = None if calibration is None else calibration.compute_probabilities(predictions.logits).max(axis=1)
    for number, (name, label, probabilities, top, repeats) in enumerate(
        zip(
            predictions.names,
            predictions.labels.tolist(),
            predictions.probabilities,
            top_3,
            predictions.repeats,
            strict=True,
        )
    ):
        row: Row = {
            "image": name,
            "true": class_names[label],
            "predicted": class_names[top[0]],
            "confidence": _round(probabilities[top[0]]),
            "correct": int(top[0] == label),
            "true_probability": _round(probabilities[label]),
            "top_3": " | ".join(f"{class_names[c]} {probabilities[c]:.3f}" for c in top),
            "repeats": repeats,
        }
        if calibration is not None and calibrated is not None:
            row["calibrated_confidence"] = _round(calibrated[number])
            row["unknown"] = int(calibrated[number] < calibration.threshold)
        if mirrored is not None:
            row["tta_predicted"] = class_names[mirrored[number].argmax()]
            row["tta_confidence"] = _round(mirrored[number].max())
        row |= {f"p_{name}": _round(p) for name, p in zip(class_names, probabilities, strict=True)}
        rows.append(row)
    return rows


def _round(probability: float) -> float:
    return round(float(probability), _DIGITS)
