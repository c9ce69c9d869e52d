"""`--folds`: each image validates once, the features are computed once, and the same command continues."""

from pathlib import Path

import keras
import numpy as np
import pytest

from transfer.run import run
from workbench.config import replace
from workbench.data.corrections import Correction, choose_action, write_corrections
from workbench.data.splits.saved_split import SplitImage, read_split, write_split
from workbench.errors import UserError
from workbench.evaluation.probabilities import softmax
from workbench.files import read_json, write_json
from workbench.finished_run import open_run
from workbench.training.cross_validation import collect_folds, cross_validate, read_out_of_fold
from workbench.training.fold_scores import describe_folds
from workbench.training.run_folder import read_config
from workbench.training.run_results import PROBABILITIES


def test_each_image_is_predicted_by_the_model_that_has_not_seen_it(config, capsys):
    folder = run(replace(config, folds=2, epochs=1))
    assert capsys.readouterr().out.count("computing the frozen layers once") == 1
    found, summary = read_out_of_fold(folder), read_json(folder / "folds.json")
    assert len({*found.names}) == len(found.names) == summary["images"] == 30
    assert found.probabilities.dtype == np.float16
    correct = np.array(found.class_names)[found.probabilities.argmax(axis=1)] == found.classes
    assert summary["val_accuracy"] == pytest.approx(correct.mean())
    first = 0
    for number in (1, 2):
        fold = folder / f"fold-{number}"
        names = [image.name for image in read_split(fold) if image.part == "validation"]
        assert found.names[first : first + len(names)] == names
        dataset = open_run(fold).load_dataset()
        assert {dataset.names[row] for row in dataset.validation} == {*names}
        logits = keras.saving.load_model(fold / "model.keras").predict(dataset.images[dataset.validation], verbose=0)
        kept = found.probabilities[first : first + len(names)]
        np.testing.assert_allclose(kept, softmax(logits), atol=2e-3)
        accuracy = read_json(fold / "metrics.json")["val_accuracy"]
        assert accuracy == pytest.approx(summary["fold_accuracies"][number - 1])
        first += len(names)

    # A command that was killed before it had written the last metrics is continued, also if that fold was tested since.
    write_json(folder / "fold-2" / "metrics.json", {"test": None})
    (folder / "fold-2" / PROBABILITIES).unlink()
    (folder / "folds.json").unlink()
    assert read_out_of_fold(folder) is None
    assert run(replace(config, folds=2, epochs=1)) == folder
    assert capsys.readouterr().out.count("trained already") == 1
    assert read_json(folder / "folds.json") == summary
    np.testing.assert_array_equal(read_out_of_fold(folder).probabilities, found.probabilities)
    assert read_config(folder / "fold-2", type(config)).data.fold == "2/2"

    with pytest.raises(UserError, match=r"--epochs 2: .*r was begun with 1; choose another --name"):
        run(replace(config, folds=2, epochs=2))


def test_labels_that_were_decided_between_two_folds_are_refused(config, tmp_path):
    table = tmp_path / "labels.csv"
    write_corrections(table, [Correction("train/red/0.png", "red", "blue", action="keep")])

    def train(settings):
        folder = run(settings)
        choose_action(table, "train/red/0.png", "exclude")
        return folder

    asked = replace(config, folds=2, epochs=1, labels=str(table))
    with pytest.raises(
        UserError, match=r"labels.csv: decides otherwise on 'train/red/0.png' than .*fold-1/corrections"
    ):
        cross_validate(asked, train, command="transfer.run", kind="x")
    assert Path("runs/r/fold-1/metrics.json").exists()
    assert not Path("runs/r/fold-2").exists()


def test_folds_are_joined_if_they_are_of_the_same_images(tmp_path):
    """And the images are counted that the network of --from has seen."""
    images = [SplitImage(f"{name}.jpg", name, "train", f"digest-{name}") for name in "abcd"]

    def write_folds(second):
        for number, split in ((1, images), (2, second)):
            fold = tmp_path / f"fold-{number}"
            fold.mkdir(exist_ok=True)
            rows = range(2 * number - 2, 2 * number)
            validation = [split[row]._replace(part="validation", seen_in="runs/x: b.jpg" * (row == 1)) for row in rows]
            write_split(fold, [*(image for row, image in enumerate(split) if row not in rows), *validation])
            write_json(fold / "classes.json", [*"abcd"])
            np.save(fold / PROBABILITIES, np.eye(4)[rows])

    write_folds(images)
    summary = collect_folds(tmp_path, 2)
    assert (summary["images"], summary["seen"], summary["val_accuracy"]) == (4, 1, 1.0)
    shown = describe_folds(summary)
    assert [line.partition(": ")[0] for line in shown] == ["2 folds", "note", "warning", "folds"]
    assert "its best epoch, which is chosen by the images that it is measured on" in shown[1]
    assert read_out_of_fold(tmp_path).seen == {"b.jpg"}
    for change in ({"digest": "other"}, {"class_name": "b"}, {"name": "e.jpg"}):
        write_folds([images[0]._replace(**change), *images[1:]])
        with pytest.raises(
            UserError, match=r"fold-2: has other images or labels than fold-1 \('a.jpg'\).* --overwrite"
        ):
            collect_folds(tmp_path, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 1}, "--folds 1: must be between 2 and 100"),
        ({"folds": 2, "budget": "5m"}, "--folds and --budget: cannot be combined"),
        ({"folds": 2, "resume": "runs/x"}, "--folds and --resume: cannot be combined; the same command continues"),
    ],
)
def test_options_that_folds_cannot_be_combined_with(config, options, message):
    with pytest.raises(UserError, match=message):
        run(replace(config, **options))
