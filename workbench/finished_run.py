"""A finished run, opened from its folder alone: its model, its classes, and the data it was trained on."""

import dataclasses
import functools
import os
import shlex
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from workbench import cli
from workbench.commandline.calls import format_call
from workbench.config import DataConfig, option_names
from workbench.console import DecodingProgress, console
from workbench.data.dataset import Dataset, load_dataset
from workbench.data.splits.groups import NO_GROUPS
from workbench.data.splits.kept_split import DataChanged, Use, open_kept_split
from workbench.data.splits.saved_split import SPLIT
from workbench.errors import UserError
from workbench.files import file_hash, read_json, read_yaml
from workbench.saved_metrics import find_damage
from workbench.wording import format_count

if TYPE_CHECKING:
    import keras


class _LoadedModel(NamedTuple):
    """A model in memory, and the SHA-256 of its file."""

    model: "keras.Model"
    sha256: str


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """The content of a run folder.

    Attributes:
        path: the folder.
        config: content of config.yaml, name -> value.
        class_names: names of the classes, in the order of the labels.
        moved_data: where the run's data is now; None if it is where it was.
        output: folder that gets results, figures and the report in place of the run folder; None for the run folder.
    """

    path: Path
    config: dict[str, Any]
    class_names: list[str]
    moved_data: str | None = None
    output: Path | None = None

    def __fspath__(self) -> str:
        """Return the folder, so that a run can be given wherever a path can."""
        return str(self.path)

    @property
    def results_path(self) -> Path:
        """The folder that results, figures and the report are written to."""
        return self.output or self.path

    def find_result(self, name: str) -> Path:
        """Return the path of a file of results: the one in `results_path`, or else the one in the run folder."""
        path = self.results_path / name
        return path if path.exists() else self.path / name

    @property
    def name(self) -> str:
        """Name of the run."""
        return self.path.resolve().name

    @property
    def image_size(self) -> int:
        """Side of the model's square input in pixels."""
        return self.model.input_shape[1]

    @property
    def keeps_split(self) -> bool:
        """Whether the run keeps its split; one of an earlier version does not, and its split is drawn again."""
        return (self.path / SPLIT).exists()

    @property
    def metrics(self) -> dict[str, Any]:
        """Content of metrics.json; empty if the file is missing or incomplete.

        Raises:
            UserError: a number in it is missing or no number.
        """
        path = self.find_result("metrics.json")
        metrics = read_json(path)
        if not isinstance(metrics, dict):
            return {}
        damage = find_damage(metrics)
        if damage:
            raise UserError(
                f"{path}: damaged ({damage}); restore the file, or move it away and test again with "
                f"{format_call('workbench.evaluate')} {shlex.quote(str(self.path))}"
            )
        return metrics

    def check_is_single(self) -> None:
        """Refuse the folder of a cross-validation, whose models are those of its folds.

        Raises:
            UserError: it is one; names the folder of a fold.
        """
        _refuse_folds(self.path, self.config)

    @property
    def data_config(self) -> DataConfig:
        """The data options of the run.

        Raises:
            UserError: config.yaml names no data, or has a value that is not allowed.
        """
        where = self.path / "config.yaml"
        values = {name: self.config[name] for name in option_names(DataConfig) if name in self.config}
        if "data" not in values:
            raise UserError(f"{where}: names no data; was it written by another program?")
        if not self.keeps_split:
            values.setdefault("groups", NO_GROUPS)  # earlier versions drew the split without groups
        if self.moved_data:
            values["data"] = self.moved_data
        return cli.from_values(DataConfig, values, where=where)

    def move_data(self, data: str) -> "FinishedRun":
        """Return the run with its data at another place. A model that is loaded already is shared."""
        moved = dataclasses.replace(self, moved_data=data)
        if "_loaded" in vars(self):
            vars(moved)["_loaded"] = self._loaded  # where the cached property looks for it
        return moved

    @property
    def model(self) -> "keras.Model":
        """The Keras model, from uint8 RGB images to logits. It is loaded once.

        Raises:
            UserError: there is no model, it cannot be loaded, or it is not a classifier of the run's classes.
        """
        return self._loaded.model

    @functools.cached_property
    def _loaded(self) -> _LoadedModel:
        """The model and the hash of its file."""
        import keras  # imported late: a report, or a comparison of tested runs, must not wait for TensorFlow

        path = self.path / "model.keras"
        self.check_is_single()
        if not path.exists():
            raise UserError(f"{self.path}: has no model.keras; is the run finished?")
        if not zipfile.is_zipfile(path):
            raise UserError(f"{path}: incomplete, or not a Keras model")
        sha256 = file_hash(path, "sha256")  # first: if the file is replaced now, results do not count for the new one
        try:
            model = keras.saving.load_model(path, compile=False, safe_mode=True)
        except Exception as error:  # a damaged or foreign file can raise nearly any exception in the loader
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            raise UserError(f"{path}: cannot be loaded ({reason})") from error
        _check_classifier(path, model, len(self.class_names))
        model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)  # called with one tensor, not a list
        model.jit_compile = False  # XLA would compile for each size of a batch, and cannot do so on every GPU
        return _LoadedModel(model, sha256)

    def hash_model(self) -> str | None:
        """Return the SHA-256 of the model file, which says whether test results belong to it; None without a model.

        Once the model is loaded, it is that of the file that was loaded: a training may have replaced it since then.
        """
        if "_loaded" in vars(self):
            return self._loaded.sha256
        path = self.path / "model.keras"
        try:
            found = path.stat()
            return _hash_version(path, found.st_ino, found.st_size, found.st_mtime_ns)
        except FileNotFoundError:
            return None

    def has_changed_since(self, test: Mapping[str, Any]) -> bool:
        """Return whether the model is another one than that of a test; False where that is not known.

        Args:
            test: metrics of a test or an evaluation; earlier versions did not save the model's hash in them.
        """
        present = self.hash_model()
        return present is not None and test.get("model_sha256") not in (None, present)

    def load_dataset(self, progress: DecodingProgress | None = None, use: Use = "look") -> Dataset:
        """Load the data that the run was trained and validated on, with the split that the run keeps.

        What has changed in the data since then is printed.

        Args:
            progress: shows the decoding of the images; see `workbench.data.dataset.load_dataset`.
            use: what the images are needed for. To test the model, all its test images must be as they were.

        Raises:
            UserError: the data is missing, has other classes now, or has changed in a way that `use` does not allow.
        """
        config = dataclasses.replace(self.data_config, image_size=self.image_size)
        seed = self.config.get("seed", 0)
        if not isinstance(seed, int):
            raise UserError(f"{self.path / 'config.yaml'}: seed {seed!r} is not a whole number")
        kept = open_kept_split(self.path, use)  # else the split is drawn again
        try:
            dataset = load_dataset(config, seed, progress, kept)
        except UserError as error:
            if self.moved_data or isinstance(error, DataChanged):
                raise
            raise UserError(
                f"the data of {self.path / 'config.yaml'}: {error}; if it has moved, name its new place with --data"
            ) from error
        if list(dataset.class_names) != self.class_names:
            raise UserError(f"--data {config.data}: has other classes than those {self.path} was trained on")
        if kept is None and use == "test" and not dataset.left_out:
            self._check_counts(dataset)
        for line in dataset.changes:
            console.print(line)
        return dataset

    def _check_counts(self, dataset: Dataset) -> None:
        """Refuse data with other numbers of test images than the run was tested on, where it keeps no split.

        Raises:
            UserError: names the first class whose number differs.
        """
        tested = self.metrics.get("test")
        rows = tested.get("per_class") if isinstance(tested, dict) else None
        counts = np.bincount(dataset.labels[dataset.test], minlength=len(self.class_names)).tolist()
        before = [row.get("images") for row in rows or () if isinstance(row, dict)]
        for name, count, old in zip(self.class_names, counts, before, strict=False):
            if count != old:
                images = format_count(count, "test image")
                raise UserError(
                    f"--data {self.data_config.data}: has {images} of '{name}', and {self.path} was tested on {old}; "
                    "the data has changed, and this run of an earlier version keeps no split: restore the data, or "
                    "train again"
                )


