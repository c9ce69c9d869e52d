"""The evaluation of a run on other photos, its calibration, mirror images, worse photos, and the answer "unknown"."""

import json
import shutil

import keras
import numpy as np
import pytest
from PIL import Image

from workbench import cli
from workbench.commands import EVALUATE, PREDICT, EvaluateConfig, PredictConfig
from workbench.data.splits.saved_split import read_split
from workbench.errors import UserError
from workbench.evaluate import evaluate
from workbench.evaluation.calibration.saved_calibration import read_calibration
from workbench.evaluation.metrics.statistics import wilson_interval
from workbench.evaluation.other_data.other_data import open_other_data
from workbench.evaluation.probabilities import softmax
from workbench.files import read_csv, read_json
from workbench.finished_run import open_run
from workbench.predict import predict
from workbench.report import ReportConfig, report

NAMES = ["daisy", "iris", "rose"]


@pytest.fixture
def field(photos, tmp_path):
    """Other photos: new ones of `DAISY` and `I_ris`, none of rose, and the class tulip, which the run does not know."""
    rng = np.random.default_rng(5)
    colours = {"DAISY": (200, 190, 60), "I_ris": (110, 60, 190), "tulip": (90, 90, 90)}
    for name, count in (("DAISY", 5), ("I_ris", 4), ("tulip", 3)):
        folder = tmp_path / "field" / name
        folder.mkdir(parents=True)
        for number in range(count):
            tint = np.array(colours[name]) + rng.normal(0, 45, 3)
            pixels = rng.normal(tint, 40, (32, 32, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "field"


def compute_logits(run, paths):
    model = keras.saving.load_model(run / "model.keras")
    return np.asarray(model(np.stack([np.asarray(Image.open(path)) for path in paths]), training=False))


@pytest.mark.figures
@pytest.mark.report
def test_a_run_is_evaluated_on_other_photos_apart_from_its_own_test(tiny_run, field, capsys):
    own = evaluate(EvaluateConfig(str(tiny_run)))
    kept = (tiny_run / "test_predictions.csv").read_bytes()
    capsys.readouterr()
    metrics = evaluate(EvaluateConfig(str(tiny_run), data=str(field), tta=True, robustness=True))
    shown = capsys.readouterr().out
    assert f"--data {field}: other data than that of {tiny_run} (0 of its 54 images are in it)" in shown
    assert "evaluated: all of field, 12 images" in shown
    assert "classes that are spelled differently are matched: 'DAISY' as 'daisy', 'I_ris' as 'iris'" in shown
    assert "9 test images of 2 of 3 classes, each used once" in shown
    assert "classes only in the run: 'rose'; only in the data: 'tulip'" in shown
    saved = read_json(tiny_run / "metrics.json")["test"]
    assert saved == json.loads(json.dumps(own))
    assert (tiny_run / "test_predictions.csv").read_bytes() == kept

    folder = tiny_run / "evaluations" / "field"
    assert read_json(folder / "metrics.json") == json.loads(json.dumps(metrics))
    paths = [field / name / f"{number}.png" for name, count in (("DAISY", 5), ("I_ris", 4)) for number in range(count)]
    probabilities, labels = softmax(compute_logits(tiny_run, paths)), np.array([0] * 5 + [1] * 4)
    correct = probabilities.argmax(axis=1) == labels
    assert metrics["images"] == 9
    assert metrics["accuracy"] == pytest.approx(correct.mean())
    assert metrics["accuracy_interval"] == wilson_interval(correct.sum(), 9)
    assert metrics["balanced_accuracy"] == pytest.approx((correct[:5].mean() + correct[5:].mean()) / 2)
    rows = read_csv(folder / "predictions.csv")
    assert [row["true"] for row in rows] == ["daisy"] * 5 + ["iris"] * 4 + ["tulip"] * 3
    assert [row["correct"] for row in rows] == [*map(str, correct.astype(int)), "", "", ""]
    for row, expected in zip(rows[:9], probabilities, strict=True):
        assert [float(row[f"p_{name}"]) for name in NAMES] == pytest.approx(expected, abs=1e-5)

    mirrored = (probabilities + softmax(mirror_logits(tiny_run, paths))) / 2
    assert metrics["tta"]["accuracy"] == pytest.approx((mirrored.argmax(axis=1) == labels).mean())
    assert [float(row["tta_confidence"]) for row in rows[:9]] == pytest.approx(mirrored.max(axis=1), abs=1e-5)
    assert len(metrics["robustness"]) == 15
    assert metrics["robustness"][0]["difference"] == pytest.approx(
        metrics["robustness"][0]["accuracy"] - metrics["accuracy"]
    )
    assert metrics["foreign_unknown"]["of"] == metrics["foreign_images"] == 3
    page = (tiny_run / "report.html").read_text()
    assert "On other photos: field" in page
    assert "All of field, 12 images" in page
    assert "The network does not know &#39;tulip&#39; (3 images, not counted above)" in page
    assert "Accuracy on worse photos" in page
    assert "costs most" in page


def mirror_logits(run, paths):
    model = keras.saving.load_model(run / "model.keras")
    return np.asarray(model(np.stack([np.asarray(Image.open(path))[:, ::-1] for path in paths]), training=False))


def test_results_on_other_data_are_kept_and_not_mixed_up(tiny_run, field, tmp_path, capsys):
    first = evaluate(EvaluateConfig(str(tiny_run), data=str(field), robustness=True))
    shutil.copytree(field, tmp_path / "elsewhere" / "field", ignore=shutil.ignore_patterns("3.png"))
    evaluate(EvaluateConfig(str(tiny_run), data=str(tmp_path / "elsewhere" / "field")))
    evaluate(EvaluateConfig(str(tiny_run), data=str(field)))
    folder = tiny_run / "evaluations"
    assert {path.name for path in folder.iterdir()} == {"field", "field-2"}
    assert read_json(folder / "field" / "metrics.json")["robustness"] == json.loads(json.dumps(first["robustness"]))
    assert "robustness" not in read_json(folder / "field-2" / "metrics.json")
    Image.new("RGB", (32, 32), "white").save(field / "DAISY" / "0.png")  # as many photos, but not the same
    evaluate(EvaluateConfig(str(tiny_run), data=str(field)))
    assert "robustness" not in read_json(folder / "field" / "metrics.json")
    assert "test" not in read_json(tiny_run / "metrics.json")
    metrics = read_json(folder / "field" / "metrics.json")
    (folder / "field" / "metrics.json").write_text(json.dumps({**metrics, "accuracy": "high"}))
    with pytest.raises(UserError, match=r"evaluations/field/metrics.json: damaged \(test: accuracy is not a number\)"):
        report(ReportConfig(str(tiny_run)))


def test_the_content_of_the_images_decides_whether_data_has_moved(tiny_run, photos, tmp_path, capsys):
    run = open_run(tiny_run)
    moved = shutil.copytree(photos, tmp_path / "moved")
    tests_only = shutil.copytree(photos / "test", tmp_path / "tests_only")
    for data, count in ((moved, 54), (tests_only, 18)):
        assert open_other_data(run, str(data)) is None
        shown = capsys.readouterr().out
        assert f"--data {data}: the data of {tiny_run} ({count} of its 54 images are in it)" in shown

    (moved / "train" / "rose").rename(moved / "train" / "ROSE")
    (moved / "test" / "rose").rename(moved / "test" / "ROSE")
    renamed = open_other_data(run, str(moved))
    assert not any(image.seen_in for image in renamed.dataset.split)
    shown = capsys.readouterr().out
    assert "(54 of its 54 images are in it)" in shown
    assert "evaluated: the test part (test/) of moved, 18 images" in shown
    (moved / "train").rename(moved / "all")
    metrics = evaluate(EvaluateConfig(str(tiny_run), data=str(moved / "all")))
    assert metrics["leaked"] == metrics["images"] == 36


@pytest.mark.figures
@pytest.mark.report
def test_photos_of_one_class_are_evaluated(tiny_run, field, capsys):
    """What needs images of two classes is left out."""
    evaluate(EvaluateConfig(str(tiny_run), data=str(field)))
    figures = tiny_run / "evaluations" / "field" / "figures"
    assert (figures / "per_class.png").exists()
    for name in ("I_ris", "tulip"):
        shutil.rmtree(field / name)
    capsys.readouterr()
    metrics = evaluate(EvaluateConfig(str(tiny_run), data=str(field)))
    shown = capsys.readouterr().out
    assert "5 test images of 1 of 3 classes, each used once" in shown
    left_out = "balanced accuracy, precision and F1, because all test images are of one class"
    assert f"left out:     {left_out}" in shown
    assert not {"macro-F1", "weakest"} & {line.split(":")[0] for line in shown.splitlines()}
    labels = softmax(compute_logits(tiny_run, sorted((field / "DAISY").iterdir()))).argmax(axis=1)
    assert metrics["accuracy"] == pytest.approx((labels == 0).mean())
    assert not {"macro_f1", "balanced_accuracy", "macro_f1_interval", "balanced_accuracy_interval"} & metrics.keys()
    assert not (figures / "per_class.png").exists()
    page = (tiny_run / "report.html").read_text()
    assert f"Left out: {left_out}." in page
    assert "Each class" not in page.split("On other photos: field")[1]

    table = field / "table.csv"
    table.write_text("image,label\nDAISY/0.png,daisy\nDAISY/1.png,daisy\n")
    assert len(open_other_data(open_run(tiny_run), str(table)).dataset.test) == 2
    (field / "DAISY").rename(field / "tulip")
    with pytest.raises(UserError, match="none of its classes"):
        open_other_data(open_run(tiny_run), str(field))


def test_photos_that_the_run_has_seen_are_found_if_they_are_changed(tiny_run, photos, field, configure, capsys):
    split = {part: next(image for image in read_split(tiny_run) if image.part == part) for part in ("train", "test")}
    for part, image in split.items():
        with Image.open(photos / image.name) as photo:
            photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(field / "DAISY" / f"{part}.png")
    other = open_other_data(open_run(tiny_run), str(field)).dataset
    seen = {image.name: image.seen_in for image in other.split if image.seen_in}
    assert seen == {"DAISY/train.png": f"{tiny_run}: {split['train'].name}"}

    shutil.copy(photos / split["train"].name, field / "DAISY" / "same.png")
    configure(tiny_run, data="/no/such/photos")
    capsys.readouterr()
    other = open_other_data(open_run(tiny_run), str(field)).dataset
    assert [image.name for image in other.split if image.seen_in] == ["DAISY/same.png"]
    assert (
        f"only identical files are compared with those of {tiny_run}, whose data cannot be" in capsys.readouterr().out
    )


def test_data_without_a_known_class_is_refused(tiny_run, photo_folder, capsys):
    other = photo_folder(classes=("cat", "dog"), train=1, test=1, size=32)
    assert cli.main(EVALUATE, [str(tiny_run), "--data", str(other)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"--data {other}: none of its classes ('cat', 'dog') is one of {tiny_run} ('daisy', 'iris', 'rose')" in error
    assert not (tiny_run / "evaluations").exists()


def test_probabilities_are_calibrated_on_validation_images(tiny_run, photos, capsys, configure):
    paths = sorted((photos / "test").rglob("*.png"))
    before = predict_all(tiny_run, paths, capsys)
    assert cli.main(PREDICT, [str(tiny_run), str(paths[0]), "--unknown"]) == 2
    assert f"--unknown: {tiny_run} has no threshold for it; python -m workbench.evaluate" in capsys.readouterr().err
    metrics = evaluate(EvaluateConfig(str(tiny_run)))
    calibration = read_calibration(open_run(tiny_run))
    assert 0 < calibration.images < 18
    capsys.readouterr()
    after = predict_all(tiny_run, paths, capsys, unknown=True)
    logits = compute_logits(tiny_run, paths)
    for uncalibrated, row, expected in zip(before, after, logits, strict=True):
        plain, scaled = softmax(expected), softmax(expected / calibration.temperature)
        assert uncalibrated["predictions"][0]["probability"] == pytest.approx(plain.max(), abs=1e-5)
        assert row["predictions"][0]["probability"] == pytest.approx(scaled.max(), abs=1e-5)
        assert row["unknown"] == (scaled.max() < calibration.threshold)
        assert "unknown" not in uncalibrated
    rows = read_csv(tiny_run / "test_predictions.csv")
    assert [row["unknown"] for row in rows] == [str(int(row["unknown"])) for row in after]
    unknown = metrics["calibrated"]["unknown"]
    wrong_known = sum(row["correct"] == "0" and row["unknown"] == "0" for row in rows)
    assert unknown["wrong_known"]["count"] == wrong_known

    saved = read_json(tiny_run / "calibration.json")
    (tiny_run / "calibration.json").write_text(json.dumps({**saved, "unknown": {**saved["unknown"], "threshold": 0.5}}))
    predict(PredictConfig(str(tiny_run), [*map(str, paths)], unknown=True))
    shown = capsys.readouterr()
    confidence = softmax(logits / calibration.temperature).max(axis=1)
    assert [line.startswith("unknown ") for line in shown.out.splitlines()] == (confidence < 0.5).tolist()
    assert "calibrated probabilities (temperature" in shown.err
    (tiny_run / "calibration.json").write_text(json.dumps({**saved, "temperature": 0}))
    with pytest.raises(UserError, match=r"damaged \(calibration: temperature is not between 0.01 and 100\)"):
        predict(PredictConfig(str(tiny_run), [str(paths[0])]))
    (tiny_run / "calibration.json").write_text(json.dumps({**saved, "model_sha256": "of another model"}))
    assert predict_all(tiny_run, paths, capsys) == before


def predict_all(run, paths, capsys, **options):
    """Return the printed JSON objects of a prediction."""
    predict(PredictConfig(str(run), [*map(str, paths)], json=True, **options))
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_other_data_is_evaluated_where_the_own_data_is_gone(tiny_run, field, configure, capsys):
    configure(tiny_run, data="/no/such/photos")
    metrics = evaluate(EvaluateConfig(str(tiny_run), data=str(field)))
    assert "calibrated" not in metrics
    assert "foreign_unknown" not in metrics
    assert "not calibrated, because the run's validation images cannot be loaded" in capsys.readouterr().out
