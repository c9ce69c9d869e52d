import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from workbench.data.splits.saved_split import SplitImage, write_split
from workbench.errors import UserError
from workbench.evaluation.probabilities import softmax
from workbench.files import append_csv, write_text
from workbench.sweep.outcomes import outcome_store
from workbench.sweep.outcomes.outcome import CHECKSUM, FILE, make_outcome, save_outcome
from workbench.sweep.outcomes.outcome_store import FOLDER, OutcomeStore
from workbench.sweep.outcomes.sweep_outcomes import read_outcomes
from workbench.sweep.scheduling.trial import Trial
from workbench.sweep.scheduling.trial_files import TrialFiles

CLASSES, IMAGES = ["daisy", "iris", "rose"], 7
LABELS = np.arange(IMAGES) % len(CLASSES)


@pytest.fixture
def sweep(tmp_path):
    """The folder of a sweep with seven validation images, between others."""
    write_text(tmp_path / "classes.json", json.dumps(CLASSES))
    validation = [SplitImage(f"v{n}.jpg", CLASSES[label], "validation", "-") for n, label in enumerate(LABELS)]
    others = [SplitImage(f"{part}.jpg", "iris", part, "-") for part in ("train", "test")]
    write_split(tmp_path, [others[0], *validation, others[1]])
    return tmp_path


def make_logits(trial_id):
    return np.random.default_rng(int(trial_id)).normal(size=(IMAGES, len(CLASSES))) * 3


def record(sweep, trial_id, kind="all"):
    """Do what a worker and the scheduler do with a trial, until its outcome is moved to the array."""
    files = TrialFiles(sweep / "tuner")
    attempt = files.open_attempt(trial_id, "worker-1")
    checksum = save_outcome(attempt, make_outcome(make_logits(trial_id), LABELS, kind))
    result = {"val_accuracy": 0.5, "status": "completed", CHECKSUM: checksum}
    trial = Trial(trial_id, {}, status="completed", score=0.5, result=result)
    files.save(trial, attempt)
    return trial


def open_store(sweep, kind="all"):
    files = TrialFiles(sweep / "tuner")
    store = OutcomeStore(sweep, kind, files.get_folder)
    store.open(files.load())
    return store


def check(sweep, trials):
    """Every one of these trials has its own outcome, once, and no file of a worker is left."""
    found = read_outcomes(sweep)
    assert sorted(found.trials) == sorted(trials)
    for trial in trials:
        np.testing.assert_allclose(found.get_probabilities(trial), softmax(make_logits(trial)), atol=1e-3)
    assert not list(sweep.glob(f"tuner/*/{FILE}"))


def test_outcomes_are_joined_with_the_images_of_the_split(sweep):
    store = open_store(sweep)
    for trial in "02":
        store.add(record(sweep, trial))
    found = read_outcomes(sweep)
    assert found.names == [f"v{n}.jpg" for n in range(IMAGES)]
    np.testing.assert_array_equal(found.labels, LABELS)
    expected = np.stack([make_logits(trial).argmax(axis=1) == LABELS for trial in "02"])
    np.testing.assert_array_equal(found.compute_correct(), expected)
    chosen = found.select(["2", "1"])
    np.testing.assert_array_equal(chosen.compute_correct(), expected[1:])
    assert (sweep / FOLDER / "rows.f16").stat().st_size == 2 * store.format.num_bytes == 2 * IMAGES * 3 * 2


def test_the_true_classes_alone_say_what_is_correct(sweep):
    store = open_store(sweep, "true-class")
    store.add(record(sweep, "1", "true-class"))
    found, probabilities = read_outcomes(sweep), softmax(make_logits("1"))
    np.testing.assert_array_equal(found.compute_correct()[0], probabilities.argmax(axis=1) == LABELS)
    expected = probabilities[np.arange(IMAGES), LABELS]
    np.testing.assert_allclose(found.compute_true_probabilities()[0], expected, atol=1e-3)
    with pytest.raises(ValueError, match="only the probabilities of the true classes"):
        found.get_probabilities("1")


