"""Compute the numbers of a run again, with plain Keras and NumPy, from its saved model and the image files."""

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from workbench.data.decoding import decode
from workbench.finished_run import open_run

_CLOSE = 1e-3  # of a mean cross-entropy; the order of float32 sums differs


def measure_model(
    run: Path, pixels: np.ndarray, labels: np.ndarray, label_smoothing: float = 0.0
) -> tuple[float, float]:
    """Return (accuracy, mean cross-entropy) of a run's model."""
    model = keras.saving.load_model(run / "model.keras", compile=False)
    logits = np.asarray(model(pixels, training=False), np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    right = log_probabilities.argmax(axis=1) == labels
    targets = (1 - label_smoothing) * np.eye(logits.shape[1])[labels] + label_smoothing / logits.shape[1]
    return float(right.mean()), float(-(targets * log_probabilities).sum(axis=1).mean())


def read_images(run: Path, photos: Path, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return (pixels, labels) of image files. A label is the place of the file's class folder in classes.json."""
    classes, config = json.loads((run / "classes.json").read_text()), open_run(run).config
    data = [(photos / name).read_bytes() for name in names]
    pixels = np.stack([decode(content, config["image_size"], config["resize"]) for content in data])
    folders = [
        name.split("/")[1 if name.split("/")[0] in ("train", "test", "val", "validation") else 0] for name in names
    ]
    return pixels, np.array([classes.index(folder) for folder in folders])


def check_training(run: Path, photos: Path, printed: str) -> None:
    """Check that the validation accuracy and loss that a training reports are those of its saved model."""
    dataset = open_run(run).load_dataset()
    pixels, labels = read_images(run, photos, [dataset.names[row] for row in dataset.validation])
    accuracy, loss = measure_model(run, pixels, labels, open_run(run).config["label_smoothing"])
    metrics = json.loads((run / "metrics.json").read_text())
    with open(run / "history.csv", encoding="utf-8", newline="") as file:
        history = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    best = max(history, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    assert metrics["best_epoch"] == best["epoch"]
    assert metrics["val_accuracy"] == best["val_accuracy"]
    assert abs(metrics["val_accuracy"] - accuracy) < 1e-6, (metrics, accuracy)
    assert abs(metrics["val_loss"] - loss) < _CLOSE * max(1, loss), (metrics, loss)
    shown = re.search(r"best epoch (\d+): validation accuracy +([\d.]+)%", printed)
    assert shown, printed
    assert (int(shown[1]), shown[2]) == (best["epoch"], f"{100 * accuracy:.1f}"), (shown, accuracy)


def check_test(run: Path, photos: Path, printed: str) -> None:
    """Check that the numbers of an evaluation are those of the saved model on the files that it lists."""
    with open(run / "test_predictions.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    pixels, labels = read_images(run, photos, [row["image"] for row in rows])
    accuracy, loss = measure_model(run, pixels, labels)
    test, classes = json.loads((run / "metrics.json").read_text())["test"], open_run(run).class_names
    assert [row["true"] for row in rows] == [classes[label] for label in labels]
    assert test["images"] == len(rows) == len({row["image"] for row in rows})
    assert abs(test["accuracy"] - accuracy) < 1e-6
    assert sum(row["predicted"] == row["true"] for row in rows) == round(accuracy * len(rows))
    assert abs(test["loss"] - loss) < _CLOSE * max(1, loss)
    assert [row["images"] for row in test["per_class"]] == np.bincount(labels, minlength=len(classes)).tolist()
    shown = re.search(r"top-1: +([\d.]+)%", printed)
    assert shown, printed
    assert shown[1] == f"{100 * accuracy:.1f}"
