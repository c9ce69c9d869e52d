"""Wrong labels are found, listed and shown, and corrected without touching a photo."""

import csv
import shutil

import numpy as np
import pytest

from cnn_scratch.config import TrainConfig
from workbench.config import DataConfig, RunConfig, build
from workbench.data.config import LabelsConfig
from workbench.data.corrections import (
    CORRECTIONS,
    Correction,
    choose_action,
    merge_corrections,
    read_corrections,
    write_corrections,
)
from workbench.data.dataset import load_dataset
from workbench.data.description import describe
from workbench.data.splits.kept_split import open_kept_split
from workbench.data.splits.saved_split import read_split, write_split
from workbench.errors import UserError
from workbench.evaluation.probabilities import softmax
from workbench.files import write_csv, write_json
from workbench.finished_run import open_run
from workbench.labels import search
from workbench.labels.predictions import collect_predictions
from workbench.labels.search import search_labels
from workbench.training.cross_validation import FOLDS, IMAGES, OUT_OF_FOLD
from workbench.training.run_folder import RunFolder

CLASSES = ["daisy", "iris", "rose"]


@pytest.fixture
def data(photo_folder):
    """16 photos of each of three classes; two of them are in the folder of another class."""
    root = photo_folder(train=16, test=None)
    shutil.move(root / "daisy" / "daisy-03.jpg", root / "iris" / "daisy-03.jpg")
    shutil.move(root / "rose" / "rose-05.jpg", root / "daisy" / "rose-05.jpg")
    return root


def write_cross_validation(folder, data, labels=None, seen=()):
    """Write what a cross-validation leaves whose models see what a photo shows, and are not sure.

    The network of `--from` has been trained on the images `seen`.
    """
    config = build(TrainConfig, data=str(data), image_size=16, fold="1/2", labels=labels)
    dataset = load_dataset(config.data, seed=0)
    fold = RunFolder(RunConfig(name="fold-1", runs_dir=str(folder), logs_dir=str(folder / "logs")))
    fold.path.mkdir(parents=True)
    fold.write_dataset(dataset, is_new=True)
    fold.write_config(config)
    shutil.copy(fold.path / "config.yaml", folder)
    rows = np.concatenate([dataset.train, dataset.validation])
    names, rng = [dataset.names[row] for row in rows], np.random.default_rng(0)
    shown = [CLASSES.index(name.rpartition("/")[2].partition("-")[0]) for name in names]
    probabilities = 0.8 * np.eye(3)[shown] + 0.2 * rng.dirichlet(np.ones(3), len(rows))
    np.save(folder / OUT_OF_FOLD, probabilities.astype(np.float16))
    write_csv(
        folder / IMAGES,
        [
            {"image": name, "class": CLASSES[dataset.labels[row]], "seen_in": "runs/x" if name in seen else ""}
            for name, row in zip(names, rows, strict=True)
        ],
    )
    write_json(folder / "classes.json", CLASSES)
    write_json(folder / FOLDS, {})
    return names


def read_table(folder):
    with open(folder / "labels" / "labels.csv", newline="") as file:
        return list(csv.DictReader(file))


def set_actions(path, actions):
    with open(path, newline="") as file:
        rows = [{**row, "action": actions.get(row["image"], row["action"])} for row in csv.DictReader(file)]
    write_csv(path, rows)


