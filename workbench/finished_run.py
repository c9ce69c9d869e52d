"""A finished run, opened from its folder alone: the model, the classes, the data it was trained on."""

import dataclasses
import functools
import zipfile
from pathlib import Path

import numpy as np
import yaml

from workbench import cli
from workbench.config import DataConfig
from workbench.data.dataset import load_dataset
from workbench.errors import UserError
from workbench.files import read_json


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """What a run folder holds.

    Attributes:
        path: of the folder.
        config: config.yaml, name -> value.
        class_names: in the order of the labels.
    """

    path: Path
    config: dict
    class_names: list

    @property
    def image_size(self):
        """Side of the model's square input in pixels."""
        return self.model.input_shape[1]

    @property
    def metrics(self):
        """metrics.json, empty where it is missing or torn."""
        metrics = read_json(self.path / "metrics.json")
        return metrics if isinstance(metrics, dict) else {}

    @property
    def data_config(self):
        """The `DataConfig` the run was made with.

        Raises:
            UserError: config.yaml tells no data, or has a value that cannot be.
        """
        where = self.path / "config.yaml"
        names = {field.name for field in dataclasses.fields(DataConfig)}
        values = {name: value for name, value in self.config.items() if name in names}
        if "data" not in values:
            raise UserError(f"{where}: names no data; was it made by another program?")
        return cli.from_values(DataConfig, values, where=where)

    @functools.cached_property
    def model(self):
        """The Keras model: uint8 RGB in, logits out.

        Raises:
            UserError: there is none, it cannot be read, or it is no classifier of the run's classes.
        """
        import keras

        path = self.path / "model.keras"
        if not path.exists():
            raise UserError(f"{self.path}: holds no model.keras; is the run finished?")
        if not zipfile.is_zipfile(path):
            raise UserError(f"{path}: torn, or no Keras model at all")
        try:
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
        except Exception as error:  # a damaged or foreign file can raise nearly anything inside the loader
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            raise UserError(f"{path}: cannot be loaded ({reason})") from error
        _check_classifier(path, model, len(self.class_names))
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)  # called with one tensor, not a list

    def dataset(self, progress=None):
        """The `workbench.data.dataset.Dataset` that the run was trained and validated on, split in the same way.

        Raises:
            UserError: the data is gone, or has other classes now.
        """
        config = dataclasses.replace(self.data_config, image_size=self.image_size)
        seed = self.config.get("seed", 0)
        if not isinstance(seed, int):
            raise UserError(f"{self.path / 'config.yaml'}: seed {seed!r} is no whole number")
        try:
            dataset = load_dataset(config, seed, progress)
        except UserError as error:
            raise UserError(f"the data of {self.path / 'config.yaml'}: {error}") from error
        if list(dataset.class_names) != self.class_names:
            raise UserError(f"--data {config.data}: has other classes than {self.path} was trained on")
        return dataset


def open_run(folder):
    """Open a run folder.

    Raises:
        UserError: it is none, or a file in it is missing or torn.
    """
    path = Path(folder)
    if not (path / "config.yaml").is_file():
        what = "no such run folder"
        if path.exists():
            what = "not a run folder (no config.yaml in it)" if path.is_dir() else "a file; give the run's folder"
        raise UserError(f"{folder}: {what}")
    try:
        config = yaml.safe_load((path / "config.yaml").read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        config = None
    if not isinstance(config, dict):
        raise UserError(f"{path / 'config.yaml'}: not a YAML file of settings")
    class_names = read_json(path / "classes.json")
    names = class_names if isinstance(class_names, list) else []
    if len(names) < 2 or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path / 'classes.json'}: missing or torn; the run folder is not complete")
    return FinishedRun(path, config, class_names)


def _check_classifier(path, model, num_classes):
    """Refuse a model that is no classifier of square RGB images into this many classes, by logits."""
    taken, given = getattr(model, "input_shape", None), getattr(model, "output_shape", None)
    takes_images = isinstance(taken, tuple) and len(taken) == 4 and taken[1] == taken[2] and taken[3] == 3
    if not (takes_images and isinstance(taken[1], int) and given == (None, num_classes)):
        raise UserError(f"{path}: no classifier of this run's {num_classes} classes (maps {taken} to {given})")
    if getattr(getattr(model.layers[-1], "activation", None), "__name__", "") == "softmax":
        raise UserError(f"{path}: ends in a softmax; a model that gives logits is expected")


def softmax(logits):
    """Probabilities of logits, float64, over the last axis."""
    exponents = np.exp(np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)
