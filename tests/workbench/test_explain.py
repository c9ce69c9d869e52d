import dataclasses
import shutil

import keras
import numpy as np
import pytest
from PIL import Image

from workbench import cli
from workbench.commands import ExplainConfig
from workbench.errors import UserError
from workbench.explain import explain
from workbench.reporting.figure_metadata import read_words

RUN_FIGURES = {
    *("filters.png", "first_feature_maps.png", "feature_maps.png", "guided_backprop.png", "gradcam.png"),
    *("integrated_gradients.png", "maximised.png"),
}


@pytest.fixture
def run(trained_once, tmp_path):
    """A copy of the run folder, without figures."""
    return shutil.copytree(trained_once, tmp_path / "run", ignore=shutil.ignore_patterns("figures"))


@pytest.fixture
def photo(tmp_path):
    """A photo that is not of the data set."""
    path = tmp_path / "holiday.jpg"
    Image.new("RGB", (60, 40), (180, 60, 60)).save(path)
    return path


@pytest.mark.report
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


def test_an_image_is_explained_without_the_data(run, photo, configure):
    configure(run, data="/gone")
    paths = explain(ExplainConfig(run=str(run), image=[str(photo)]))
    kinds = ("first_feature_maps", "feature_maps", "integrated_gradients", "gradcam", "guided_backprop")
    assert [path.name for path in paths] == [f"{kind}_holiday.png" for kind in kinds]


def test_a_layer_is_explained_by_images_of_the_same_name(run, photo, tmp_path):
    other = tmp_path / "other" / "holiday.jpg"
    other.parent.mkdir()
    Image.new("RGB", (40, 40), (60, 60, 180)).save(other)
    paths = explain(ExplainConfig(run=str(run), layer="block2_pool", image=[str(photo), str(other)]))
    names = [f"block2_pool_{name}.png" for name in ("holiday", "holiday-2")]
    kinds = ("feature_maps", "gradcam", "guided_backprop")
    assert [path.name for path in paths] == [f"{kind}_{name}" for name in names for kind in kinds]


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
    shift = model.get_layer("block5_conv").bias
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


def test_a_layer_is_explained_in_another_folder_by_data_that_have_moved(photos, run, configure, tmp_path):
    moved, out = tmp_path / "moved", tmp_path / "out"
    shutil.copytree(photos, moved)
    configure(run, data="/no/such/photos")
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    figures = explain(ExplainConfig(str(run), layer="block2_conv", data=str(moved), out=str(out), photos=1))
    names = {f"{kind}_block2_conv.png" for kind in ("feature_maps", "gradcam", "guided_backprop", "maximised")}
    assert {path.name for path in figures} == names
    assert {path.parent for path in figures} == {out / "figures"}
    assert (out / "report.html").exists()
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
