import dataclasses
import io
import json
import pickle
import re
import shutil
import types
import zipfile

import keras
import numpy as np
import pytest

from workbench.__main__ import main
from workbench.data.decoding import decode
from workbench.errors import UserError
from workbench.finished_run import open_run


def save_model(folder, outputs=3, size=32, activation=None, layer=None):
    image = keras.Input((size, size, 3), dtype="uint8")
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(image))
    x = layer(x) if layer else x
    keras.Model(image, keras.layers.Dense(outputs, activation=activation)(x)).save(folder / "model.keras")


def replace_in_model(folder, **files):
    """Replace some of the files in a model file; None removes one."""
    with zipfile.ZipFile(folder / "model.keras") as old:
        content = {name: old.read(name) for name in old.namelist()}
    content.update(files)
    with zipfile.ZipFile(folder / "model.keras", "w") as new:
        for name, data in content.items():
            if data is not None:
                new.writestr(name, data)


def refused(folder):
    """Return the error message, which is one line."""
    with pytest.raises(UserError) as error:
        _ = open_run(folder).model
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_run_is_opened_from_its_folder_alone(tiny_run, photos, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    run = open_run("runs/tiny")
    dataset = run.load_dataset()
    assert run.class_names == dataset.class_names == ["daisy", "iris", "rose"]
    assert run.image_size == dataset.image_size == 32
    assert run.metrics["epochs"] == 4
    assert (len(dataset.train) + len(dataset.validation), len(dataset.test)) == (36, 18)
    row = dataset.test[0]
    np.testing.assert_array_equal(dataset.images[row], decode((photos / dataset.names[row]).read_bytes(), 32, "crop"))
    assert run.model(dataset.images[:2]).shape == (2, 3)


def test_xla_does_not_compile_predictions_on_a_gpu(tiny_run, monkeypatch):
    model = open_run(tiny_run).model
    gpu = types.SimpleNamespace(device_type="GPU")
    monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda device_type=None: [gpu])
    assert not model.jit_compile


def test_the_split_is_the_one_of_the_training(tiny_run, configure):
    before = open_run(tiny_run).load_dataset()
    configure(tiny_run, seed=1)
    np.testing.assert_array_equal(open_run(tiny_run).load_dataset().validation, before.validation)
    (tiny_run / "split.csv").unlink()  # as in a run of an earlier version, which draws it again
    configure(tiny_run, seed=0)
    np.testing.assert_array_equal(open_run(tiny_run).load_dataset().validation, before.validation)
    configure(tiny_run, seed=1)
    assert set(open_run(tiny_run).load_dataset().validation) != set(before.validation)


def test_folders_that_are_not_runs(tmp_path):
    (tmp_path / "file").write_text("")
    assert refused(tmp_path / "none").endswith("none: no such run folder")
    assert "not a run folder (it has no config.yaml)" in refused(tmp_path)
    assert "a file; give the run's folder" in refused(tmp_path / "file")


@pytest.mark.parametrize("is_finished", [True, False])
@pytest.mark.parametrize("command", ["report RUN", "evaluate RUN", "explain RUN", "predict RUN a.png", "export RUN"])
def test_a_cross_validation_is_refused_with_the_folder_of_a_fold(tmp_path, command, is_finished, capsys):
    folder = tmp_path / "five folds"
    folder.mkdir()
    (folder / "config.yaml").write_text("data: photos\nfolds: 5\n")
    if is_finished:
        (folder / "classes.json").write_text('["daisy", "rose"]')
        assert "a cross-validation, which has no model of its own" in refused(folder)
    assert main([str(folder) if word == "RUN" else word for word in command.split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {folder}: a cross-validation, which has no model of its own")
    assert error.endswith(f"give the same command the run of a fold, such as '{folder}/fold-1'\n")
    assert error.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"a: [1", b"\xff\xfe\x00", b"- a\n- b\n", b"!!python/object:os.system {}"])
def test_an_incomplete_or_foreign_config(tiny_run, content):
    (tiny_run / "config.yaml").write_bytes(content)
    assert "config.yaml: not a YAML file of options" in refused(tiny_run)


def test_a_config_with_a_key_twice(tiny_run):
    with open(tiny_run / "config.yaml", "a", encoding="utf-8") as file:
        file.write("\nepochs: 99\n")
    assert re.search(r"config.yaml: .*line \d+: 'epochs' is given twice", refused(tiny_run))


@pytest.mark.parametrize("content", ["", '["a", "b"', "{}", "[]", '["alone"]', "[1, 2]", None])
def test_missing_or_incomplete_class_names(tiny_run, content):
    (tiny_run / "classes.json").unlink() if content is None else (tiny_run / "classes.json").write_text(content)
    assert "classes.json: missing or incomplete" in refused(tiny_run)


def test_a_run_without_its_model(tiny_run):
    (tiny_run / "model.keras").unlink()
    assert "has no model.keras; is the run finished?" in refused(tiny_run)


