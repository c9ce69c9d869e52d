"""Export a finished run's model to SavedModel, TensorFlow Lite or ONNX, checked on real images."""

import contextlib
import dataclasses
import importlib.util
import os
import shutil
import tempfile
import typing
import warnings
from pathlib import Path

import numpy as np

from workbench import cli
from workbench.errors import UserError
from workbench.files import write_json
from workbench.finished_run import open_run

CHECKED_IMAGES = 32
TOLERANCE = 1e-3  # of the logits, relative to the largest: float32 sums in another order stay well below it
ONNX_OPSET = 18


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Export.

    Args:
        run: Folder of a finished run or sweep.
        format: `savedmodel` for TensorFlow Serving, `tflite` for phones, `onnx` for ONNX Runtime.
        output: Folder that the export goes to; by default export/ in the run folder.
    """

    run: str | None = cli.positional()
    format: typing.Literal["savedmodel", "tflite", "onnx"] = "savedmodel"
    output: str | None = None


@dataclasses.dataclass(frozen=True)
class Exported:
    """A finished export.

    Attributes:
        path: of the file, or of SavedModel's folder.
        images: how many real images it was checked on.
        difference: largest absolute difference between its logits and the Keras model's.
        largest: largest absolute logit of the Keras model.
        same_class: on how many of the images both predict the same class.
    """

    path: Path
    images: int
    difference: float
    largest: float
    same_class: int


def export(config):
    """Convert a run's model, and keep the result only if it computes the same as the Keras model.

    Whatever the format, it takes uint8 RGB images (batch, size, size, 3) and gives logits (batch, num_classes);
    `classes.json` beside it names the classes.

    Args:
        config: an `ExportConfig`.

    Returns:
        An `Exported`.

    Raises:
        UserError: the run or its data cannot be opened, a library is missing, or the outputs differ.
    """
    run = open_run(config.run)
    _check_libraries(config.format)
    from workbench.runtime import load_tensorflow

    load_tensorflow()
    from workbench.console import console, decoding_progress

    file_name, *_ = FORMATS[config.format]
    target = (Path(config.output) if config.output else run.path / "export") / file_name
    if target.is_dir() and not (target / "saved_model.pb").exists():
        raise UserError(f"{target}: is a folder, and no SavedModel that could be replaced; choose another --output")
    model, images = run.model, _real_images(run.dataset(decoding_progress))
    expected = model.predict_on_batch(images)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=target.parent) as folder:
        made = Path(folder) / file_name
        exported = _compared(target, expected, _convert(config, model, made, images))
        if not exported.difference <= TOLERANCE * max(1, exported.largest):
            raise UserError(
                f"{run.path}: as {config.format} the model gives other logits, by up to {exported.difference:.2g}; "
                "nothing was written"
            )
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(made, target)
    write_json(target.parent / "classes.json", run.class_names)
    console.print(
        f"{exported.path}\nchecked on {exported.images} images of the run's data: logits within "
        f"{exported.difference:.1e} of the Keras model's (largest {exported.largest:.1f}), same class on "
        f"{exported.same_class} of {exported.images}"
    )
    return exported


def _convert(config, model, path, images):
    """Write the converted model to `path`; its logits for `images`."""
    _, convert, runner = FORMATS[config.format]
    failure = None
    with _quiet():
        try:
            convert(model, path)
            return runner(path)(images)
        except Exception as error:  # a converter can raise nearly anything for a layer that it does not know
            failure = error
    reason = " ".join(str(failure).split())[:300]
    raise UserError(f"{config.run}: cannot be converted to {config.format} ({reason})") from failure


def _real_images(dataset):
    """Test images (validation images where there are none) spread evenly over the classes."""
    rows = dataset.test if len(dataset.test) else dataset.validation
    chosen = np.linspace(0, len(rows) - 1, min(CHECKED_IMAGES, len(rows))).round().astype(int)
    return dataset.images[rows[chosen]]


def _compared(path, expected, got):
    same_class = int((expected.argmax(axis=1) == got.argmax(axis=1)).sum())
    difference, largest = float(np.abs(got - expected).max()), float(np.abs(expected).max())
    return Exported(path, len(expected), difference, largest, same_class)


def _check_libraries(format_name):
    needed = {"onnx": ("tf2onnx", "onnxruntime")}.get(format_name, ())
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"--format {format_name}: needs {' and '.join(missing)}; pip install {' '.join(missing)}")


@contextlib.contextmanager
def _quiet():
    """Without the converters' progress reports; what matters is raised."""
    from workbench.runtime import hold_back_stderr

    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        hold_back_stderr(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield


def _to_savedmodel(model, path):
    model.export(path, format="tf_saved_model", verbose=False)


def _savedmodel(path):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    return lambda images: loaded.serve(images).numpy()


def _to_tflite(model, path):
    import tensorflow as tf

    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())


def _tflite(path):
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(model_path=str(path))
    (image,), (logits,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(images):
        interpreter.resize_tensor_input(image["index"], images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(image["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(logits["index"])

    return run


def _to_onnx(model, path):
    """By way of a frozen graph: Keras' own export leaves the normalisation's constants as inputs to be fed."""
    import tensorflow as tf
    import tf2onnx
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    image = tf.TensorSpec(model.inputs[0].shape, tf.uint8, name="image")
    frozen = convert_variables_to_constants_v2(tf.function(model).get_concrete_function(image))
    (taken,), (given,) = frozen.inputs, frozen.outputs
    tf2onnx.convert.from_graph_def(
        frozen.graph.as_graph_def(),
        input_names=[taken.name],
        output_names=[given.name],
        tensors_to_rename={taken.name: "image", given.name: "logits"},
        custom_op_handlers={"Erfc": (_erfc, [])},
        opset=ONNX_OPSET,
        output_path=str(path),
    )


def _erfc(graph, node, name, _):
    """Erfc, which GELU is made of, as 1 - Erf: ONNX knows the latter alone."""
    erf = graph.make_node("Erf", node.input, shapes=node.output_shapes, dtypes=node.output_dtypes)
    one = graph.make_const(f"{name}/one", np.ones((), np.float32))
    graph.remove_node(name)
    graph.make_node("Sub", [one.output[0], erf.output[0]], outputs=node.output, name=name)


def _onnx(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: session.run(["logits"], {"image": images})[0]


FORMATS = {
    "savedmodel": ("savedmodel", _to_savedmodel, _savedmodel),
    "tflite": ("model.tflite", _to_tflite, _tflite),
    "onnx": ("model.onnx", _to_onnx, _onnx),
}


def main(argv=None):
    """Run the command line."""
    cli.main(export, ExportConfig, prog="python -m workbench.export", description=__doc__, argv=argv)


if __name__ == "__main__":
    main()
