import dataclasses
import shutil

import keras
import numpy as np
import pytest
from PIL import Image

from cnn_scratch.config import TrainConfig
from cnn_scratch.train import train
from workbench import cli
from workbench.commands import ExplainConfig
from workbench.config import build, replace
from workbench.errors import UserError
from workbench.explain import explain
from workbench.reporting.figure_metadata import read_words

RUN_FIGURES = {
    *("filters.png", "first_feature_maps.png", "feature_maps.png", "guided_backprop.png", "gradcam.png"),
    *("integrated_gradients.png", "maximised.png"),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder of a five-block network, and the data it was trained on."""
    root, rng = tmp_path_factory.mktemp("explain"), np.random.default_rng(0)
    for part, count in (("train", 10), ("test", 2)):
        for name, colour in (("red", (200, 40, 40)), ("blue", (40, 40, 200))):
            folder = root / "photos" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = (np.array(colour) + rng.integers(-30, 30, (40, 40, 3))).clip(0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    config = build(TrainConfig, data=str(root / "photos"), image_size=32, num_filters=16, dense_units=16, epochs=2)
    config = replace(config, activation="gelu", runs_dir=str(root), logs_dir=str(root / "logs"), name="run")
    return train(replace(config, cache_dir=str(root / "cache"))), root / "photos"


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the run folder, without figures."""
    folder = tmp_path / "run"
    shutil.copytree(trained[0], folder, ignore=shutil.ignore_patterns("figures"))
    return folder


@pytest.fixture
def photo(tmp_path):
    """A photo that is not of the data set."""
    path = tmp_path / "holiday.jpg"
    Image.new("RGB", (60, 40), (180, 60, 60)).save(path)
    return path


def test_every_figure_of_a_run_with_its_finding(run, capsys):
    before = (run / "model.keras").read_bytes()
    paths = explain(ExplainConfig(run=str(run), photos=2))
    assert {path.name for path in paths} == RUN_FIGURES
    assert {path.name for path in (run / "figures").iterdir()} == {*RUN_FIGURES, "learning_curves.png"}
    shown = capsys.readouterr().out
    for path in paths:
        title, caption = read_words(path)
        assert title
        assert caption
        assert f"{path}\n  {title}\n" in shown
        assert np.asarray(Image.open(path).convert("L")).std() > 5
    assert (run / "model.keras").read_bytes() == before
    assert f"report: {run}/report.html\n" in shown
    assert read_words(run / "figures" / "maximised.png")[0] in (run / "report.html").read_text()


def test_images_are_explained_without_the_data(run, photo, trained, tmp_path):
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace(str(trained[1]), "/gone"))
    other = tmp_path / "other" / "holiday.jpg"
    other.parent.mkdir()
    Image.new("RGB", (40, 40), (60, 60, 180)).save(other)
    paths = explain(ExplainConfig(run=str(run), image=[str(photo), str(other)]))
    kinds = ("first_feature_maps", "feature_maps", "integrated_gradients", "gradcam", "guided_backprop")
    assert [path.name for path in paths] == [f"{k}_{n}.png" for n in ("holiday", "holiday-2") for k in kinds]


def test_a_layer_is_explained_by_a_single_image(run, photo):
    paths = explain(ExplainConfig(run=str(run), layer="block2_pool", image=[str(photo)]))
    kinds = ("feature_maps", "gradcam", "guided_backprop")
    assert [path.name for path in paths] == [f"{kind}_block2_pool_holiday.png" for kind in kinds]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"run": "/no/such"}, "/no/such: no such run folder"),
        ({"layer": "block5_activatoin"}, "--layer block5_activatoin: no such layer; the nearest are block5_activation"),
        ({"image": ["/no/such.jpg"]}, "--image /no/such.jpg: no such file"),
        ({"photos": 0}, "--photos 0"),
    ],
)
def test_bad_input_is_one_line(run, changes, says):
    with pytest.raises(UserError, match=says) as error:
        explain(dataclasses.replace(ExplainConfig(run=str(run)), **changes))
    assert "\n" not in str(error.value)
    assert not (run / "figures").exists()


def test_a_dead_layer_is_one_line_and_earlier_figures_are_kept(run):
    model = keras.saving.load_model(run / "model.keras")
    shift = model.get_layer("block5_bn").beta
    shift.assign(np.full(shift.shape, -100))
    model.save(run / "model.keras")
    with pytest.raises(UserError, match="no unit of block5_activation responds to any validation image"):
        explain(ExplainConfig(run=str(run), layer="block5_activation"))
    assert (run / "figures" / "gradcam_block5_activation.png").exists()


def test_an_unreadable_image_is_one_line_and_exit_code_2(run, tmp_path, capsys):
    damaged = tmp_path / "torn.jpg"
    damaged.write_bytes(b"\xff\xd8\xff torn")
    assert cli.main(cli.Command(ExplainConfig, explain), [str(run), "--image", str(damaged)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: --image {damaged}: ")
    assert error.count("\n") == 1


def test_a_layer_is_explained_in_another_folder_by_data_that_have_moved(trained, run, tmp_path):
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    moved, out = tmp_path / "moved", tmp_path / "out"
    shutil.copytree(trained[1], moved)
    config_path = run / "config.yaml"
    config_path.write_text(config_path.read_text().replace(str(trained[1]), "/no/such/photos"))
    before["config.yaml"] = config_path.read_bytes()
    figures = explain(ExplainConfig(str(run), layer="block2_conv", data=str(moved), out=str(out), photos=1))
    names = {f"{kind}_block2_conv.png" for kind in ("feature_maps", "gradcam", "guided_backprop", "maximised")}
    assert {path.name for path in figures} == names
    assert {path.parent for path in figures} == {out / "figures"}
    assert (out / "report.html").exists()
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