def test_sixteen_bits_change_no_predicted_class():
    logits = np.zeros((2, 5))
    logits[0, 3], logits[1, 4] = 1e-6, -1e-6  # the probabilities differ by less than 16 bits can hold
    outcome = make_outcome(logits, np.array([3, 0]), "all")
    np.testing.assert_array_equal(outcome.argmax(axis=1), [3, 0])
    assert np.signbit(make_outcome(logits, np.array([0, 4]), "true-class")).all()


class Killed(BaseException):
    """The process ends here."""


def kill(monkeypatch, at):
    """Let the store's process end before step `at` of those that change a file: row, index, worker's file."""
    steps = itertools.count()

    def count(function):
        def call(*args, **kwargs):
            if next(steps) == at:
                raise Killed
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(OutcomeStore, "_write_row", count(OutcomeStore._write_row))
    monkeypatch.setattr(outcome_store, "append_csv", count(append_csv))
    monkeypatch.setattr(Path, "unlink", count(Path.unlink))


@pytest.mark.parametrize("at", range(6))
def test_killed_at_any_step_no_outcome_is_lost_or_doubled(sweep, monkeypatch, at):
    store, trials = open_store(sweep), [record(sweep, "0"), record(sweep, "1")]
    with monkeypatch.context() as patch:
        kill(patch, at)
        with pytest.raises(Killed):
            for trial in trials:
                store.add(trial)
    store = open_store(sweep)
    check(sweep, ["0", "1"])
    store.add(record(sweep, "2"))
    check(sweep, ["0", "1", "2"])


def test_what_a_kill_or_a_full_disk_left_half_written_does_not_count(sweep):
    store = open_store(sweep)
    for trial in "01":
        store.add(record(sweep, trial))
    with open(sweep / FOLDER / "rows.f16", "ab") as file:
        file.write(b"half a row")
    with open(sweep / FOLDER / "index.csv", "a") as file:
        file.write("2,2")
    assert sorted(read_outcomes(sweep).trials) == ["0", "1"]
    record(sweep, "2")
    open_store(sweep)
    check(sweep, ["0", "1", "2"])


def test_a_damaged_row_and_that_of_a_trial_which_is_run_again_do_not_count(sweep):
    store = open_store(sweep)
    for trial in "012":
        store.add(record(sweep, trial))
    with open(sweep / FOLDER / "rows.f16", "r+b") as file:
        file.write(b"\0\0\0\0")
    shutil.rmtree(sweep / "tuner" / "trial_1")
    assert sorted(read_outcomes(sweep).trials) == ["1", "2"]
    store = open_store(sweep)
    check(sweep, ["2"])
    store.add(record(sweep, "1"))
    check(sweep, ["1", "2"])


def test_a_sweep_keeps_outcomes_of_one_kind(sweep):
    open_store(sweep)
    with pytest.raises(UserError, match=r"--keep-outcomes true-class: .*'all' for 7 images"):
        open_store(sweep, "true-class")


def test_a_sweep_without_outcomes_has_none(sweep):
    assert read_outcomes(sweep) is None
    open_store(sweep)
    assert read_outcomes(sweep) is None


def test_other_classes_or_images_are_one_line_that_names_the_files(sweep):
    open_store(sweep).add(record(sweep, "0"))
    write_text(sweep / "classes.json", json.dumps(["daisy", "iris", "tulip"]))
    with pytest.raises(UserError, match=r"classes\.json: has no class 'rose', which .*split\.csv has"):
        read_outcomes(sweep)
    write_text(sweep / "classes.json", json.dumps([*CLASSES, "tulip"]))
    with pytest.raises(UserError, match=r"outcomes for 7 images of 3 classes, but .* have 7 of 4; restore"):
        open_store(sweep)
