"""Check the content of a run's metrics.json, so that damaged values are named before they are printed or compared."""

import math
from collections.abc import Mapping
from typing import Any

_NUMBERS = (
    *("best_epoch", "epochs", "max_epochs", "trials", "parameters", "multiply_adds", "trained_parameters"),
    *("val_accuracy", "val_loss", "accuracy", "loss", "images_per_second", "epoch_seconds", "seconds"),
    *("training_seconds", "last_call_seconds", "feature_seconds", "feature_images", "peak_memory_bytes"),
)
_SHARES = {"accuracy": float, "top_k_accuracy": float, "ece": float}
_CLASS = {"class": str, "images": int, "precision": float, "recall": float, "f1": float}
_CONFUSION = {"true": str, "predicted": str, "count": int}
_TEST: dict[str, Any] = {
    "images": int,
    "top_k": int,
    **_SHARES,
    "accuracy_interval": (float, float),
    "per_class": [_CLASS],
    "confused": [_CONFUSION],
}
_COMPARED = ("loss", "images_per_second", "total_parameters", "model_bytes")
_LEAKED = {"leaked": int, "keeps_split": bool}  # tests of earlier versions have none of these
_WITHOUT_LEAKED = {"accuracy_without_leaked": float, "interval_without_leaked": (float, float)}  # or null
_SHARE = {"count": int, "of": int, "share": float, "interval": (float, float)}
_UNKNOWN = {"threshold": float, "right_unknown": _SHARE, "wrong_known": _SHARE, "right_of_known": _SHARE}
_BALANCED = {
    "balanced_accuracy": float,
    "balanced_accuracy_interval": (float, float),
    "macro_f1": float,
    "macro_f1_interval": (float, float),
}
_MEASURED = {"accuracy": float, "accuracy_interval": (float, float), "difference": float}
_ADDED: dict[str, Any] = {  # what a test may have
    **_BALANCED,
    "calibrated": {"temperature": float, "validation_images": int, "ece": float, "confidence": float}
    | {"unknown": _UNKNOWN},
    "tta": {**_MEASURED, "only_with": int, "only_without": int, "p": float},
    "robustness": [{**_MEASURED, "corruption": str, "strength": str}],
}
_EVALUATION: dict[str, Any] = {  # of other data
    **dict.fromkeys(("data", "name", "evaluated"), str),
    "only_in_run": [str],
    "only_in_data": [str],
    "renamed": [(str, str)],
    "foreign_images": int,
}
_CALIBRATION: dict[str, Any] = {
    "images": int,
    "temperature": float,
    "ece_before": float,
    "ece_after": float,
    "unknown": _UNKNOWN,
}


def find_damage(metrics: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the content of a metrics.json, such as `test: ece is missing`; None if nothing is.

    Keys that are not known may have any value. The results of a training may be missing; a test must have what a report
    shows of it, see `can_be_compared` for more.
    """
    for name in _NUMBERS:
        if metrics.get(name) is not None and not _is_number(metrics[name]):
            return f"{name} is not a number"
    for name in ("train_module", "trial"):
        if not isinstance(metrics.get(name), str | int | None):
            return f"{name} is not text"
    return None if metrics.get("test") is None else _find_damage_of_test(metrics["test"])


def is_of_finished_training(metrics: object, num_epochs: int) -> bool:
    """Return whether the content of a metrics.json has the results of a training of all these epochs.

    Without them it may still have a test, because an interrupted training can be tested; and while a run is continued
    it has the results of the shorter training.

    Args:
        metrics: the content, which may be damaged; None if the file is missing.
        num_epochs: number of epochs in the run's history.
    """
    epochs = metrics.get("epochs") if isinstance(metrics, dict) else None
    return isinstance(epochs, int) and epochs >= num_epochs


def can_be_compared(test: Mapping[str, Any]) -> bool:
    """Return whether the results of a test have all numbers that a comparison shows."""
    return all(_is_number(test.get(name)) for name in _COMPARED)


def find_damage_of_calibration(values: Any) -> str | None:
    """Return what is wrong with the content of a calibration.json; None if nothing is."""
    damage = _compare(values, _CALIBRATION, "calibration")
    if damage:
        return damage
    if not 0.01 <= values["temperature"] <= 100:  # what is fitted is well within
        return "calibration: temperature is not between 0.01 and 100"
    if not isinstance(values.get("model_sha256"), str):
        return "calibration: model_sha256 is not text"
    return None


def find_damage_of_evaluation(metrics: Any) -> str | None:
    """Return what is wrong with the results on other data, the content of their metrics.json; None if nothing is."""
    damage = _compare(metrics, _EVALUATION, "evaluation") or _find_damage_of_test(metrics)
    foreign = {"foreign_unknown": _SHARE} if not damage and "foreign_unknown" in metrics else {}
    return damage or _compare(metrics, foreign, "evaluation")


def _find_damage_of_test(test: Any) -> str | None:
    damage = _compare(test, _TEST, "test")
    if damage:
        return damage
    added = _BALANCED.keys() if _BALANCED.keys() & test.keys() else set()  # all of them, or none
    damage = _compare(test, {name: _ADDED[name] for name in _ADDED if name in added or name in test}, "test")
    if damage or not {*_LEAKED, *_WITHOUT_LEAKED} & test.keys():
        return damage
    measured = {name: shape for name, shape in _WITHOUT_LEAKED.items() if test.get(name, "") is not None}
    return _compare(test, {**_LEAKED, **measured}, "test")


def _compare(value: Any, shape: Any, name: str) -> str | None:
    """Return how a value differs from a shape: a type, or a mapping, list or tuple of shapes."""
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return f"{name} is not a section"
        missing = [key for key in shape if key not in value]
        if missing:
            return f"{name}: {missing[0]} is missing"
        return next(filter(None, (_compare(value[key], inner, f"{name}: {key}") for key, inner in shape.items())), None)
    if isinstance(shape, list | tuple):
        if not isinstance(value, list) or (isinstance(shape, tuple) and len(value) != len(shape)):
            return f"{name} is not a list of {len(shape)}" if isinstance(shape, tuple) else f"{name} is not a list"
        return next(filter(None, (_compare(inner, shape[0], name) for inner in value)), None)
    if shape in (str, bool):
        return None if isinstance(value, shape) else f"{name} is not {'text' if shape is str else 'true or false'}"
    is_right = _is_number(value) and (shape is float or isinstance(value, int))
    return None if is_right else f"{name} is not a number"


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**63 and math.isfinite(value)
    )
