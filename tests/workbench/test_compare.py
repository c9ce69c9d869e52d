import html
import json
import shutil

import keras
import numpy as np
import pytest
from PIL import Image

from workbench import cli
from workbench.commands import CompareConfig, EvaluateConfig
from workbench.compare import compare
from workbench.data.splits.saved_split import read_split, write_split
from workbench.errors import UserError
from workbench.evaluate import evaluate
from workbench.evaluation.comparison import name_runs
from workbench.evaluation.metrics.statistics import mcnemar
from workbench.evaluation.scoring import score_run
from workbench.files import read_csv
from workbench.finished_run import open_run
from workbench.reporting.figure_metadata import read_words


def copy_untrained(run):
    """Copy a run to a folder `other` next to it, with a network that was never trained."""
    folder = shutil.copytree(run, run.with_name("other"))
    model = keras.saving.load_model(folder / "model.keras")
    keras.utils.set_random_seed(1)
    keras.models.clone_model(model).save(folder / "model.keras")
    return folder


@pytest.fixture
def other_run(tiny_run):
    """A copy of the run whose network was never trained."""
    return copy_untrained(tiny_run)


@pytest.fixture(scope="module")
def tested_once(trained_once, tmp_path_factory):
    """A folder with `tiny` and `other`, two runs that are tested already; tests must not write to it."""
    folder = tmp_path_factory.mktemp("tested")
    run = shutil.copytree(trained_once, folder / "tiny")
    for tested in (run, copy_untrained(run)):
        score_run(open_run(tested))
    return folder


@pytest.fixture
def tested_runs(tested_once, tmp_path):
    """Copies of `tiny` and `other`, both tested, that a test may write to."""
    shutil.copytree(tested_once, tmp_path / "tested")
    return tmp_path / "tested" / "tiny", tmp_path / "tested" / "other"


def compared(tmp_path, *runs):
    return compare(CompareConfig([str(run) for run in runs], str(tmp_path / "comparison")))


def right(run):
    return [row["correct"] == "1" for row in read_csv(run / "test_predictions.csv")]


def test_two_runs(tested_runs, tmp_path, capsys):
    tiny_run, other_run = tested_runs
    first, second = compared(tmp_path, tiny_run, other_run)
    only_first, only_this, p = mcnemar(right(tiny_run), right(other_run))
    assert (second["only_first"], second["only_this"], second["p"]) == (only_first, only_this, p)
    assert second["p_adjusted"] == second["p"]
    assert only_first > only_this
    assert first["accuracy"] == np.mean(right(tiny_run))
    assert second["difference"] == pytest.approx((only_this - only_first) / 18)
    history = read_csv(tiny_run / "history.csv")
    assert first["training_seconds"] == pytest.approx(sum(float(row["seconds"]) for row in history))
    assert (first["epochs"], first["images"]) == (4, 18)
    assert first["parameters"] == keras.saving.load_model(tiny_run / "model.keras").count_params()
    assert first["megabytes"] == (tiny_run / "model.keras").stat().st_size / 1e6
    shown = capsys.readouterr().out
    assert f"{first['accuracy']:.1%}" in shown
    assert f"({only_this} images only it has right, {only_first} only the first; p = {p:.2g})" in shown


@pytest.mark.figures
def test_the_files_of_a_comparison(tested_runs, tmp_path):
    tiny_run, other_run = tested_runs
    rows = compared(tmp_path, other_run, tiny_run)
    folder = tmp_path / "comparison"
    assert {path.name for path in folder.iterdir()} == {
        *("comparison.json", "comparison.csv", "comparison.png", "report.html"),
    }
    assert json.loads((folder / "comparison.json").read_text()) == rows
    assert [row["run"] for row in read_csv(folder / "comparison.csv")] == [str(other_run), str(tiny_run)]
    title, caption = read_words(folder / "comparison.png")
    assert title.startswith(f"{tiny_run.name} is right most often: {rows[1]['accuracy']:.1%} of 18 test images (p = ")
    assert "95 % interval" in caption
    page = (folder / "report.html").read_text()
    assert "tested on the same 18 images" in page
    assert f"{rows[1]['low']:.1%} to {rows[1]['high']:.1%}" in page
    assert title in html.unescape(page)


def test_leaked_images_are_shown_next_to_the_accuracy(tiny_run, other_run, tmp_path, capsys):
    """One run may have been trained on an image that the other has not seen."""
    split = read_split(tiny_run)
    names = [image.name for image in split if image.part == "test"]
    write_split(tiny_run, [image._replace(repeats=split[0].name * (image.name in names[:4])) for image in split])
    first, second = compared(tmp_path, tiny_run, other_run)
    assert (first["leaked"], second["leaked"]) == (4, 0)
    clean = np.mean(right(tiny_run)[4:])
    assert (first["accuracy_without_leaked"], second["accuracy_without_leaked"]) == (clean, second["accuracy"])
    shown = capsys.readouterr().out
    assert "without leaked" in shown
    assert f"{clean:.1%} (-4)" in shown
    assert f"{clean:.1%} (-4)" in (tmp_path / "comparison" / "report.html").read_text()


