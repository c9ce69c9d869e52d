"""Generated data folders: what inspect, training and predict make of them."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from tests.generated.commands import (
    check_kept,
    check_unchanged,
    open_workspace,
    read_contents,
    run_command,
    write_taken_run,
)
from tests.generated.conftest import TINY
from tests.generated.numbers import check_test, check_training
from tests.generated.profiles import examples
from tests.generated.strategies import DataFolder, data_folders
from workbench.config import DataConfig
from workbench.data.dataset import load_dataset
from workbench.data.folder_source import make_printable
from workbench.data.source import UNSPLIT

_TAKEN = ("--name", "taken", "--max-unreadable", "1")
PARTS = {"train", "test", "val", "validation"}


@examples(20)
@given(folder=st.one_of(data_folders(), data_folders(least_classes=2)))
def test_inspect_and_training_agree_on_a_data_folder(folder: DataFolder) -> None:
    """The training ends before it computes anything, because a run has its name already."""
    with open_workspace() as place:
        photos = folder.write(place / "photos")
        write_taken_run(place)
        before = read_contents(photos, place / "runs")
        inspected = run_command("workbench.data", "inspect", "photos")
        trained = run_command("cnn_scratch.train", "--data", "photos", *_TAKEN, *TINY, refused=True)
        check_unchanged(before, read_contents(photos, place / "runs"))
        event("used" if "runs/taken exists" in trained.error else "refused")
        if inspected.code == 2:
            assert trained.error == inspected.error
        if "runs/taken exists" in trained.error:
            _check_dataset(folder, photos)


def _check_dataset(folder: DataFolder, photos: Path) -> None:
    """Check that each image is used once, in the class and the part that its path says."""
    dataset = load_dataset(DataConfig(data=str(photos), image_size=32, max_unreadable=1.0), seed=0)
    rows = [*dataset.train, *dataset.validation, *dataset.test]
    assert len(rows) == len(set(rows)) == len(dataset.names) == len(set(dataset.names))
    uses_parts = dataset.folders.get(UNSPLIT) != photos.name
    for name, label in zip(dataset.names, dataset.labels, strict=True):
        first, *rest = name.split(os.sep)
        assert dataset.class_names[label] == (rest[0] if uses_parts else first)
    for row in dataset.test:
        assert not uses_parts or dataset.names[row].split(os.sep)[0] in PARTS
    printable = {make_printable(path) for path in folder.images}
    missed = {name for name in printable - set(dataset.names) if _is_of_class(name, dataset.class_names, uses_parts)}
    assert not missed, missed


def _is_of_class(name: str, class_names: list[str], uses_parts: bool) -> bool:
    parts = name.split(os.sep)
    if uses_parts:
        return parts[0] == "train" and parts[1] in class_names
    return parts[0] in class_names


@examples(6)
@given(folder=data_folders())
def test_predict_classifies_or_reports_each_file(finished: Path, folder: DataFolder) -> None:
    with open_workspace() as place:
        photos = folder.write(place / "photos")
        before = read_contents(photos, finished)
        outcome = run_command(
            "workbench.predict", str(finished / "runs" / "tiny"), "photos", "--json", allowed=(0, 1, 2)
        )
        check_unchanged(before, read_contents(photos, finished))
        classified = [line for line in outcome.output.splitlines() if line.startswith('{"image": ')]
        unreadable = outcome.errors.count("cannot read photos")
        assert (outcome.code == 1) == bool(unreadable)
        assert (outcome.code == 2) == (not classified and not unreadable)
        hidden = [path for path in folder.images if any(part.startswith((".", "__")) for part in path.split(os.sep))]
        assert len(classified) >= len(folder.images) - len(hidden)


@pytest.mark.figures
@pytest.mark.report
@examples(1)
@given(folder=data_folders(least_classes=2, hazards=2))
def test_a_training_on_a_data_folder_reports_the_numbers_of_its_model(folder: DataFolder) -> None:
    with open_workspace() as place:
        photos = folder.write(place / "photos")
        before = read_contents(photos)
        words = ("--data", "photos", "--name", "run", "--epochs", "1", "--max-unreadable", "1", *TINY)
        trained = run_command("cnn_scratch.train", *words)
        if trained.code == 2:
            assert not (place / "runs" / "run").exists()
        else:
            run = place / "runs" / "run"
            check_training(run, photos, trained.output)
            made = read_contents(run)
            tested = run_command("workbench.evaluate", "runs/run", refused=False)
            check_test(run, photos, tested.output)
            check_kept(made, read_contents(run), r"(metrics\.json|report\.html)$")
            shutil.rmtree(run)
        check_unchanged(before, read_contents(photos))
