import dataclasses
import json
import shutil
import subprocess
import sys

import pytest

from tests.workbench.synthetic import write_run, write_sweep
from workbench.app.catalogue import Catalogue
from workbench.config import RunConfig
from workbench.files import append_csv, read_csv
from workbench.sweep.results import read_results
from workbench.sweep.status import RunningTrial, SweepStatus, publish_status
from workbench.training.run_folder import RunFolder


@pytest.fixture
def runs(tmp_path):
    """A folder with a finished and an interrupted training, a finished sweep, and a folder that is no run."""
    write_run(tmp_path)
    folder = tmp_path / "runs"
    shutil.copytree(folder / "cnn", folder / "interrupted")
    (folder / "interrupted" / "metrics.json").unlink()
    shutil.move(write_sweep(tmp_path, 20, failed=0.2, pruned=0.2), folder / "sweep")
    (folder / "sweep" / "metrics.json").write_text(json.dumps({"val_accuracy": 0.7, "trials": 20}))
    (folder / "comparison").mkdir()
    (folder / "comparison" / "comparison.json").write_text("[]")
    return folder


def test_runs_and_sweeps_with_their_states(runs):
    entries = {entry.name: entry for entry in Catalogue(runs).list_entries()}
    assert {name: entry.state for name, entry in entries.items()} == {
        "cnn": "finished",
        "interrupted": "stopped",
        "sweep": "finished",
    }
    assert entries["cnn"].progress == "4 epochs"
    assert entries["cnn"].accuracy == pytest.approx(0.8)
    assert entries["cnn"].has_model
    assert entries["sweep"].progress == "20 trials"
    assert entries["sweep"].results.best.val_accuracy == entries["sweep"].accuracy
    assert Catalogue(runs / "none").list_entries() == []


@pytest.mark.parametrize("metrics", [{"test": None}, {"epochs": 2, "val_accuracy": 0.6}])
def test_a_training_with_metrics_of_less_than_its_epochs_is_not_finished(runs, metrics):
    """They are only those of a test, or of the training before it was continued."""
    folder = runs / "folds"
    shutil.copytree(runs / "cnn", folder / "fold-1")
    (folder / "config.yaml").write_text("data: photos\nfolds: 2\nepochs: 4\n")
    for run in (runs / "cnn", folder / "fold-1"):
        (run / "metrics.json").write_text(json.dumps(metrics))
    assert Catalogue(runs).find("cnn").state == "stopped"
    assert Catalogue(runs).find("folds").progress == "0 of 2 folds"


def test_a_broken_folder_is_listed_with_the_reason_and_the_others_are_shown(runs):
    damages = {
        "no-config": lambda folder: (folder / "config.yaml").unlink(),
        "binary-config": lambda folder: (folder / "config.yaml").write_bytes(b"\xff\xfe\x00"),
        "list-config": lambda folder: (folder / "config.yaml").write_text("- 1\n"),
        "no-classes": lambda folder: (folder / "classes.json").write_text("[1]"),
        "metrics": lambda folder: (folder / "metrics.json").write_text('{"val_accuracy": "high"}'),
        "cut-metrics": lambda folder: (folder / "metrics.json").write_text('{"val_acc'),
        "history": lambda folder: (folder / "history.csv").write_text("epoch,loss\n1,nan\n"),
        "sweep-json": lambda folder: (folder / "sweep.json").write_text('{"parameters": 3}'),
        "history-folder": lambda folder: ((folder / "history.csv").unlink(), (folder / "history.csv").mkdir()),
    }
    for name, damage in damages.items():
        shutil.copytree(runs / "cnn", runs / name)
        damage(runs / name)
    entries = {entry.name: entry for entry in Catalogue(runs).list_entries()}
    for name in damages:
        assert entries[name].state == "damaged"
        assert entries[name].problem
        assert not entries[name].has_model
    assert entries["cnn"].state == "finished"


def test_only_names_of_the_folder_are_found(runs, tmp_path):
    write_run(tmp_path / "elsewhere")
    (runs / "link").symlink_to(tmp_path / "elsewhere" / "runs" / "cnn")
    (runs / "alias").symlink_to(runs / "cnn")
    (runs / ".hidden").mkdir()
    catalogue = Catalogue(runs)
    assert catalogue.find("cnn").name == "cnn"
    assert catalogue.find("alias").state == "finished"  # it stays in the folder
    for name in ("link", ".hidden", "../elsewhere/runs/cnn", str(runs / "cnn"), "cnn/../cnn", "", ".", "..", "cnn/"):
        assert catalogue.find(name) is None
    assert "link" not in {entry.name for entry in catalogue.list_entries()}


def test_a_run_that_a_process_holds_is_running(runs):
    folder = RunFolder(RunConfig(name="interrupted", runs_dir=str(runs), logs_dir=str(runs.parent / "logs")))
    catalogue = Catalogue(runs)
    with folder.lock():
        folder.describe_holder(device="2 CPU cores")
        entry = catalogue.find("interrupted")
        assert entry.state == "running"
        assert entry.device == "2 CPU cores"
        assert catalogue.list_entries()[0].name == "interrupted"
        assert entry.seconds_left == 0.0  # its four epochs are done
    assert catalogue.find("interrupted").state == "stopped"