def test_test_images_with_the_same_names_and_other_contents(tested_runs, tmp_path):
    tiny_run, other_run = tested_runs
    compared(tmp_path, tiny_run, other_run)
    split = read_split(other_run)
    last = max(image.name for image in split if image.part == "test")
    write_split(other_run, [image._replace(digest="0" * 32) if image.name == last else image for image in split])
    with pytest.raises(UserError, match=f"were tested on different images .* differ in {last}"):
        compared(tmp_path, tiny_run, other_run)


def test_the_names_of_runs_are_short_and_different(tmp_path):
    folders = ["runs/cnn", "runs/resnet", "elsewhere/runs/cnn", "x" * 100 + "-1", "x" * 100 + "-2"]
    names = name_runs([tmp_path / folder for folder in folders])
    assert names[:3] == [f"{tmp_path.name}/…/cnn", "resnet", "elsewhere/…/cnn"]
    assert names[3].endswith("x-1")
    assert max(map(len, names)) <= 40
    many = name_runs([tmp_path / ("x" * 50 + str(number) + "x" * 50) for number in range(12)])
    assert len(set(many)) == 12
    assert max(map(len, many)) <= 44


def test_a_tested_run_is_not_tested_again(tiny_run, other_run, tmp_path, capsys):
    evaluate(EvaluateConfig(str(tiny_run)))
    capsys.readouterr()
    compared(tmp_path, tiny_run, other_run)
    shown = capsys.readouterr().out
    assert f"testing {other_run}" in shown
    assert f"testing {tiny_run}" not in shown
    shutil.copy(tiny_run / "model.keras", other_run / "model.keras")  # as if it was trained further
    assert [row["p"] for row in compared(tmp_path, tiny_run, other_run)] == [1.0, 1.0]
    assert f"testing {other_run}" in capsys.readouterr().out


def test_several_tests_are_adjusted_for(tested_runs, tmp_path):
    tiny_run, other_run = tested_runs
    third = shutil.copytree(other_run, other_run.with_name("third"))
    rows = compared(tmp_path, tiny_run, other_run, third)
    assert rows[1]["p"] == rows[2]["p"]
    assert rows[1]["p_adjusted"] == min(1, 2 * rows[1]["p"])


@pytest.mark.figures
def test_a_run_without_a_history(tiny_run, other_run, tmp_path):
    (tiny_run / "history.csv").unlink()
    (other_run / "history.csv").write_text("epoch,seconds\n1,x\n")
    (other_run / "metrics.json").write_text('{"epochs": 3, "training_seconds": 1.5}')
    first, second = compared(tmp_path, tiny_run, other_run)
    assert (first["epochs"], first["training_seconds"]) == (4, None)
    assert (second["epochs"], second["training_seconds"]) == (3, 1.5)


def test_runs_on_other_test_images_are_refused(tiny_run, other_run, photos, tmp_path, configure, capsys):
    more = shutil.copytree(photos, tmp_path / "more")
    Image.new("RGB", (32, 32)).save(more / "test" / "rose" / "rose-99.png")
    configure(other_run, data=str(more))
    (other_run / "split.csv").unlink()  # as in a run of an earlier version, whose split is drawn again
    words = [str(tiny_run), str(other_run), "--output", str(tmp_path / "comparison")]
    assert cli.main(cli.Command(CompareConfig, compare), words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "were tested on different images (18 and 19; they differ in test/rose/rose-99.png)" in error
    assert not (tmp_path / "comparison").exists()
    assert len(read_csv(other_run / "test_predictions.csv")) == 19  # the test itself is saved


def test_runs_of_other_classes_are_refused(tiny_run, other_run, tmp_path):
    (other_run / "classes.json").write_text('["daisy", "iris", "tulip"]')
    with pytest.raises(UserError, match=r"have different classes \(only one of them has the class 'rose'\)"):
        compared(tmp_path, tiny_run, other_run)
    (other_run / "classes.json").write_text('["rose", "iris", "daisy"]')
    with pytest.raises(UserError, match=r"have different classes \(in another order\)"):
        compared(tmp_path, tiny_run, other_run)


@pytest.mark.parametrize("count", [1, 2])
def test_a_comparison_needs_two_runs(tiny_run, tmp_path, count):
    with pytest.raises(UserError, match="give at least two runs, and each only once"):
        compared(tmp_path, *[tiny_run] * count)
