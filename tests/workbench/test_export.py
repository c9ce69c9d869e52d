import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from cnn_scratch.config import NetworkConfig
from cnn_scratch.model import build_cnn
from workbench import export as module
from workbench.commands import ExportConfig
from workbench.errors import UserError
from workbench.export import Format, export
from workbench.finished_run import open_run


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)


def keras_logits(run, images):
    return keras.saving.load_model(run / "model.keras").predict(images, verbose=0)


def test_savedmodel(tiny_run, images, capsys):
    exported = export(ExportConfig(str(tiny_run), "savedmodel"))
    assert exported.path == tiny_run / "export" / "savedmodel"
    loaded = tf.saved_model.load(str(exported.path))
    np.testing.assert_allclose(loaded.serve(images), keras_logits(tiny_run, images), atol=1e-4)
    assert json.loads((tiny_run / "export" / "classes.json").read_text()) == ["daisy", "iris", "rose"]
    assert (exported.images, exported.same_class) == (18, 18)
    assert exported.difference < 1e-4
    assert f"{exported.difference:.1e}" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:[^a-z]*Warning. tf.lite.Interpreter is deprecated")
def test_tflite(tiny_run, images, tmp_path):
    exported = export(ExportConfig(str(tiny_run), "tflite", str(tmp_path / "out")))
    assert exported.path == tmp_path / "out" / "model.tflite"
    interpreter = tf.lite.Interpreter(model_path=str(exported.path))
    image, logits = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    assert image["dtype"] is np.uint8
    interpreter.allocate_tensors()
    for one, expected in zip(images, keras_logits(tiny_run, images), strict=True):
        interpreter.set_tensor(image["index"], one[None])
        interpreter.invoke()
        np.testing.assert_allclose(interpreter.get_tensor(logits["index"])[0], expected, atol=1e-4)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_onnx(tiny_run, images, activation, onnxruntime):
    network = NetworkConfig(num_filters=8, dense_units=8, activation=activation)
    build_cnn(network, image_size=32, num_classes=3).save(tiny_run / "model.keras")
    exported = export(ExportConfig(str(tiny_run), "onnx"))
    session = onnxruntime.InferenceSession(str(exported.path))
    assert [(given.name, given.type) for given in session.get_inputs()] == [("image", "tensor(uint8)")]
    (logits,) = session.run(["logits"], {"image": images})
    np.testing.assert_allclose(logits, keras_logits(tiny_run, images), atol=1e-6)


def test_an_export_replaces_an_earlier_one(tiny_run):
    for _ in range(2):
        exported = export(ExportConfig(str(tiny_run), "savedmodel"))
    assert {path.name for path in exported.path.parent.iterdir()} == {"savedmodel", "classes.json"}


def test_a_folder_of_the_user_is_not_replaced(tiny_run, tmp_path):
    mine = tmp_path / "savedmodel" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("keep")
    with pytest.raises(UserError, match="savedmodel: is a folder but not a SavedModel"):
        export(ExportConfig(str(tiny_run), "savedmodel", str(tmp_path)))
    assert mine.read_text() == "keep"


def _other_weights(model, path):
    other = keras.models.clone_model(model)
    other.set_weights([1.5 * weights for weights in model.get_weights()])
    module._write_tflite(other, path)


def _cannot(model, path):
    raise RuntimeError("layer of a kind\nthat is not known")


@pytest.mark.parametrize(
    ("convert", "says"),
    [
        (_other_weights, "as tflite the model returns other logits, by up to"),
        (_cannot, r"cannot be converted to tflite \(layer of a kind that is not known\)"),
    ],
)
def test_a_wrong_export_is_not_saved(tiny_run, monkeypatch, convert, says, capfd):
    monkeypatch.setitem(module.FORMATS, "tflite", Format("model.tflite", convert, module._load_tflite))
    with pytest.raises(UserError, match=says):
        export(ExportConfig(str(tiny_run), "tflite"))
    assert list((tiny_run / "export").iterdir()) == []
    assert capfd.readouterr().err == ""


def test_a_missing_library_is_named(tiny_run, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="--format onnx: needs tf2onnx and onnxruntime; pip install tf2onnx onnx"):
        export(ExportConfig(str(tiny_run), "onnx"))
    assert not (tiny_run / "export").exists()


def test_images_of_the_check_are_of_every_class(tiny_run):
    dataset = open_run(tiny_run).load_dataset()
    images = module._select_images(dataset)
    assert len(images) == 18
    np.testing.assert_array_equal(images, dataset.images[dataset.test])


def test_data_that_has_moved(tiny_run, photos, tmp_path, configure):
    configure(tiny_run, data="/no/such/photos")
    with pytest.raises(UserError, match="if it has moved, name its new place with --data"):
        export(ExportConfig(str(tiny_run)))
    assert export(ExportConfig(str(tiny_run), data=str(photos))).images == 18