def test_a_command_that_reads_its_data_is_not_called_damaged(runs):
    catalogue = Catalogue(runs)
    (runs / "new").mkdir()
    with RunFolder(RunConfig(name="new", runs_dir=str(runs), logs_dir=str(runs.parent / "logs"))).lock():
        entry = catalogue.find("new")
        assert (entry.state, entry.problem, entry.progress) == ("running", "", "reading the data")
        (runs / "new" / "config.yaml").write_text("- 1\n")
        (runs / "new" / "classes.json").write_text("[]")
        assert "does not hold options" in catalogue.find("new").problem


def test_a_cross_validation_is_followed_fold_by_fold(runs):
    folder, catalogue = runs / "folds", Catalogue(runs)
    folder.mkdir()
    (folder / "config.yaml").write_text("data: photos\nfolds: 2\nepochs: 4\n")
    shutil.copytree(runs / "cnn", folder / "fold-1")
    entry = catalogue.find("folds")
    assert (entry.state, entry.progress, entry.class_names) == ("stopped", "1 of 2 folds", ["daisy", "rose"])
    shutil.copytree(runs / "cnn", folder / "fold-2")
    shutil.copy(runs / "cnn" / "classes.json", folder)
    summary = {"folds": 2, "images": 40, "seen": 0, "val_accuracy": 0.85, "val_accuracy_interval": [0.7, 0.9]}
    summary |= {"fold_accuracies": [0.8, 0.9], "mean": 0.85, "standard_deviation": 0.07}
    (folder / "folds.json").write_text(json.dumps(summary))
    entry = catalogue.find("folds")
    assert (entry.state, entry.progress, entry.accuracy) == ("finished", "2 of 2 folds", 0.85)
    (folder / "folds.json").write_text(json.dumps({**summary, "fold_accuracies": ["high"]}))
    assert "folds.json: damaged" in catalogue.find("folds").problem


def test_a_folder_in_the_place_of_the_holder_is_nobody(runs):
    (runs / ".cnn.json").mkdir()
    assert {entry.name for entry in Catalogue(runs).list_entries()} == {"cnn", "interrupted", "sweep"}


def test_a_process_that_does_not_hold_the_folder_is_not_taken_for_its_holder(runs):
    """A file may name any process. Only one that has locked the folder counts, and could be stopped."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        holder = {"pid": other.pid, "since": "2026-01-01 00:00:00"}
        (runs / ".interrupted.json").write_text(json.dumps(holder))
        assert Catalogue(runs).find("interrupted").state == "stopped"
        for wrong in ({"pid": "1"}, {"pid": -1}, {"pid": 10**30}, [], {"pid": 1, "host": "elsewhere"}):
            (runs / ".interrupted.json").write_text(json.dumps(wrong))
            assert Catalogue(runs).find("interrupted").holder is None or wrong.get("host") == "elsewhere"
        other.stdin.close()


def test_a_growing_table_of_trials_is_read_on_from_where_it_ended(runs, monkeypatch):
    path = runs / "sweep" / "trials.csv"
    rows = read_csv(path)
    catalogue = Catalogue(runs)
    assert len(catalogue.find("sweep").results) == 20
    added = {**rows[0], "trial": "0100", "reason": 'two\nlines, "quoted"', "status": "failed"}
    append_csv(path, added)
    append_csv(path, {**rows[0], "trial": "0101"})
    with monkeypatch.context() as patch:  # the file is not read whole again
        patch.setattr("workbench.sweep.live_results.read_description", None)
        results = catalogue.find("sweep").results
    assert results.trials == read_results(runs / "sweep").trials
    assert results.failed[-1].reason == 'two\nlines, "quoted"'
    with open(path, "a") as file:  # a row that is being written
        file.write("0102,completed,0.9")
    assert len(catalogue.find("sweep").results) == 22
    path.unlink()
    assert len(catalogue.find("sweep").results) == 0
    with open(path, "w") as file:
        file.write("trial,other\n1,2\n")
    assert "a column is missing" in catalogue.find("sweep").problem


def test_a_sweep_that_its_budget_has_ended_is_finished(runs):
    status = SweepStatus(40, 1, 0.0, (), 1e9, ended="budget")
    for ended, trials, state in (("", 20, "stopped"), ("budget", 20, "finished"), ("budget", 12, "stopped")):
        with publish_status(runs / "sweep", lambda ended=ended: dataclasses.replace(status, ended=ended)):
            pass
        (runs / "sweep" / "metrics.json").write_text(json.dumps({"val_accuracy": 0.7, "trials": trials}))
        assert Catalogue(runs).find("sweep").state == state  # the third was continued, and its new best is not saved


def test_a_sweep_publishes_what_it_does(runs):
    running = (RunningTrial("worker-1", "0007", {"dropout": 0.5}, 2, 0.25),)
    states = iter(range(100))

    def describe():
        return SweepStatus(40, 1, 12.5, running, 1e9 + next(states))

    with publish_status(runs / "sweep", describe):
        pass
    entry = Catalogue(runs).find("sweep")
    assert entry.status.running == running
    assert entry.progress == "20 of 40 trials"
    assert entry.state == "stopped"
    (runs / "sweep" / "status.json").write_text('{"running": [1]}')
    assert Catalogue(runs).find("sweep").status is None
