"""A finished run, opened from its folder alone: the model, the classes, the data it was trained on."""

import dataclasses
import functools
import zipfile
from pathlib import Path

import numpy as np
import yaml

from vision.data.dataset import DataConfig, load_dataset
from vision.errors import UserError
from vision.files import read_json


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
        try:
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
        except (ValueError, TypeError, KeyError, OSError, zipfile.BadZipFile) as error:
            raise UserError(f"{path}: cannot be loaded ({str(error).strip().splitlines()[0][:200]})") from error
        shapes = getattr(model, "input_shape", None), getattr(model, "output_shape", None)
        ok = all(isinstance(shape, tuple) for shape in shapes) and len(shapes[0]) == 4 and shapes[0][-1] == 3
        if not ok or shapes[1] != (None, len(self.class_names)):
            raise UserError(
                f"{path}: no classifier of this run's {len(self.class_names)} classes (maps {shapes[0]} to {shapes[1]})"
            )
        return model

    def dataset(self, progress=None):
        """The `vision.data.dataset.Dataset` that the run was trained and validated on, split in the same way.

        Raises:
            UserError: the data is gone, or has other classes now.
        """
        names = {field.name for field in dataclasses.fields(DataConfig)}
        values = {name: value for name, value in self.config.items() if name in names}
        values["image_size"] = self.image_size
        dataset = load_dataset(DataConfig(**values), self.config.get("seed", 0), progress)
        if list(dataset.class_names) != self.class_names:
            raise UserError(f"--data {values['data']}: has other classes than {self.path} was trained on")
        return dataset


def open_run(folder):
    """Open a run folder.

    Raises:
        UserError: it is none, or a file in it is missing or torn.
    """
    path = Path(folder)
    if not (path / "config.yaml").is_file():
        what = "not a run folder (no config.yaml in it)" if path.is_dir() else "no such run folder"
        raise UserError(f"{folder}: {what}")
    try:
        config = yaml.safe_load((path / "config.yaml").read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        config = None
    if not isinstance(config, dict):
        raise UserError(f"{path / 'config.yaml'}: not a YAML file of settings")
    class_names = read_json(path / "classes.json")
    if not (isinstance(class_names, list) and all(isinstance(name, str) for name in class_names)):
        raise UserError(f"{path / 'classes.json'}: missing or torn; the run folder is not complete")
    return FinishedRun(path, config, class_names)


def softmax(logits):
    """Probabilities of logits, float64, over the last axis."""
    exponents = np.exp(np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)
