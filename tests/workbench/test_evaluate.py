import json
import shutil
import time
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from workbench import cli
from workbench.app.catalogue import Catalogue
from workbench.commands import EvaluateConfig
from workbench.data.splits.saved_split import read_split, write_split
from workbench.devices.device import describe_device
from workbench.errors import UserError
from workbench.evaluate import evaluate
from workbench.evaluation.calibration.saved_calibration import read_calibration
from workbench.evaluation.metrics.prediction_metrics import measure
from workbench.evaluation.metrics.statistics import wilson_interval
from workbench.evaluation.probabilities import softmax
from workbench.evaluation.scoring import find_score, predict_test, score_run
from workbench.files import read_csv, read_json
from workbench.finished_run import open_run
from workbench.reporting.evaluation_figures import draw_class_metrics, draw_confusion_matrix, draw_reliability
from workbench.reporting.figure_metadata import read_words
from workbench.reporting.run_report import write_report

FIGURES = {"confusion_matrix.png", "reliability.png", "per_class.png", "prediction_grid.png", "most_wrong.png"}


def run_command(*words):
    """Run the command line, and return its exit code."""
    return cli.main(cli.Command(EvaluateConfig, evaluate), words)


def test_measure_by_hand():
    labels = [0, 0, 1, 1, 2]
    probabilities = [[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.1, 0.8, 0.1], [0.2, 0.5, 0.3], [0.5, 0.3, 0.2]]
    numbers = measure(labels, probabilities, ["a", "b", "c"])
    assert (numbers["images"], numbers["accuracy"], numbers["top_k"], numbers["top_k_accuracy"]) == (5, 0.6, 3, 1.0)
    assert numbers["accuracy_interval"] == wilson_interval(3, 5)
    assert numbers["loss"] == pytest.approx(-np.mean(np.log([0.7, 0.3, 0.8, 0.5, 0.2])))
    assert numbers["confidence"] == pytest.approx(0.62)
    # bins of 1/15: {.5, .5} half right, {.6} wrong, {.7} right, {.8} right
    assert numbers["ece"] == pytest.approx((2 * 0 + 0.6 + 0.3 + 0.2) / 5)
    a, b, c = numbers["per_class"]
    assert a == {"class": "a", "images": 2, "precision": 0.5, "recall": 0.5, "f1": 0.5}
    assert (b["precision"], b["recall"], b["f1"]) == pytest.approx((2 / 3, 1, 0.8))
    assert (c["images"], c["precision"], c["recall"], c["f1"]) == (1, 0, 0, 0)
    assert sorted(map(str, numbers["confused"])) == sorted(
        map(str, [{"true": "a", "predicted": "b", "count": 1}, {"true": "c", "predicted": "a", "count": 1}])
    )


def test_measure_two_classes_one_of_them_untested():
    numbers = measure([1, 1], [[0.4, 0.6], [0.9, 0.1]], ["no", "yes"])
    assert (numbers["accuracy"], numbers["top_k"], numbers["top_k_accuracy"]) == (0.5, 2, 1.0)
    assert [row["images"] for row in numbers["per_class"]] == [0, 2]


def test_a_run_is_tested_on_each_test_image_once(tiny_run, photos, capsys):
    numbers = evaluate(EvaluateConfig(str(tiny_run)))
    rows = {row["image"]: row for row in read_csv(tiny_run / "test_predictions.csv")}
    files = sorted((photos / "test").rglob("*.png"))
    assert list(rows) == [str(path.relative_to(photos)) for path in files]
    model, names = keras.saving.load_model(tiny_run / "model.keras"), ["daisy", "iris", "rose"]
    images = np.stack([np.asarray(Image.open(path)) for path in files])
    probabilities = softmax(np.asarray(model(images, training=False)))
    for path, expected in zip(files, probabilities, strict=True):
        row, true = rows[str(path.relative_to(photos))], path.parent.name
        assert row["true"] == true
        assert row["predicted"] == names[expected.argmax()]
        assert float(row["confidence"]) == pytest.approx(expected.max(), abs=1e-5)
        assert float(row["true_probability"]) == pytest.approx(expected[names.index(true)], abs=1e-5)
        assert row["correct"] == str(int(row["predicted"] == true))
    share = sum(row["correct"] == "1" for row in rows.values()) / 18
    assert 0 < share < 1
    assert numbers["accuracy"] == share
    shown = capsys.readouterr().out
    assert "18 test images of 3 classes" in shown
    assert f"{share:6.1%}" in shown
    assert "top-3" not in shown  # with three classes it is always 100 %
    assert len(shown.splitlines()) <= 16


