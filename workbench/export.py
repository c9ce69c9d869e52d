"""Export a finished run's model to another format, and check on real images what the export costs in accuracy."""

import sys

from workbench import cli
from workbench.commands import EXPORT, ExportConfig

if __name__ == "__main__":  # parse first: the imports below load TensorFlow
    sys.exit(cli.main(EXPORT))

import contextlib
import dataclasses
import importlib.util
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from workbench.console import console, show_decoding
from workbench.errors import UserError
from workbench.evaluation.calibration.saved_calibration import read_calibration
from workbench.exporting.calibrated import divide_logits
from workbench.exporting.ensemble import build_ensemble_model, describe_members, load_ensemble
from workbench.exporting.format import Format, Predict
from workbench.exporting.litert import LITERT
from workbench.exporting.onnx import ONNX
from workbench.exporting.openvino import OPENVINO
from workbench.exporting.readme import describe_use
from workbench.exporting.savedmodel import SAVEDMODEL
from workbench.exporting.space import SPACE, Page, write_page
from workbench.files import format_bytes, write_json, write_text
from workbench.finished_run import open_run
from workbench.runtime import hold_back_stderr, turn_off_tf32
from workbench.wording import format_count

FORMATS = {
    "savedmodel": SAVEDMODEL,
    "litert": LITERT,
    "tflite": LITERT,
    "onnx": ONNX,
    "openvino": OPENVINO,
    "space": SPACE,
}
CHECKED_IMAGES = 500  # validation images
CALIBRATION_IMAGES = 100  # training images
BATCH_SIZE = 32
LOGIT_TOLERANCE = 1e-3  # of the largest logit: differences in the order of float32 sums are well below it


@dataclasses.dataclass(frozen=True)
class Exported:
    """A finished export.

    Attributes:
        path: of the file, or of the folder of a SavedModel or an OpenVINO model.
        images: number of validation images on which it was checked.
        accuracy: share of them that the export classifies correctly.
        keras_accuracy: share of them that the Keras model classifies correctly.
        difference: largest absolute difference between the export's logits and those of the Keras model.
        largest: largest absolute logit of the Keras model.
        same_class: number of images for which both predict the same class.
    """

    path: Path
    images: int
    accuracy: float
    keras_accuracy: float
    difference: float
    largest: float
    same_class: int


def export(config: ExportConfig) -> Exported:
    """Convert a run's model, and keep the result only if it classifies validation images as well as the Keras model.

    With `--ensemble` it is that of several trials of a sweep, see `workbench/exporting/ensemble.py`.

    In every format the model takes uint8 RGB images (batch, size, size, 3) and returns float32 logits
    (batch, num_classes). If the run has a calibration, they are those of the Keras model divided by its temperature. In
    float32 it must return the same logits; in float16 and int8 it may lose as much accuracy
    as the option `tolerance` allows. The names of the classes are saved in classes.json in the same folder,
    and README.txt there says how images are resized.

    Raises:
        UserError: the run or its data cannot be opened, a library is missing, the format does not have the number
            format, or the export is worse than allowed.
    """
    form = _choose_format(config)
    run = open_run(config.run, data=config.data)
    default = run.path / "export" / ("ensemble" if config.ensemble else "")
    target = (Path(config.output) if config.output else default) / form.name_file(config.precision)
    _check_target(target, form)
    dataset = run.load_dataset(show_decoding, use="validate")
    model = run.model
    if config.ensemble:
        members = load_ensemble(run)
        model = build_ensemble_model(members)
        console.print(describe_members(members))
    calibrated = None if config.ensemble else read_calibration(run)
    if calibrated:
        model = divide_logits(model, calibrated.temperature)
        console.print(calibrated.describe())
    model.jit_compile = False  # as in `FinishedRun.model`, of which it may be a copy
    if config.precision == "int8" and not len(dataset.train):
        raise UserError(
            f"--precision int8: is calibrated on training images, and {run.data_config.data} has none of those of "
            f"{run.path}; name the data that it was trained on with --data, or choose another --precision"
        )
    checked = _spread(dataset.validation, CHECKED_IMAGES)
    images, labels = dataset.images[checked], dataset.labels[checked]
    calibration = dataset.images[_spread(dataset.train, CALIBRATION_IMAGES)]
    expected = _run_in_batches(model.predict_on_batch, images)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=target.parent) as folder:
        temporary = Path(folder) / target.name
        logits = _convert(config, model, temporary, calibration, images)
        exported = _compare(target, expected, logits, labels)
        _check(exported, config)
        if form is SPACE:
            page = Page(run.name, run.class_names, run.data_config.resize, calibrated)
            write_page(temporary, page, images, labels.tolist())
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(temporary, target)
    write_json(target.parent / "classes.json", run.class_names)
    use = describe_use(run.image_size, run.data_config.resize, len(run.class_names), calibrated)
    write_text(target.parent / "README.txt", use)
    console.print(f"{target} ({format_bytes(_count_bytes(target))})", *_summarize(exported, config), sep="\n")
    return exported