def test_a_model_that_was_replaced_has_changed_since_its_test(tiny_run):
    run = open_run(tiny_run)
    test = {"model_sha256": run.hash_model()}
    assert not run.has_changed_since(test)
    shutil.copy(tiny_run / "last.keras", tiny_run / "model.keras")
    assert run.has_changed_since(test)
    assert not run.has_changed_since({})  # a test of an earlier version
    (tiny_run / "model.keras").unlink()
    assert not run.has_changed_since(test)


@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_an_incomplete_model(tiny_run, share):
    path = tiny_run / "model.keras"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert "model.keras: incomplete, or not a Keras model" in refused(tiny_run)


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
@pytest.mark.parametrize("data", [None, b"{}", b"nonsense"])
def test_a_model_with_a_damaged_part(tiny_run, name, data):
    replace_in_model(tiny_run, **{name: data})
    assert "model.keras: cannot be loaded (" in refused(tiny_run)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"outputs": 5}, "not a classifier of this run's 3 classes (input (None, 32, 32, 3), output (None, 5))"),
        ({"size": None}, "not a classifier of this run's 3 classes (input (None, None, None, 3)"),
        ({"activation": "softmax"}, "ends in a softmax; expected a model that returns logits"),
    ],
)
def test_a_model_that_is_not_a_classifier(tiny_run, model, says):
    save_model(tiny_run, **model)
    assert says in refused(tiny_run)


def test_a_model_of_two_inputs(tiny_run):
    inputs = [keras.Input((3,)), keras.Input((3,))]
    keras.Model(inputs, keras.layers.Add()(inputs)).save(tiny_run / "model.keras")
    assert "not a classifier" in refused(tiny_run)


def test_code_in_a_model_is_not_run(tiny_run):
    save_model(tiny_run, layer=keras.layers.Lambda(lambda x: x * 2))
    assert "cannot be loaded" in refused(tiny_run)
    assert "ambda" in refused(tiny_run)


def test_a_layer_of_another_program(tiny_run):
    save_model(tiny_run)
    with zipfile.ZipFile(tiny_run / "model.keras") as file:
        config = json.loads(file.read("config.json"))
    config["config"]["layers"][1].update(module="os", class_name="system", registered_name=None)
    replace_in_model(tiny_run, **{"config.json": json.dumps(config)})
    assert "cannot be loaded" in refused(tiny_run)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_nothing_is_unpickled(tiny_run, tmp_path):
    trace, weights = tmp_path / "trace", io.BytesIO()
    bomb = np.array([Bomb(trace)], object)
    np.savez(weights, **{"__root__": bomb, "layers/dense/vars": bomb})
    replace_in_model(tiny_run, **{"model.weights.h5": None, "model.weights.npz": weights.getvalue()})
    assert "allow_pickle=False" in refused(tiny_run)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Bomb(trace)))
    assert trace.exists()  # it would have left one


def test_the_data_is_gone(tiny_run, configure):
    configure(tiny_run, data="/no/such/photos")
    with pytest.raises(UserError, match=r"the data of .*config.yaml: --data /no/such/photos: no such folder"):
        open_run(tiny_run).load_dataset()


def test_the_data_has_other_classes_now(tiny_run, photo_folder, configure):
    configure(tiny_run, data=str(photo_folder(classes=("daisy", "iris", "tulip"), train=4, test=1)))
    with pytest.raises(UserError, match="has other classes than"):
        open_run(tiny_run).load_dataset()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"resize": "zoom"}, r"config.yaml: resize: 'zoom' is not allowed; expected crop or pad or stretch"),
        ({"seed": "three"}, "config.yaml: seed 'three' is not a whole number"),
    ],
)
def test_a_value_that_is_not_allowed(tiny_run, configure, values, says):
    configure(tiny_run, **values)
    with pytest.raises(UserError, match=says):
        open_run(tiny_run).load_dataset()


def test_a_config_of_another_program(tiny_run):
    (tiny_run / "config.yaml").write_text("colour: red\n")
    with pytest.raises(UserError, match="names no data; was it written by another program"):
        open_run(tiny_run).load_dataset()


def test_options_of_older_and_newer_versions_are_ignored(tiny_run, configure, photos):
    before = open_run(tiny_run).load_dataset()
    configure(tiny_run, not_yet_known=[1, 2])
    lines = (tiny_run / "config.yaml").read_text().splitlines()
    kept = [line for line in lines if line.split(":")[0] not in ("max_unreadable", "resize", "wandb", "seed")]
    (tiny_run / "config.yaml").write_text("\n".join(kept))
    after = open_run(tiny_run).load_dataset()
    assert dataclasses.asdict(after)["names"] == before.names
    np.testing.assert_array_equal(after.validation, before.validation)


def test_incomplete_metrics_are_empty(tiny_run):
    (tiny_run / "metrics.json").write_text('{"epochs": 2')
    assert open_run(tiny_run).metrics == {}
    (tiny_run / "metrics.json").write_text("[1]")
    assert open_run(tiny_run).metrics == {}