def open_run(folder: str | os.PathLike, *, data: str | None = None, output: str | Path | None = None) -> FinishedRun:
    """Open a run folder.

    Args:
        folder: of the run.
        data: where its data is now, if it has moved.
        output: folder that gets results in place of the run folder, such as one that can be written; it is created.

    Raises:
        UserError: it is not a run folder, a file in it is missing or incomplete, or the output cannot be created.
    """
    path = Path(folder)
    if not (path / "config.yaml").is_file():
        reason = "no such run folder"
        if path.exists():
            reason = "not a run folder (it has no config.yaml)" if path.is_dir() else "a file; give the run's folder"
        raise UserError(f"{folder}: {reason}")
    try:
        config = read_yaml(path / "config.yaml")
    except UserError as error:
        reason = str(error).removeprefix(f"{path / 'config.yaml'}: ")
        raise UserError(f"{path / 'config.yaml'}: not a YAML file of options ({reason})") from None
    if not isinstance(config, dict):
        raise UserError(f"{path / 'config.yaml'}: not a YAML file of options")
    class_names = read_json(path / "classes.json")
    names = class_names if isinstance(class_names, list) else []
    if len(names) < 2 or not all(isinstance(name, str) for name in names):
        _refuse_folds(path, config)
        raise UserError(f"{path / 'classes.json'}: missing or incomplete; the run folder is not complete")
    if output is not None:
        try:
            Path(output).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out {output}: {error.strerror}") from error
    return FinishedRun(path, config, names, data, None if output is None else Path(output))


def _refuse_folds(path: Path, config: Mapping[str, Any]) -> None:
    """Refuse the folder of a cross-validation; see `FinishedRun.check_is_single`."""
    if config.get("folds"):
        raise UserError(
            f"{path}: a cross-validation, which has no model of its own; give the same command the run of a fold, such "
            f"as {shlex.quote(str(path / 'fold-1'))}"
        )


@functools.lru_cache(maxsize=4096)
def _hash_version(path: Path, *version: int) -> str:
    """Return the SHA-256 of a file, which is read once for each `version`: its inode, size and time."""
    return file_hash(path, "sha256")


def _check_classifier(path: Path, model: "keras.Model", num_classes: int) -> None:
    """Refuse a model that does not classify square RGB images into this many classes, by logits."""
    input_shape: Any = getattr(model, "input_shape", None)
    output_shape: Any = getattr(model, "output_shape", None)
    is_image = isinstance(input_shape, tuple) and len(input_shape) == 4 and input_shape[3] == 3
    is_square = is_image and isinstance(input_shape[1], int) and input_shape[1] == input_shape[2]
    if not is_square or output_shape != (None, num_classes):
        shapes = f"input {input_shape}, output {output_shape}"
        raise UserError(f"{path}: not a classifier of this run's {num_classes} classes ({shapes})")
    if getattr(getattr(model.layers[-1], "activation", None), "__name__", "") == "softmax":
        raise UserError(f"{path}: ends in a softmax; expected a model that returns logits")