def test_the_measured_speed_does_not_include_tracing(tiny_run, monkeypatch):
    monkeypatch.setattr("workbench.evaluation.prediction.BATCH_SIZE", 8)  # of 18 images, the last batch has 2
    run, counts = open_run(tiny_run), []

    def read_clock():
        counts.append(run.model.predict_function.experimental_get_tracing_count())
        return time.monotonic()

    monkeypatch.setattr("workbench.evaluation.scoring.time", types.SimpleNamespace(perf_counter=read_clock))
    predict_test(run, run.load_dataset(use="test"))
    assert counts == [2, 2]


@pytest.mark.figures
@pytest.mark.report
def test_results_are_saved_in_the_run_folder_and_logged(tiny_run, configure, monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("HOME", str(tmp_path))
    configure(tiny_run, wandb=True)
    before = json.loads((tiny_run / "metrics.json").read_text())
    logs = tmp_path / "logs" / "tiny" / "test"
    with tf.summary.create_file_writer(str(logs)).as_default(step=0):  # of an earlier test
        tf.summary.scalar("test/accuracy", 2.0)
    numbers = evaluate(EvaluateConfig(str(tiny_run)))
    after = json.loads((tiny_run / "metrics.json").read_text())
    assert after["test"]["device"] == describe_device()
    assert after.pop("test") == json.loads(json.dumps(numbers))
    assert after == before
    assert {path.name for path in (tiny_run / "figures").iterdir()} == {*FIGURES, "learning_curves.png"}
    assert read_words(tiny_run / "figures" / "prediction_grid.png")[0] in (tiny_run / "report.html").read_text()
    titles = {path.name: read_words(path)[0] for path in (tiny_run / "figures").iterdir()}
    right = round(numbers["accuracy"] * 18)
    assert titles["confusion_matrix.png"].startswith(f"{right} of 18 test images are right; most often ")
    assert f"({numbers['confused'][0]['count']}x)" in titles["confusion_matrix.png"]
    assert f"{numbers['ece']:.1%}" in titles["reliability.png"]
    assert titles["prediction_grid.png"].startswith(f"{_right_in_grid(tiny_run)} of these 9 test images")
    for path in (tiny_run / "figures").iterdir():
        assert len(read_words(path)[1]) > 40

    events = EventAccumulator(str(logs), size_guidance={"tensors": 0})
    events.Reload()
    names = {path.removesuffix(".png") for path in FIGURES}
    assert names | {"test/accuracy", "test/ece"} <= set(events.Tags()["tensors"])
    (image,) = events.Tensors("confusion_matrix")
    assert image.tensor_proto.string_val[2].startswith(b"\x89PNG")
    (accuracy,) = events.Tensors("test/accuracy")  # not also that of the earlier test
    assert tf.make_ndarray(accuracy.tensor_proto) == pytest.approx(numbers["accuracy"])
    pictures = {path.name for path in (tiny_run / "wandb").rglob("media/images/*.png")}
    assert {name.split("_0_")[0] for name in pictures} == names


def _right_in_grid(folder):
    """Return the grid's own count, which must be possible for its rows."""
    title = read_words(folder / "figures" / "prediction_grid.png")[0]
    count = int(title.split()[0])
    right = [row["correct"] == "1" for row in read_csv(folder / "test_predictions.csv")]
    of_class = [sum(right[start : start + 6]) for start in (0, 6, 12)]
    assert sum(max(0, number - 3) for number in of_class) <= count <= sum(min(3, number) for number in of_class)
    return count


def test_no_logs_are_made_where_there_were_none(tiny_run, configure, tmp_path):
    configure(tiny_run, logs_dir=str(tmp_path / "elsewhere"))
    evaluate(EvaluateConfig(str(tiny_run)))
    assert not (tmp_path / "elsewhere").exists()


def mark_leaked(run, count):
    """Note in a run's split that the first test images repeat a training image; return their names."""
    split = read_split(run)
    trained = next(image.name for image in split if image.part == "train")
    leaked = [image.name for image in split if image.part == "test"][:count]
    repeats, seen = set(leaked[1:]), set(leaked[:1])  # the first one was seen by the network that was fine-tuned
    split = [image._replace(repeats=trained if image.name in repeats else "") for image in split]
    write_split(run, [image._replace(seen_in="runs/base: a.jpg" if image.name in seen else "") for image in split])
    return leaked


@pytest.mark.report
def test_the_accuracy_without_leaked_images_is_given_next_to_the_accuracy(tiny_run, capsys):
    unseen = "18 images that were used neither for training nor for any choice"
    numbers = evaluate(EvaluateConfig(str(tiny_run)))
    assert (numbers["leaked"], numbers["accuracy_without_leaked"]) == (0, numbers["accuracy"])
    assert numbers["keeps_split"]
    assert "also used for" not in capsys.readouterr().out
    assert unseen in (tiny_run / "report.html").read_text()

    leaked = mark_leaked(tiny_run, 5)
    (tiny_run / "metrics.json").write_text(json.dumps({**read_json(tiny_run / "metrics.json"), "test": None}))
    page = write_report(tiny_run).read_text()  # not tested yet
    assert "4 of 18 test images are also in train, such as" in page
    assert "1 of 18 test images was already used to train or validate the network that --from names" in page
    numbers = evaluate(EvaluateConfig(str(tiny_run)))
    rows = read_csv(tiny_run / "test_predictions.csv")
    assert [row["image"] for row in rows if row["repeats"]] == leaked
    others = [row["correct"] == "1" for row in rows if not row["repeats"]]
    assert len(others) == 13
    assert numbers["accuracy_without_leaked"] == np.mean(others)
    assert tuple(numbers["interval_without_leaked"]) == wilson_interval(sum(others), 13)
    shown = capsys.readouterr().out
    assert "warning: 4 of 18 test images are also in train, such as" in shown
    assert f"without 5:   {np.mean(others):6.1%}   (95 % interval" in shown
    assert "these 5 test images were also used for training or validation" in shown
    page = (tiny_run / "report.html").read_text()
    assert unseen not in page
    assert (
        f"5 of these photos were also used for training or validation; without them top-1 is {np.mean(others):.1%}"
        in page
    )
    assert f"{np.mean(others):.1%} without 5 leaked images" in page

    mark_leaked(tiny_run, 18)
    numbers = evaluate(EvaluateConfig(str(tiny_run)))
    assert numbers["accuracy_without_leaked"] is numbers["interval_without_leaked"] is None
    assert "none is left" in capsys.readouterr().out


@pytest.mark.report
def test_a_run_without_a_split_is_not_said_to_be_unseen(tiny_run):
    (tiny_run / "split.csv").unlink()
    assert not evaluate(EvaluateConfig(str(tiny_run)))["keeps_split"]
    page = (tiny_run / "report.html").read_text()
    assert "18 images of the test set" in page
    assert "The run has no split.csv, so it is not known whether the data has changed since it was trained." in page


@pytest.mark.report
def test_images_that_an_unknown_network_may_have_seen_are_not_said_to_be_unseen(tiny_run, configure, tmp_path, capsys):
    configure(tiny_run, from_=str(tmp_path / "old"))
    assert evaluate(EvaluateConfig(str(tiny_run)))["unchecked_runs"] == [str(tmp_path / "old")]
    assert f"warning: {tmp_path / 'old'} has no split.csv, so it is not known" in capsys.readouterr().out
    page = (tiny_run / "report.html").read_text()
    assert "18 images of the test set" in page
    assert "It is not known whether the network that was fine-tuned had been trained on some of them." in page


def test_moved_data_of_a_run_without_a_split_are_compared_by_their_counts(tiny_run, photos, tmp_path):
    (tiny_run / "split.csv").unlink()
    moved = shutil.copytree(photos, tmp_path / "moved")
    accuracy = evaluate(EvaluateConfig(str(tiny_run), data=str(moved)))["accuracy"]
    assert evaluate(EvaluateConfig(str(tiny_run), data=str(moved)))["accuracy"] == accuracy
    shutil.copy(moved / "train" / "iris" / "iris-00.png", moved / "test" / "iris" / "more.png")
    with pytest.raises(UserError, match=f"--data {moved}: has 7 test images of 'iris', and .*tiny was tested on 6"):
        evaluate(EvaluateConfig(str(tiny_run), data=str(moved)))


def test_numbers_of_another_model_do_not_count(tiny_run):
    assert find_score(open_run(tiny_run)) is None
    evaluate(EvaluateConfig(str(tiny_run)))
    rows, numbers = find_score(open_run(tiny_run))
    assert len(rows) == numbers["images"] == 18
    predictions = tiny_run / "test_predictions.csv"
    whole = predictions.read_text()
    predictions.write_text(whole[: len(whole) // 2])
    assert find_score(open_run(tiny_run)) is None
    predictions.write_text(whole)
    keras.saving.load_model(tiny_run / "last.keras").save(tiny_run / "model.keras")
    assert find_score(open_run(tiny_run)) is None


@pytest.mark.report
def test_an_interrupted_training_that_was_tested_is_not_finished(tiny_run, configure):
    (tiny_run / "metrics.json").unlink()
    configure(tiny_run, epochs=10)
    evaluate(EvaluateConfig(str(tiny_run)))
    assert "Training is not finished: 4 of 10 epochs are done." in (tiny_run / "report.html").read_text()
    entry = Catalogue(tiny_run.parent).find("tiny")
    assert (entry.state, entry.progress) == ("stopped", "4 of 10 epochs")


def test_a_test_belongs_to_the_model_that_was_loaded(tiny_run):
    """A training that still runs may replace model.keras while the model that was loaded is tested."""
    run = open_run(tiny_run)
    loaded, sha256 = run.model, run.hash_model()
    keras.saving.load_model(tiny_run / "last.keras").save(tiny_run / "model.keras")
    assert open_run(tiny_run).hash_model() != sha256
    _, numbers = score_run(run)
    assert run.model is loaded
    assert numbers["model_sha256"] == read_json(tiny_run / "calibration.json")["model_sha256"] == sha256
    assert find_score(run)
    assert find_score(open_run(tiny_run)) is None
    assert read_calibration(open_run(tiny_run)) is None
    assert run.move_data("elsewhere").hash_model() == sha256


def test_data_without_a_test_image(tiny_run, photo_folder, configure, capsys):
    root = photo_folder(train=6, test=0)
    configure(tiny_run, data=str(root))
    (tiny_run / "split.csv").unlink()
    before = (tiny_run / "metrics.json").read_text()
    assert run_command(str(tiny_run)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"--data {root}: has no test image" in error
    assert (tiny_run / "metrics.json").read_text() == before


def test_a_run_that_makes_no_mistake(tiny_run, tmp_path):
    matrix = np.diag([3, 4])
    path = draw_confusion_matrix(tmp_path / "matrix.png", matrix, ["a", "b"])
    assert read_words(path)[0] == "All 7 test images are right"


@pytest.mark.parametrize("classes", [2, 25, 120])
def test_figures_stay_readable_with_any_number_of_classes(tmp_path, classes):
    names = [f"class {label}" for label in range(classes)]
    matrix = 5 * np.eye(classes, dtype=int)
    matrix[classes - 1, 0] = 3
    rows = [
        {"class": name, "images": 5, "precision": 1.0, "recall": 1.0, "f1": 1 - label / 200}
        for label, name in enumerate(names)
    ]
    matrix_path = draw_confusion_matrix(tmp_path / "matrix.png", matrix, names)
    classes_path = draw_class_metrics(tmp_path / "classes.png", rows)
    assert f"class {classes - 1} is taken for class 0 (3x)" in read_words(matrix_path)[0]
    assert ("25 of 120 classes" in read_words(matrix_path)[1]) == (classes == 120)
    assert ("worst 25 of 120 classes" in read_words(classes_path)[1]) == (classes == 120)
    for path in (matrix_path, classes_path):
        with Image.open(path) as image:
            assert max(image.size) < 2000


@pytest.mark.parametrize(
    ("confidence", "right", "finding"),
    [(0.9, 5, "Over-confident"), (0.6, 9, "Under-confident"), (0.8, 8, "Well calibrated")],
)
def test_reliability_says_what_it_found(tmp_path, confidence, right, finding):
    path = draw_reliability(tmp_path / "r.png", np.full(10, confidence), np.arange(10) < right)
    assert read_words(path)[0].startswith(f"{finding}: {confidence:.0%} confident on average, {right * 10}% right")


def test_refusals_are_one_line(tmp_path, capsys):
    for words_given, says in (([], "RUN is missing"), ([str(tmp_path)], "not a run folder")):
        assert run_command(*words_given) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert says in error


def read_files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.figures
@pytest.mark.report
def test_results_can_be_written_to_another_folder(tiny_run, tmp_path, capsys):
    before, logs = read_files(tiny_run), read_files(tmp_path / "logs")
    out = tmp_path / "new" / "results"
    assert run_command(str(tiny_run), "--out", str(out)) == 0
    assert read_files(tiny_run) == before
    assert read_files(tmp_path / "logs") == logs
    assert {path.name for path in out.iterdir()} == {
        "metrics.json",
        "calibration.json",
        "test_predictions.csv",
        "figures",
        "report.html",
    }
    assert {path.name for path in (out / "figures").iterdir()} >= FIGURES
    assert json.loads((out / "metrics.json").read_text())["epochs"] == 4
    assert "18 images that" in (out / "report.html").read_text()
    shown = capsys.readouterr().out
    assert f"numbers:      {out / 'metrics.json'} (test)" in shown
    assert f"report:       {out / 'report.html'}" in shown


def test_an_output_folder_that_cannot_be_made_is_one_line(tiny_run, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run_command(str(tiny_run), "--out", str(tmp_path / "file" / "out")) == 2
    assert capsys.readouterr().err == f"error: --out {tmp_path / 'file' / 'out'}: Not a directory\n"


def test_data_that_has_moved_is_named(tiny_run, photos, tmp_path, configure, capsys):
    expected = evaluate(EvaluateConfig(str(tiny_run)))["accuracy"]
    configure(tiny_run, data="/no/such/photos")
    assert run_command(str(tiny_run)) == 2
    assert "if it has moved, name its new place with --data" in capsys.readouterr().err
    shutil.copytree(photos, tmp_path / "moved")
    assert evaluate(EvaluateConfig(str(tiny_run), data=str(tmp_path / "moved")))["accuracy"] == expected
    assert run_command(str(tiny_run), "--data", "/nowhere") == 2
    assert capsys.readouterr().err.startswith("error: --data /nowhere: no such folder")
