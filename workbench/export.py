"""Export a finished run's model to SavedModel, TensorFlow Lite or ONNX, and check the export on real images."""

import sys

from workbench import cli
from workbench.commands import ExportConfig, check_run

if __name__ == "__main__":  # parse first: the imports below load TensorFlow
    sys.exit(cli.main(ExportConfig, "workbench.export:export", description=__doc__, before=check_run))

import contextlib
import dataclasses
import importlib.util
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from workbench.console import console, show_decoding
from workbench.data.dataset import Dataset
from workbench.errors import UserError
from workbench.files import write_json
from workbench.finished_run import open_run
from workbench.runtime import hold_back_stderr
from workbench.wording import format_count

CHECKED_IMAGES = 32
TOLERANCE = 1e-3  # of the largest logit: differences in the order of float32 sums are well below it
ONNX_OPSET = 18

Predict = Callable[[np.ndarray], np.ndarray]  # from uint8 images to logits


class Format(NamedTuple):
    """A format of exported models.

    Attributes:
        file_name: name of the exported file or folder.
        write: writes a model to a path.
        load: loads an exported model from a path, and returns a function from images to logits.
    """

    file_name: str
    write: Callable[[keras.Model, Path], None]
    load: Callable[[Path], Predict]


@dataclasses.dataclass(frozen=True)
class Exported:
    """A finished export.

    Attributes:
        path: of the file, or of the folder of a SavedModel.
        images: number of real images on which it was checked.
        difference: largest absolute difference between its logits and those of the Keras model.
        largest: largest absolute logit of the Keras model.
        same_class: number of images for which both predict the same class.
    """

    path: Path
    images: int
    difference: float
    largest: float
    same_class: int


def export(config: ExportConfig) -> Exported:
    """Convert a run's model, and keep the result only if it computes the same logits as the Keras model.

    In every format the model takes uint8 RGB images (batch, size, size, 3) and returns logits (batch, num_classes).
    The names of the classes are saved in classes.json in the same folder.

    Raises:
        UserError: the run or its data cannot be opened, a library is missing, or the logits differ.
    """
    run = open_run(config.run, data=config.data)
    _check_libraries(config.format)
    file_name = FORMATS[config.format].file_name
    target = (Path(config.output) if config.output else run.path / "export") / file_name
    if target.is_dir() and not (target / "saved_model.pb").exists():
        raise UserError(f"{target}: is a folder but not a SavedModel, and is not replaced; choose another --output")
    images = _select_images(run.load_dataset(show_decoding))
    expected = run.model.predict_on_batch(images)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=target.parent) as folder:
        temporary = Path(folder) / file_name
        exported = _compare(target, expected, _convert(config, run.model, temporary, images))
        if not exported.difference <= TOLERANCE * max(1, exported.largest):
            raise UserError(
                f"{run.path}: as {config.format} the model returns other logits, by up to {exported.difference:.2g}; "
                "nothing was written"
            )
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(temporary, target)
    write_json(target.parent / "classes.json", run.class_names)
    console.print(
        f"{exported.path}\nchecked on {format_count(exported.images, 'image')} of the run's data: logits within "
        f"{exported.difference:.1e} of the Keras model's (largest {exported.largest:.1f}), same class on "
        f"{exported.same_class} of {exported.images}"
    )
    return exported


def _convert(config: ExportConfig, model: keras.Model, path: Path, images: np.ndarray) -> np.ndarray:
    """Write the converted model to `path`, and return its logits for `images`."""
    form = FORMATS[config.format]
    failure: Exception | None = None
    with _silence():
        try:
            form.write(model, path)
            return form.load(path)(images)
        except Exception as error:  # a converter can raise nearly any exception for a layer that it does not know
            failure = error
    reason = " ".join(str(failure).split())[:300]
    raise UserError(f"{config.run}: cannot be converted to {config.format} ({reason})") from failure


def _select_images(dataset: Dataset) -> np.ndarray:
    """Return test images (or validation images, if there are none), spread evenly over the classes."""
    rows = dataset.test if len(dataset.test) else dataset.validation
    chosen = np.linspace(0, len(rows) - 1, min(CHECKED_IMAGES, len(rows))).round().astype(int)
    return dataset.images[rows[chosen]]


def _compare(path: Path, expected: np.ndarray, logits: np.ndarray) -> Exported:
    """Compare the logits of an export with the expected ones."""
    same_class = int((expected.argmax(axis=1) == logits.argmax(axis=1)).sum())
    difference, largest = float(np.abs(logits - expected).max()), float(np.abs(expected).max())
    return Exported(path, len(expected), difference, largest, same_class)


def _check_libraries(format_name: str) -> None:
    """Refuse a format whose optional libraries are not installed."""
    needed = {"onnx": ("tf2onnx", "onnxruntime")}.get(format_name, ())
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"--format {format_name}: needs {' and '.join(missing)}; pip install {' '.join(missing)}")


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Suppress the progress messages of the converters. Errors are raised."""
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        hold_back_stderr(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


def _write_savedmodel(model: keras.Model, path: Path) -> None:
    model.export(path, format="tf_saved_model", verbose=False)


def _load_savedmodel(path: Path) -> Predict:
    loaded = tf.saved_model.load(str(path))
    return lambda images: loaded.serve(images).numpy()


def _write_tflite(model: keras.Model, path: Path) -> None:
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())


def _load_tflite(path: Path) -> Predict:
    interpreter = tf.lite.Interpreter(model_path=str(path))
    (image,), (logits,) = interpreter.get_input_details(), interpreter.get_output_details()

    def predict(images: np.ndarray) -> np.ndarray:
        interpreter.resize_tensor_input(image["index"], images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(image["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(logits["index"])

    return predict


def _write_onnx(model: keras.Model, path: Path) -> None:
    """Convert a frozen graph: Keras' own ONNX export makes inputs of the constants of the normalization."""
    import tf2onnx  # optional; `_check_libraries` has found it

    image = tf.TensorSpec(model.inputs[0].shape, tf.uint8, name="image")
    frozen = convert_variables_to_constants_v2(tf.function(model).get_concrete_function(image))
    (images,), (logits,) = frozen.inputs, frozen.outputs
    tf2onnx.convert.from_graph_def(
        frozen.graph.as_graph_def(),
        input_names=[images.name],
        output_names=[logits.name],
        tensors_to_rename={images.name: "image", logits.name: "logits"},
        custom_op_handlers={"Erfc": (_convert_erfc, [])},
        opset=ONNX_OPSET,
        output_path=str(path),
    )


def _convert_erfc(graph: Any, node: Any, name: str, _: Any) -> None:
    """Replace Erfc, a part of GELU, by 1 - Erf: ONNX has only Erf. The arguments are those of tf2onnx."""
    erf = graph.make_node("Erf", node.input, shapes=node.output_shapes, dtypes=node.output_dtypes)
    one = graph.make_const(f"{name}/one", np.ones((), np.float32))
    graph.remove_node(name)
    graph.make_node("Sub", [one.output[0], erf.output[0]], outputs=node.output, name=name)


def _load_onnx(path: Path) -> Predict:
    import onnxruntime  # optional; `_check_libraries` has found it

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: session.run(["logits"], {"image": images})[0]


FORMATS = {
    "savedmodel": Format("savedmodel", _write_savedmodel, _load_savedmodel),
    "tflite": Format("model.tflite", _write_tflite, _load_tflite),
    "onnx": Format("model.onnx", _write_onnx, _load_onnx),
}
