"""Models that several tests train, what a saved model predicts, and what a killed training leaves."""

import shutil

import keras
import numpy as np
import pytest

from cnn_scratch.config import TrainConfig
from cnn_scratch.fast_model import build_fast_model
from cnn_scratch.graph_cache import draw_weights
from cnn_scratch.model import build_cnn
from workbench.finished_run import open_run
from workbench.training import checkpoints
from workbench.training.optimizer import compile_model
from workbench.training.training_model import TrainingModel


def build_compiled_cnn(config: TrainConfig, num_classes=2, optimizer=None) -> keras.Model:
    """Build the plain network with the weights of `config`'s seed, compiled."""
    model = build_cnn(config.network, config.data.image_size, num_classes)
    draw_weights(model, config.training.seed)
    compile_model(model, config.training, optimizer)
    return model


def build_compiled_fast_model(config, precision="float32", num_classes=2, fuse=True) -> TrainingModel:
    """Build the network as it is trained, compiled, with the weights of the seed; `fuse`: see `build_fast_model`."""
    plain = build_cnn(config.network, config.data.image_size, num_classes)
    draw_weights(plain, config.training.seed)
    model = build_fast_model(plain, precision, fuse=fuse)
    compile_model(model, config.training)
    return model


def leave_stopped_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each training leave a copy of its folder, `NAME-stopped`, as SIGKILL after the first epoch leaves it."""
    save = checkpoints.save_model

    def save_and_copy(model, path):
        save(model, path)
        folder = path.parent
        if path.name == "last.keras" and not folder.name.endswith("-stopped"):
            stopped = folder.with_name(f"{folder.name}-stopped")
            if not stopped.exists():
                shutil.copytree(folder, stopped)

    monkeypatch.setattr(checkpoints, "save_model", save_and_copy)


def measure_saved_model(folder, file_name="model.keras") -> tuple[float, float]:
    """Return accuracy and loss of a run's saved model on the validation images; see `measure_model`."""
    return measure_model(keras.saving.load_model(folder / file_name, compile=False), folder)


def measure_model(model, folder) -> tuple[float, float]:
    """Return a model's accuracy and loss on the validation images of a run, computed from the raw pixels."""
    dataset = open_run(folder).load_dataset()
    logits = np.asarray(model(dataset.images[dataset.validation], training=False), np.float64)
    labels = dataset.labels[dataset.validation]
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]
    return float((logits.argmax(axis=1) == labels).mean()), float(losses.mean())