def _choose_format(config: ExportConfig) -> Format:
    """Return the format.

    Raises:
        UserError: it does not have the number format, or one of its libraries is not installed.
    """
    form = FORMATS[config.format]
    if config.precision not in form.writers:
        *able, last = (name for name, other in FORMATS.items() if config.precision in other.writers)
        choice = f"{', '.join(able)} or {last}"
        raise UserError(f"--precision {config.precision}: --format {config.format} does not have it; choose {choice}")
    if not 0 <= config.tolerance <= 1:
        raise UserError(f"--tolerance {config.tolerance}: must be between 0 and 1, a share of the images")
    missing = [name for module, name in form.libraries.items() if importlib.util.find_spec(module) is None]
    if missing:
        install = f"pip install {' '.join(missing)}"
        raise UserError(f"--format {config.format}: needs {' and '.join(missing)}; {install}")
    return form


def _check_target(target: Path, form: Format) -> None:
    """Refuse to replace a folder that no export has written."""
    if target.is_dir() and not (form.marker and (target / form.marker).exists()):
        raise UserError(
            f"{target}: is a folder but not an exported model, and is not replaced; choose another --output"
        )
    added = sorted({path.name for path in target.iterdir()} - {*form.files}) if form.files and target.is_dir() else []
    if added:
        raise UserError(
            f"{target}: holds {added[0]}, which no export has written, and is not replaced; choose another --output, "
            "and copy the files from there"
        )


def _spread(rows: np.ndarray, count: int) -> np.ndarray:
    """Return up to `count` rows, spread evenly over the classes: images of one class are next to each other."""
    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)]


def _convert(
    config: ExportConfig, model: keras.Model, path: Path, calibration: np.ndarray, images: np.ndarray
) -> np.ndarray:
    """Write the converted model to `path`, load it again, and return its logits for the images."""
    form = FORMATS[config.format]
    failure: Exception | None = None
    with _silence():
        try:
            form.writers[config.precision](model, path, calibration)
            return _run_in_batches(form.load(path), images)
        except Exception as error:  # a converter can raise nearly any exception for a layer that it does not know
            failure = error
    reason = " ".join(str(failure).split())[:300]
    raise UserError(f"{config.run}: cannot be converted to {_name(config)} ({reason})") from failure


def _run_in_batches(predict: Predict, images: np.ndarray) -> np.ndarray:
    """Return the logits of all images, computed in full precision, so that those of a GPU and a processor agree."""
    starts = range(0, len(images), BATCH_SIZE)
    with turn_off_tf32():
        return np.concatenate([predict(images[start : start + BATCH_SIZE]) for start in starts])


def _compare(path: Path, expected: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> Exported:
    """Compare the logits of an export with the expected ones and the true classes."""
    classes, keras_classes = logits.argmax(axis=1), expected.argmax(axis=1)
    return Exported(
        path,
        images=len(labels),
        accuracy=float((classes == labels).mean()),
        keras_accuracy=float((keras_classes == labels).mean()),
        difference=float(np.abs(logits - expected).max()),
        largest=float(np.abs(expected).max()),
        same_class=int((classes == keras_classes).sum()),
    )


def _check(exported: Exported, config: ExportConfig) -> None:
    """Refuse an export that computes something else, or that loses more accuracy than is allowed.

    Raises:
        UserError: says by how much, and what can be done.
    """
    problem = None
    if not np.isfinite(exported.difference):
        problem = f"as {_name(config)} the model returns logits that are not finite; choose another --precision"
    elif config.precision == "float32" and exported.difference > LOGIT_TOLERANCE * max(1, exported.largest):
        problem = f"as {_name(config)} the model returns other logits, by up to {exported.difference:.2g}"
    elif exported.keras_accuracy - exported.accuracy > config.tolerance:
        loss = f"{exported.keras_accuracy:.1%} to {exported.accuracy:.1%}"
        problem = (
            f"as {_name(config)} the accuracy on {format_count(exported.images, 'validation image')} falls from "
            f"{loss}, by more than --tolerance {config.tolerance:g}; allow more, or choose another --precision"
        )
    if problem:
        raise UserError(f"{config.run}: {problem}; nothing was written")


def _summarize(exported: Exported, config: ExportConfig) -> Iterator[str]:
    """Yield the lines that say what the export costs."""
    images = format_count(exported.images, "validation image")
    yield f"accuracy on {images}: {exported.keras_accuracy:.1%} in Keras, {exported.accuracy:.1%} as {_name(config)}"
    yield (
        f"logits within {exported.difference:.1e} of the Keras model's (largest {exported.largest:.1f}), same class on "
        f"{exported.same_class} of {exported.images}"
    )


def _name(config: ExportConfig) -> str:
    """Return `tflite`, or with a number format `tflite in int8`."""
    return config.format if config.precision == "float32" else f"{config.format} in {config.precision}"


def _count_bytes(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Suppress the progress messages of converters and interpreters. Errors are raised."""
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        hold_back_stderr(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield
