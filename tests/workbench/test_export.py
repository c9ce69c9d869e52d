import dataclasses
import importlib
import json
import runpy
import shutil
import sys
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml
from PIL import Image

from cnn_scratch.config import NetworkConfig, TuneConfig
from cnn_scratch.model import build_cnn
from cnn_scratch.tune import tune
from workbench.commands import ExplainConfig, ExportConfig
from workbench.config import build
from workbench.data.decoding import decode
from workbench.data.splits.saved_split import read_split
from workbench.errors import UserError
from workbench.evaluation.calibration.saved_calibration import fit_calibration
from workbench.evaluation.probabilities import softmax
from workbench.explain import explain
from workbench.export import FORMATS, export
from workbench.exporting import litert
from workbench.exporting.format import Format
from workbench.files import write_json
from workbench.finished_run import open_run
from workbench.sweep.analysis.sweep_analysis import analyse_sweep
from workbench.sweep.image_hypermodel import load_weights
from workbench.sweep.results import read_results


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)


def keras_logits(run, images):
    return np.asarray(keras.saving.load_model(run / "model.keras")(images, training=False))


def measure_accuracy(run, predict):
    """The accuracy of exported logits on the run's validation images."""
    dataset = open_run(run).load_dataset()
    logits = predict(dataset.images[dataset.validation])
    return float((logits.argmax(axis=1) == dataset.labels[dataset.validation]).mean())


def test_savedmodel_replaces_an_earlier_one(tiny_run, configure, images, capsys):
    configure(tiny_run, resize="pad")
    earlier = tiny_run / "export" / "savedmodel"
    earlier.mkdir(parents=True)
    for name in ("saved_model.pb", "earlier.txt"):
        (earlier / name).touch()
    exported = export(ExportConfig(str(tiny_run), "savedmodel"))
    assert exported.path == tiny_run / "export" / "savedmodel"
    assert not (earlier / "earlier.txt").exists()
    assert {path.name for path in exported.path.parent.iterdir()} == {"savedmodel", "classes.json", "README.txt"}
    loaded = tf.saved_model.load(str(exported.path))
    np.testing.assert_allclose(loaded.serve(images), keras_logits(tiny_run, images), atol=1e-4)
    assert json.loads((tiny_run / "export" / "classes.json").read_text()) == ["daisy", "iris", "rose"]
    use = (tiny_run / "export" / "README.txt").read_text()
    assert "Scale the long side to 32 pixels" in use
    assert "a square of RGB (128, 128, 128)" in use
    assert "logits (batch, 3)" in use
    dataset = open_run(tiny_run).load_dataset()
    assert exported.images == exported.same_class == len(dataset.validation)
    assert exported.accuracy == exported.keras_accuracy
    assert exported.accuracy == measure_accuracy(tiny_run, lambda images: loaded.serve(images).numpy())
    assert exported.difference < 1e-4
    printed = capsys.readouterr().out
    assert f"{exported.difference:.1e}" in printed
    assert f"{exported.accuracy:.1%} in Keras, {exported.accuracy:.1%} as savedmodel" in printed


def test_an_export_is_checked_in_full_precision(tiny_run, monkeypatch):
    """On new GPUs the logits of the Keras model would be those of TF32, and differ from those of a processor."""
    form, used, predict_on_batch = FORMATS["savedmodel"], [], keras.Model.predict_on_batch
    is_enabled = tf.config.experimental.tensor_float_32_execution_enabled

    def record(predict):
        def call(*given):
            used.append(is_enabled())
            return predict(*given)

        return call

    monkeypatch.setattr(keras.Model, "predict_on_batch", record(predict_on_batch))
    monkeypatch.setitem(FORMATS, "savedmodel", form._replace(load=lambda path: record(form.load(path))))
    export(ExportConfig(str(tiny_run)))
    assert used == [False, False]
    assert is_enabled()


@pytest.fixture
def calibration(tiny_run):
    """A calibration of the run, of temperature 2."""
    run = open_run(tiny_run)
    dataset = run.load_dataset()
    rows = dataset.validation
    logits = np.asarray(run.model(dataset.images[rows], training=False))
    fitted = fit_calibration(logits, dataset.labels[rows], run.hash_model())
    chosen = dataclasses.replace(fitted, temperature=2.0, unknown={**fitted.unknown, "threshold": 0.375})
    write_json(tiny_run / "calibration.json", dataclasses.asdict(chosen))
    return chosen


@pytest.mark.parametrize(("form", "precision"), [("savedmodel", "float32"), ("litert", "int8"), ("space", "float32")])
def test_the_temperature_is_a_part_of_the_export(tiny_run, calibration, images, form, precision, gradio, capsys):
    exported = export(ExportConfig(str(tiny_run), form, precision=precision, tolerance=0.5))
    logits, expected = FORMATS[form].load(exported.path)(images), keras_logits(tiny_run, images)
    np.testing.assert_allclose(logits, expected / 2, atol=1e-4 if precision == "float32" else 0.1)
    assert precision != "float32" or exported.same_class == exported.images
    assert calibration.describe() in capsys.readouterr().out
    use = (exported.path.parent / "README.txt").read_text()
    assert "calibrated probabilities (temperature 2.00, fitted on 6 validation images)" in use
    assert "unknown if its probability is below 0.375" in use
    if form == "space":
        assert "below 0.375" in (exported.path / "README.md").read_text()
        app = runpy.run_path(str(exported.path / "app.py"))
        assert app["PAGE"].description == "Below 37.5%, call the photo unknown."
        answer = app["classify"](Image.fromarray(images[0]))
        assert list(answer.values()) == pytest.approx(softmax(expected[0] / 2), abs=1e-5)


@pytest.fixture(scope="module")
def small_sweep(shared_red_and_blue, tmp_path_factory):
    """A sweep of two small trials."""
    folder = tmp_path_factory.mktemp("sweep")
    network = "num_filters: {value: 16}, dense_units: {value: 16}, epochs: {value: 1}"
    (folder / "space.yaml").write_text(f"parameters: {{{network}, seed: {{values: [0, 1]}}}}")
    options = {"data": str(shared_red_and_blue), "image_size": 32, "space": str(folder / "space.yaml")}
    places = {"runs_dir": str(folder / "runs"), "logs_dir": str(folder / "logs"), "name": "s", "workers": 0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workbench.sweep.running_sweep.leave_report", lambda folder: "none")
        return tune(build(TuneConfig, **options, **places))


@pytest.fixture
def choose_ensemble(small_sweep, monkeypatch):
    """A function that lets the ensemble of the sweep have these weights, from the best trial on."""

    def choose(*weights, gain=0.01):
        analysis = analyse_sweep(small_sweep, read_results(small_sweep))
        trials = [trial.id for trial in read_results(small_sweep).scored]
        chosen = dataclasses.replace(analysis.ensemble, weights=dict(zip(trials, weights, strict=False)), gain=gain)
        changed = dataclasses.replace(analysis, ensemble=chosen)
        monkeypatch.setattr("workbench.exporting.ensemble.analyse_sweep", lambda sweep, results: changed)
        return trials[: len(weights)]

    return choose


def test_an_ensemble_that_would_gain_nothing_is_not_exported(small_sweep, choose_ensemble):
    choose_ensemble(0.75, 0.25, gain=-0.012)
    with pytest.raises(UserError, match=r"is expected to gain accuracy on new images \(-1\.2 points\)"):
        export(ExportConfig(str(small_sweep), "onnx", ensemble=True))


@pytest.mark.parametrize("form", ["litert", "onnx"])
def test_an_ensemble_is_exported_as_one_model(small_sweep, choose_ensemble, form, request, capsys):
    if form == "onnx":
        request.getfixturevalue("onnxruntime")
    weights = 0.75, 0.25
    trials = choose_ensemble(*weights)
    exported = export(ExportConfig(str(small_sweep), form, ensemble=True))
    assert exported.path.parent == small_sweep / "export" / "ensemble"
    assert f"ensemble of the trials {trials[0]} (75%), {trials[1]} (25%)" in capsys.readouterr().out
    run = open_run(small_sweep)
    dataset, network = run.load_dataset(), run.model
    images = dataset.images[dataset.validation]
    expected = 0.0
    for trial, weight in zip(trials, weights, strict=True):
        network.set_weights(load_weights(small_sweep / "tuner" / f"trial_{trial}" / "weights.npz"))
        expected += weight * softmax(np.asarray(network(images, training=False)))
    logits = FORMATS[form].load(exported.path)(images)
    np.testing.assert_allclose(np.exp(logits), expected, atol=1e-4)


def test_what_has_no_ensemble_is_one_line(small_sweep, choose_ensemble, tiny_run):
    with pytest.raises(UserError, match=r"--ensemble: .* is not a sweep"):
        export(ExportConfig(str(tiny_run), ensemble=True))
    choose_ensemble(1.0)
    with pytest.raises(UserError, match=r"has no better ensemble than its trial \d alone"):
        export(ExportConfig(str(small_sweep), ensemble=True))


@pytest.fixture
def gradio(monkeypatch):
    """What the page of a Space uses of Gradio, without its server: the arguments of its interface."""
    part = types.SimpleNamespace
    module = types.SimpleNamespace(
        Image=lambda **options: part(**options),
        Label=lambda **options: part(**options),
        Interface=lambda function, *parts, **options: part(function=function, parts=parts, **options),
    )
    monkeypatch.setitem(sys.modules, "gradio", module)


@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
def test_a_space_runs_without_this_project(tiny_run, configure, gradio, resize, tmp_path):
    configure(tiny_run, resize=resize)
    exported = export(ExportConfig(str(tiny_run), "space"))
    assert exported.path == tiny_run / "export" / "space"
    assert exported.accuracy == exported.keras_accuracy
    files = {path.name for path in exported.path.iterdir()}
    assert files == {"app.py", "model.keras", "settings.json", "requirements.txt", "examples", "README.md"}
    head = (exported.path / "README.md").read_text().split("---")[1]
    assert yaml.safe_load(head)["sdk"] == "gradio"
    assert yaml.safe_load(head)["app_file"] == "app.py"
    assert yaml.safe_load(head)["python_version"] == "3.11"  # text: 3.10 would be read as 3.1 otherwise
    source = (exported.path / "app.py").read_text()
    assert "workbench" not in source
    assert "cnn_scratch" not in source
    app = runpy.run_path(str(exported.path / "app.py"))
    assert len(app["PAGE"].examples) == 3
    assert app["PAGE"].parts[0].image_mode is None  # transparent pixels reach `prepare`, which puts them on white
    noise = np.random.default_rng(0).integers(0, 256, (50, 81, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # a phone that was held upright
    photo, deep = Image.fromarray(noise), Image.fromarray(257 * noise[..., 0].astype(np.uint16))
    photo.save(tmp_path / "photo.jpg", exif=exif)
    photo.convert("L").save(tmp_path / "grey.png")
    photo.convert("RGBA").save(tmp_path / "cut.png")
    deep.save(tmp_path / "deep.png")
    deep.save(tmp_path / "deep.tiff")
    deep.save(tmp_path / "inverted.tiff", tiffinfo={262: 0})
    for path in (path for path in sorted(tmp_path.iterdir()) if path.is_file()):
        expected = decode(path.read_bytes(), 32, resize)
        with Image.open(path) as photo:
            difference = np.abs(app["prepare"](photo).astype(int) - expected)
            answer = app["classify"](photo)
        assert difference.mean() < 2
        logits = keras_logits(tiny_run, expected[None])[0]
        assert max(answer, key=answer.get) == ["daisy", "iris", "rose"][logits.argmax()]
        assert sum(answer.values()) == pytest.approx(1)
    assert app["classify"](None) == {}
    assert app["PAGE"].description is None


def test_litert(tiny_run, images, tmp_path):
    exported = export(ExportConfig(str(tiny_run), "tflite", str(tmp_path / "out")))
    assert exported.path == tmp_path / "out" / "model.tflite"
    logits = FORMATS["litert"].load(exported.path)(images)
    np.testing.assert_allclose(logits, keras_logits(tiny_run, images), atol=1e-4)
    assert FORMATS["litert"] is FORMATS["tflite"]


@pytest.mark.parametrize("precision", ["float16", "int8"])
def test_litert_in_fewer_bits(tiny_run, precision, capsys):
    exported = export(ExportConfig(str(tiny_run), "litert", precision=precision, tolerance=0.5))
    assert exported.path.name == f"model-{precision}.tflite"
    predict = FORMATS["litert"].load(exported.path)
    assert predict(np.zeros((2, 32, 32, 3), np.uint8)).dtype == np.float32
    assert exported.accuracy == measure_accuracy(tiny_run, predict)
    assert f"{exported.accuracy:.1%} as litert in {precision}" in capsys.readouterr().out
    assert 0 < exported.difference < exported.largest  # it is not the float32 model


def test_litert_of_a_keras_that_cannot_export_it(tiny_run, images, tmp_path, monkeypatch):
    monkeypatch.setattr(litert, "has_keras", lambda major, minor: False)
    path = tmp_path / "model.tflite"
    litert.write_float32(open_run(tiny_run).model, path, images)
    np.testing.assert_allclose(litert.load_litert(path)(images), keras_logits(tiny_run, images), atol=1e-4)


def test_onnx(tiny_run, images, onnxruntime):
    network = NetworkConfig(num_filters=8, dense_units=8, activation="gelu")  # ONNX does not have all of its parts
    build_cnn(network, image_size=32, num_classes=3).save(tiny_run / "model.keras")
    exported = export(ExportConfig(str(tiny_run), "onnx"))
    session = onnxruntime.InferenceSession(str(exported.path))
    assert [(given.name, given.type) for given in session.get_inputs()] == [("image", "tensor(uint8)")]
    (logits,) = session.run(["logits"], {"image": images})
    np.testing.assert_allclose(logits, keras_logits(tiny_run, images), atol=1e-6)


def build_uneven_network():
    """A network with a batch norm after a depthwise convolution, its channels of very different sizes."""
    rng = np.random.default_rng(0)
    image = keras.Input((32, 32, 3), dtype="uint8")
    x = keras.layers.Conv2D(16, 3, strides=2)(keras.layers.Rescaling(1 / 127.5, -1)(image))
    x = keras.layers.DepthwiseConv2D(3)(keras.layers.ReLU()(x))
    norm = keras.layers.BatchNormalization()
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU(6)(norm(x)))
    model = keras.Model(image, keras.layers.Dense(3)(x))
    variance = 10.0 ** rng.uniform(-4, 1, 16)
    norm.set_weights([np.sqrt(variance), rng.normal(0, 1, 16), rng.normal(0, 0.3, 16), variance])
    return model


@pytest.mark.parametrize(("precision", "error"), [("float16", 0.01), ("int8", 0.1)])
def test_onnx_in_fewer_bits(tiny_run, precision, error, onnxruntime):
    build_uneven_network().save(tiny_run / "model.keras")
    exported = export(ExportConfig(str(tiny_run), "onnx", precision=precision, tolerance=0.5))
    assert {f"model-{precision}.onnx", "classes.json"} <= {path.name for path in exported.path.parent.iterdir()}
    session = onnxruntime.InferenceSession(str(exported.path))
    assert session.get_inputs()[0].type == "tensor(uint8)"
    assert session.run(["logits"], {"image": np.zeros((2, 32, 32, 3), np.uint8)})[0].dtype == np.float32
    assert exported.accuracy == measure_accuracy(tiny_run, lambda rows: session.run(None, {"image": rows})[0])
    assert 0 < exported.difference < error * exported.largest
    products = [
        node for node in importlib.import_module("onnx").load(exported.path).graph.node if node.op_type == "Mul"
    ]
    assert precision != "int8" or len(products) == 1  # that of Rescaling; the batch norm is a part of the convolution


def test_openvino(tiny_run, images):
    pytest.importorskip("openvino")
    exported = export(ExportConfig(str(tiny_run), "openvino", precision="float16", tolerance=0.5))
    assert exported.path == tiny_run / "export" / "openvino-float16"
    assert {path.name for path in exported.path.iterdir()} == {"model.xml", "model.bin"}
    logits = FORMATS["openvino"].load(exported.path)(images)
    np.testing.assert_allclose(logits, keras_logits(tiny_run, images), atol=0.1)
    parameters = open_run(tiny_run).model.count_params()
    assert 2 * parameters < (exported.path / "model.bin").stat().st_size < 3 * parameters


def test_a_folder_of_the_user_is_not_replaced(tiny_run, tmp_path):
    mine = tmp_path / "savedmodel" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("keep")
    with pytest.raises(UserError, match="savedmodel: is a folder but not an exported model"):
        export(ExportConfig(str(tiny_run), "savedmodel", str(tmp_path)))
    assert mine.read_text() == "keep"
    space = tmp_path / "space"
    space.mkdir()
    (space / "app.py").touch()
    with pytest.raises(UserError, match="space: is a folder but not an exported model"):
        export(ExportConfig(str(tiny_run), "space", str(tmp_path)))
    (space / "settings.json").touch()
    (space / ".git").mkdir()  # a clone of a published Space
    with pytest.raises(UserError, match=r"space: holds \.git, which no export has written"):
        export(ExportConfig(str(tiny_run), "space", str(tmp_path)))
    assert {path.name for path in space.iterdir()} == {"app.py", "settings.json", ".git"}


def _save_changed(change):
    """Function that writes the model with other weights, as a Keras file, which takes less time than a conversion."""

    def write(model, path, images):
        other = keras.models.clone_model(model)
        other.set_weights([change(weights) for weights in model.get_weights()])
        other.save(path)

    return write


def _cannot(model, path, images):
    raise RuntimeError("layer of a kind\nthat is not known")


@pytest.mark.parametrize(
    ("precision", "write", "says"),
    [
        ("float32", _save_changed(lambda weights: 1.5 * weights), "as tflite the model returns other logits, by up to"),
        ("float32", _cannot, r"cannot be converted to tflite \(layer of a kind that is not known\)"),
        ("float16", _save_changed(lambda weights: np.nan * weights), "tflite in float16 .* logits that are not finite"),
        (
            "int8",
            _save_changed(lambda weights: 0 * weights),
            r"accuracy on 6 validation images falls from \d+.\d% to 33.3%, by more than --tolerance 0.1",
        ),
    ],
)
def test_a_wrong_export_is_not_saved(tiny_run, monkeypatch, precision, write, says, capfd):
    form = Format("model.keras", {precision: write}, lambda path: keras.saving.load_model(path).predict_on_batch)
    monkeypatch.setitem(FORMATS, "tflite", form)
    with pytest.raises(UserError, match=says):
        export(ExportConfig(str(tiny_run), "tflite", precision=precision, tolerance=0.1))
    assert list((tiny_run / "export").iterdir()) == []
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (
            {"format": "savedmodel", "precision": "int8"},
            "--precision int8: --format savedmodel does not have it; choose",
        ),
        ({"format": "openvino", "precision": "int8"}, "choose litert, tflite or onnx"),
        ({"tolerance": 2.0}, "--tolerance 2.0: must be between 0 and 1"),
    ],
)
def test_what_cannot_be_asked_for(tiny_run, options, says):
    with pytest.raises(UserError, match=says):
        export(ExportConfig(str(tiny_run), **options))
    assert not (tiny_run / "export").exists()


def test_a_missing_library_is_named(tiny_run, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="--format onnx: needs tf2onnx and onnxruntime; pip install tf2onnx onnx"):
        export(ExportConfig(str(tiny_run), "onnx"))
    assert not (tiny_run / "export").exists()


def test_data_that_has_moved(tiny_run, photos, configure):
    configure(tiny_run, data="/no/such/photos")
    with pytest.raises(UserError, match="if it has moved, name its new place with --data"):
        export(ExportConfig(str(tiny_run)))
    assert export(ExportConfig(str(tiny_run), "space", data=str(photos))).images


@pytest.mark.parametrize("part", ["test", "validation"])
def test_moved_data_that_holds_one_part_only(tiny_run, photos, tmp_path, part):
    for image in read_split(tiny_run):
        if image.part == part:
            (tmp_path / "moved" / image.class_name).mkdir(parents=True, exist_ok=True)
            shutil.copy(photos / image.name, tmp_path / "moved" / image.class_name)
    places = {"run": str(tiny_run), "data": str(tmp_path / "moved")}
    if part == "validation":
        assert export(ExportConfig(**places, format="space")).images
        with pytest.raises(UserError, match=r"int8: is calibrated on training images, and .*moved has none"):
            export(ExportConfig(**places, format="litert", precision="int8"))
        return
    for command, config in ((export, ExportConfig(**places)), (explain, ExplainConfig(**places))):
        with pytest.raises(UserError, match=r"moved: has none of the validation images of .*tiny, which are needed"):
            command(config)