def test_wrong_labels_are_found_reviewed_and_corrected(data, tmp_path, capsys, monkeypatch):
    pytest.importorskip("cleanlab")
    run = tmp_path / "my cv"
    names = write_cross_validation(run, data)
    wrong = {"iris/daisy-03.jpg": ("iris", "daisy"), "daisy/rose-05.jpg": ("daisy", "rose")}
    wrong = {name: pair for name, pair in wrong.items() if name in names}  # the test set has the others
    assert wrong
    problems = search_labels(LabelsConfig([str(run), str(run)]))
    assert {item.image: (item.label, item.suggested) for item in problems} == wrong
    assert all((item.agreeing, item.models) == (2, 2) for item in problems)
    assert [item.score for item in problems] == sorted(item.score for item in problems)
    page = (run / "labels" / "labels.html").read_text()
    assert page.count("data:image/jpeg") == len(wrong)
    assert all(name in page for name in wrong)
    out = capsys.readouterr().out
    assert f"each by 2 models that had not seen it: {len(wrong)} label" in out
    assert "by 2 models that had not seen it" in page
    table = run / "labels" / "labels.csv"
    assert f"apply:    python -m cnn_scratch.train --data ... --labels '{table}'\n" in out
    assert [(row["image"], row["action"]) for row in read_table(run)] == [(item.image, "") for item in problems]

    def load(**options):
        return load_dataset(DataConfig(data=str(data), image_size=16, **options), seed=0)

    with pytest.raises(UserError, match=r"labels.csv: no row has an action"):
        load(labels=str(table))
    first, *others = [item.image for item in problems]
    set_actions(table, {first: "Relabel", **dict.fromkeys(others, "exclude")})
    before, after = load(), load(labels=str(table))
    row = after.names.index(first)
    assert after.class_names[after.labels[row]] == wrong[first][1]
    assert after.left_out == others
    assert {image.name for image in after.split} == {*before.names} - {*others}
    assert after.key != before.key
    search_labels(LabelsConfig([str(run)]))  # a review that has begun is not lost
    assert {row["image"]: row["action"] for row in read_table(run)} == {
        first: "relabel",
        **dict.fromkeys(others, "exclude"),
    }

    def collect(*arguments):  # while a search runs, somebody decides in the live pages
        choose_action(table, first, "keep")
        return collect_predictions(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(search, "collect_predictions", collect)
        search_labels(LabelsConfig([str(run)]))
    assert {row["image"]: row["action"] for row in read_table(run)}[first] == "keep"
    assert all(row["seen"] for row in read_table(run))
    choose_action(table, first, "relabel", wrong[first][1])
    assert f"labels.csv: 1 image relabelled, {len(others)} excluded" in describe(after)
    assert (data / first).exists()

    # A run keeps the corrections: the table is not needed any more, and what was reviewed is not proposed again.
    corrected = tmp_path / "corrected"
    write_cross_validation(corrected, data, labels=str(table))
    table.unlink()
    kept = load_dataset(
        DataConfig(data=str(data), image_size=16, labels=str(table)),
        seed=0,
        kept=open_kept_split(corrected / "fold-1", "resume"),
    )
    assert not kept.changes
    assert kept.class_names[kept.labels[row]] == wrong[first][1]
    assert (corrected / "fold-1" / CORRECTIONS).exists()
    assert search_labels(LabelsConfig([str(corrected)])) == []
    kept_row = read_table(corrected)[0]
    assert (kept_row["image"], kept_row["action"]) == (first, "relabel")
    choose_action(corrected / "labels" / "labels.csv", first, "")  # an action that is taken back does not return
    search_labels(LabelsConfig([str(corrected)]))
    assert first not in {row["image"] for row in read_table(corrected) if row["action"]}


def test_images_that_the_network_of_from_was_trained_on_are_left_out(data, tmp_path, capsys):
    pytest.importorskip("cleanlab")
    names = write_cross_validation(tmp_path / "cv", data, seen={"iris/daisy-03.jpg", "daisy/rose-05.jpg"})
    left_out = {"iris/daisy-03.jpg", "daisy/rose-05.jpg"} & {*names}
    assert search_labels(LabelsConfig([str(tmp_path / "cv")])) == []
    assert f"left out: {len(left_out)} image" in capsys.readouterr().out
    write_cross_validation(tmp_path / "all", data, seen=names)
    with pytest.raises(UserError, match="all: the network of --from was trained on all its validation images"):
        search_labels(LabelsConfig([str(tmp_path / "all")]))


def test_a_run_without_folds_is_searched_in_its_validation_images(tiny_run):
    run = open_run(tiny_run)
    dataset, found = run.load_dataset(), collect_predictions([str(tiny_run)])
    assert found.names == [dataset.names[row] for row in dataset.validation]
    expected = softmax(np.asarray(run.model(dataset.images[dataset.validation], training=False)))
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)


def test_images_whose_photo_the_models_were_trained_on_are_left_out(data, tmp_path, capsys):
    """A copy with the same wrong label would hide the mistake."""
    pytest.importorskip("cleanlab")
    wrong = {"iris/daisy-03.jpg", "daisy/rose-05.jpg"}
    names = write_cross_validation(tmp_path / "cv", data)
    assert wrong <= {*names}
    split = read_split(tmp_path / "cv" / "fold-1")
    copies = [image._replace(part="validation", repeats=names[0]) if image.name in wrong else image for image in split]
    write_split(tmp_path / "cv" / "fold-1", copies)
    assert search_labels(LabelsConfig([str(tmp_path / "cv")])) == []
    assert "left out: 2 validation images whose photo is also a training image" in capsys.readouterr().out
    repeated = [image._replace(part="validation", repeats=names[0]) for image in split]
    write_split(tmp_path / "cv" / "fold-1", repeated)
    with pytest.raises(UserError, match="cv: its model was trained on the photos of all its validation images"):
        search_labels(LabelsConfig([str(tmp_path / "cv")]))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("daisy/daisy-00.jpg,daisy,rose,0.1,rename", "row 2: unknown action 'rename'; write keep, relabel or exclude"),
        ("daisy/daisy-00.jpg,rose,iris,0.1,relabel", "is labelled 'rose' there and 'daisy' in the data"),
        ("daisy/daisy-00.jpg,daisy,tulip,0.1,relabel", "there is no class 'tulip' in the data"),
    ],
)
def test_corrections_that_cannot_be_applied(data, tmp_path, row, message):
    table = tmp_path / "labels.csv"
    table.write_text(f"image,label,suggested,score,action\n{row}\n")
    with pytest.raises(UserError) as error:
        load_dataset(DataConfig(data=str(data), image_size=16, labels=str(table)), seed=0)
    assert message in str(error.value)


def test_a_label_that_was_corrected_in_the_data_too(data, tmp_path):
    table = tmp_path / "labels.csv"
    table.write_text("image,label,suggested,score,action\ndaisy/daisy-00.jpg,rose,daisy,0.1,relabel\n")
    dataset = load_dataset(DataConfig(data=str(data), image_size=16, labels=str(table)), seed=0)
    assert dataset.class_names[dataset.labels[dataset.names.index("daisy/daisy-00.jpg")]] == "daisy"
    assert "labels.csv: 0 images relabelled, 0 excluded" in describe(dataset)


@pytest.fixture
def edit_photos(data):
    """A function that edits labels in a table of the same photos, and returns its path."""
    rows = {f"{file.parent.name}/{file.name}": file.parent.name for file in sorted(data.rglob("*.jpg"))}

    def edit(labels):
        rows.update(labels)
        write_csv(data / "photos.csv", [{"image": image, "label": label} for image, label in rows.items()])
        return data / "photos.csv"

    return edit


@pytest.mark.parametrize("is_trained_with_it", [False, True])
def test_a_search_after_labels_were_edited_in_the_data_leaves_a_table_that_fits(
    edit_photos, tmp_path, is_trained_with_it
):
    pytest.importorskip("cleanlab")
    data, run = edit_photos({}), tmp_path / "cv"
    names = [name for name in write_cross_validation(run, data) if "daisy/daisy" in name]
    keep, exclude, done, other, unchanged = names[:5]
    (run / "labels").mkdir()
    table = run / "labels" / "labels.csv"
    rows = [Correction(name, "daisy", "rose", action="keep") for name in (keep, unchanged)]
    rows += [Correction(exclude, "daisy", "rose", action="exclude")]
    rows += [Correction(done, "daisy", "rose", action="relabel"), Correction(other, "daisy", "iris", action="relabel")]
    write_corrections(table, rows)
    if is_trained_with_it:
        write_cross_validation(tmp_path / "again", data, labels=str(table))
        shutil.copytree(run / "labels", tmp_path / "again" / "labels")
        run = tmp_path / "again"
        table = run / "labels" / "labels.csv"
    edit_photos(dict.fromkeys((keep, exclude, done, other), "rose"))

    def load():
        return load_dataset(DataConfig(data=str(data), image_size=16, labels=str(table)), seed=0)

    with pytest.raises(UserError, match=r"is labelled 'daisy' there and 'rose' in the data; .*search the labels again"):
        load()
    search_labels(LabelsConfig([str(run)]))
    after = {row.image: row for row in read_corrections(table)}
    assert {name: (after[name].label, after[name].action) for name in (exclude, done, unchanged)} == {
        exclude: ("rose", "exclude"),
        done: ("rose", "keep"),
        unchanged: ("daisy", "keep"),
    }
    assert all((after[name].label, after[name].action) == ("rose", "") for name in (keep, other) if name in after)
    assert load().left_out == [exclude]


def test_an_unfinished_cross_validation_is_named_as_that(data, tmp_path):
    run = tmp_path / "cv"
    write_cross_validation(run, data)
    (run / "config.yaml").write_text(f"data: {data}\nfolds: 2\n")
    (run / "folds.json").unlink()
    with pytest.raises(UserError, match=r"cv: not all folds are trained; repeat the command that began them"):
        search_labels(LabelsConfig([str(run)]))


def test_an_image_whose_action_is_taken_back_has_the_label_of_the_data_again(data, tmp_path):
    """Also if a run was trained with the corrected label."""
    pytest.importorskip("cleanlab")
    names = write_cross_validation(tmp_path / "before", data)
    right = next(name for name in names if name.startswith("daisy/daisy"))
    wrong = "iris/daisy-03.jpg"
    assert wrong in names
    table = tmp_path / "labels.csv"
    write_corrections(
        table, [Correction(name, name.partition("/")[0], "rose", action="relabel") for name in (right, wrong)]
    )
    run = tmp_path / "cv"
    write_cross_validation(run, data, labels=str(table))
    (run / "labels").mkdir()
    shutil.copy(table, run / "labels" / "labels.csv")
    for image in (right, wrong):
        choose_action(run / "labels" / "labels.csv", image, "")
    search_labels(LabelsConfig([str(run)]))
    after = {row.image: row.label for row in read_corrections(run / "labels" / "labels.csv")}
    assert right not in after
    assert after[wrong] == "iris"


def test_a_table_without_rows_and_the_last_action_count(tmp_path):
    write_corrections(tmp_path / "labels.csv", [])
    assert read_corrections(tmp_path / "labels.csv") == []
    first, again, other, unseen = (
        Correction(image, "a", "b", action=action)
        for image, action in (("1", "keep"), ("1", "relabel"), ("2", "exclude"), ("1", ""))
    )
    assert merge_corrections([first, other], [again], [unseen]) == [again, other]


def test_without_cleanlab_the_extra_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs cleanlab: pip install cleanlab"):
        search_labels(LabelsConfig(["runs/x"]))


def test_a_run_that_is_none():
    with pytest.raises(UserError, match="name a run"):
        search_labels(LabelsConfig([]))
    with pytest.raises(UserError, match="nowhere: no such run folder"):
        search_labels(LabelsConfig(["nowhere"]))
