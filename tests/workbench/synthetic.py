"""Folders of sweeps and runs as the commands leave them, without the hours they take."""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from workbench.data.splits.saved_split import SplitImage, write_split
from workbench.files import write_csv
from workbench.sweep.outcomes.outcome import CHECKSUM, make_outcome, save_outcome
from workbench.sweep.outcomes.outcome_store import OutcomeStore
from workbench.sweep.results import read_results
from workbench.sweep.scheduling.trial import Trial
from workbench.sweep.scheduling.trial_files import TrialFiles

PARAMETERS: dict[str, list[Any]] = {
    "epochs": [5, 10],
    "filter_size": [[3, 3, 3, 3, 3], [2, 2, 2, 2, 2]],
    "dropout": [0.2, 0.3, 0.4, 0.5],
    "batch_size": [32, 64],
    "batch_norm": [True, False],
    "learning_rate": [0.001, 0.005, 0.0001],
    "activation": ["mish", "gelu", "relu", "silu"],
    "filter_org": ["same", "double", "half"],
    "data_aug": [True, False],
    "num_filters": [32, 64],
}
POINTS = 9216
CELLS = (  # of tables, sorted by their numbers
    ["8.1 s", "1:05", "2:04", "12:00", "1:00:05", "10:00:00"],
    ["9.5% to 20.0%", "10.0% to 12.5%", "100.0% to 100.0%"],
    ["9.5% (-12)", "93.1% (-3)"],
    ["-1", "0.9 (cached)", "12.3 (cached)", "1,203.5"],
    ["2.60 GB", "12.60 GB"],
)
REASON = "ResourceExhaustedError: out of memory & <b>more</b>"


def write_sweep(
    where: Path,
    count: int,
    metric: str = "val_accuracy",
    failed: float = 0.0,
    pruned: float = 0.0,
    noise: float = 0.01,
) -> Path:
    """The folder of a sweep in which learning_rate decides the score, and activation a little.

    Args:
        where: folder in which it is made.
        count: number of trials.
        metric: what the sweep goes by.
        failed, pruned: shares of the trials.
        noise: deviation of the accuracy.
    """
    folder, rng = where / "sweeps" / f"sweep-{count}", np.random.default_rng(0)
    folder.mkdir(parents=True)
    identity = {"parameters": PARAMETERS, "fixed": {"dense_units": 512}, "data": "photos"}
    identity["metric"] = [metric, "max" if metric == "val_accuracy" else "min"]
    (folder / "sweep.json").write_text(json.dumps(identity))
    _write_settings(folder, {"data": "photos", "image_size": 64, "tuner": "grid", "name": folder.name})
    points = list(itertools.product(*PARAMETERS.values()))
    chosen = rng.permutation(len(points))[:count]
    rows = [_row(n, dict(zip(PARAMETERS, points[at], strict=True)), rng, noise) for n, at in enumerate(chosen)]
    for row, draw in zip(rows, rng.random(count), strict=True):
        if draw < failed:
            row.update(dict.fromkeys(("val_accuracy", "val_loss", "accuracy", "parameters"), ""), status="failed")
            row["reason"] = REASON
        elif draw < failed + pruned:
            row["status"] = "pruned"
    write_csv(folder / "trials.csv", rows)
    return folder


def _row(number: int, values: Mapping[str, Any], rng: np.random.Generator, noise: float) -> dict[str, Any]:
    effect = {0.001: 0.3, 0.0001: 0.15, 0.005: 0.0}[values["learning_rate"]] + 0.04 * (values["activation"] == "gelu")
    accuracy = 0.4 + effect + rng.normal(0, noise)
    swept = {name: value for name, value in values.items() if name != "epochs"}
    return {
        "trial": f"{number:04d}",
        "status": "completed",
        "val_accuracy": accuracy,
        "val_loss": float(np.exp(-3 * accuracy)),
        "accuracy": min(1.0, accuracy + 0.05),
        "loss": 1 - accuracy,
        "best_epoch": values["epochs"],
        "epochs": values["epochs"],
        "max_epochs": values["epochs"],
        "seconds": 2.0 + number % 7,
        "parameters": 1000 * values["num_filters"] * values["filter_size"][0],
        "started": 1.8e9 + 10 * number,
        "ended": 1.8e9 + 10 * number + 2 + number % 7,
        "worker": "worker-1",
        **swept,
        "reason": "",
    }


def write_outcomes(folder: Path, images: int = 80, test_images: int = 50, kept: int = 4) -> None:
    """Add outcomes to the folder of a sweep, and weights of its best trials: its later trials are wrong more often."""
    class_names = json.loads((folder / "classes.json").read_text())
    labels, rng = np.arange(images) % len(class_names), np.random.default_rng(0)
    split = [SplitImage(f"v{n}.jpg", class_names[label], "validation", "-") for n, label in enumerate(labels)]
    split += [SplitImage(f"t{n}.jpg", class_names[0], "test", "-") for n in range(test_images)]
    write_split(folder, split)
    files = TrialFiles(folder / "tuner")
    store = OutcomeStore(folder, "all", files.get_folder)
    store.open([])
    shape = images, len(class_names)
    for place, result in enumerate(read_results(folder).scored):
        logits = 3.0 * np.eye(len(class_names))[labels] + (1.2 + 0.2 * place) * rng.normal(size=shape)
        trial_folder = files.get_folder(result.id)
        trial_folder.mkdir(parents=True)
        checksum = save_outcome(trial_folder, make_outcome(logits, labels, "all"))
        store.add(Trial(result.id, {}, status="completed", result={CHECKSUM: checksum}))
        if place < kept:
            (trial_folder / "weights.npz").touch()


def write_run(where: Path, classes: Sequence[str] = ("daisy", "rose"), epochs: int = 4, finished: bool = True) -> Path:
    """The folder of a training of four epochs, of which `epochs` are done."""
    folder = where / "runs" / "cnn"
    folder.mkdir(parents=True)
    _write_settings(folder, {"data": "photos", "image_size": 64, "epochs": 4, "filter_size": [3] * 5}, classes)
    rows = [
        {"epoch": epoch, "loss": 1 / epoch, "accuracy": 1 - 0.5 / epoch, "val_loss": 1.2 / epoch}
        | {"val_accuracy": 0.9 - 0.4 / epoch, "learning_rate": 0.001, "seconds": 2.5, "images_per_second": 400.0}
        for epoch in range(1, epochs + 1)
    ]
    write_csv(folder / "history.csv", rows)
    if finished:
        metrics = {"train_module": "some.trainer", "epochs": epochs, "parameters": 12345, "images_per_second": 400.0}
        (folder / "metrics.json").write_text(json.dumps(metrics))
        (folder / "model.keras").write_bytes(b"the model")
    return folder


def _write_settings(folder: Path, config: Mapping[str, Any], classes: Sequence[str] = ("daisy", "rose")) -> None:
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "classes.json").write_text(json.dumps(list(classes)))
