"""Run folders with generated damage: commands use what is whole, name what is not, and leave the rest as it was."""

import json
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from tests.generated.commands import (
    Contents,
    Outcome,
    check_kept,
    check_unchanged,
    open_workspace,
    read_contents,
    run_command,
)
from tests.generated.numbers import check_test
from tests.generated.profiles import examples
from tests.generated.strategies import DAMAGES, damage

OLD_RUNS = Path(__file__).parents[1] / "compatibility" / "old_runs"
RUNS = ("tiny", "tiny", "tiny", "cnn", "finetuned", "sweep")
_WRITTEN = {  # by each command, as regular expressions
    "workbench.predict": "^$",
    "workbench.report": r"(/report\.html|/figures/.*\.png)$",
    "workbench.evaluate": r"(/report\.html|/figures/.*\.png|/(metrics|calibration)\.json|/test_predictions\.csv)$",
    "workbench.compare": r"/report\.html$",
}


@pytest.fixture(scope="module")
def run_folders(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the runs of `RUNS` and the photos of `tiny`; it must not be written to."""
    folder = tmp_path_factory.mktemp("runs")
    shutil.copytree(OLD_RUNS, folder / "runs")
    shutil.copytree(finished / "runs" / "tiny", folder / "runs" / "tiny")
    shutil.copytree(finished / "photos", folder / "photos")
    return folder


def copy_damaged(data: st.DataObject, place: Path, run_folders: Path, name: str) -> Path:
    """Copy a run to `runs/NAME`, and damage up to two of its files."""
    (place / "photos").symlink_to(run_folders / "photos")
    run = shutil.copytree(run_folders / "runs" / name, place / "runs" / name)
    for _ in range(data.draw(st.sampled_from([1, 1, 1, 2]), label="damages")):
        files = [path for path in sorted(run.rglob("*")) if path.is_file() and path.suffix not in (".png", ".html")]
        path = data.draw(st.sampled_from(files), label="file")
        how = data.draw(st.sampled_from(DAMAGES), label="damage")
        damage(data.draw, run, path, how)
        event(f"{path.suffix} {how}")
    return run


def call(module: str, run: Path, *words: str) -> tuple[Outcome, Contents]:
    """Call a command on a damaged run; check that it changes only what it writes, and nothing if it is refused.

    Returns:
        What it did, and the contents of all folders before.
    """
    folders = (run.parent, Path("photos"))
    before = read_contents(*folders)
    outcome = run_command(module, *words, allowed=(0, 1, 2) if module == "workbench.predict" else (0, 2))
    after = read_contents(*folders)
    if outcome.code == 2:
        check_kept(before, after)
    else:
        check_kept(before, after, _WRITTEN[module])
    leftovers = [path for path in after if "/.writing-" in path]
    assert not leftovers, leftovers
    return outcome, before


@examples(8)
@given(data=st.data())
def test_a_damaged_run_is_reported_or_named(run_folders: Path, data: st.DataObject) -> None:
    with open_workspace() as place:
        run = copy_damaged(data, place, run_folders, data.draw(st.sampled_from(RUNS), label="run"))
        outcome, _ = call("workbench.report", run, f"runs/{run.name}")
        if outcome.code == 0:
            assert (run / "report.html").stat().st_size > 1_000


@examples(4)
@given(data=st.data())
def test_a_damaged_run_predicts_as_its_model_does_or_is_refused(run_folders: Path, data: st.DataObject) -> None:
    with open_workspace() as place:
        run = copy_damaged(data, place, run_folders, data.draw(st.sampled_from(RUNS), label="run"))
        photo = "photos/test/red/000.png"
        outcome, _ = call("workbench.predict", run, f"runs/{run.name}", photo, "--json")
        if outcome.code == 0:
            model = keras.saving.load_model(run / "model.keras", compile=False)
            classes = json.loads((run / "classes.json").read_text())
            shown = {row["class"]: row["probability"] for row in json.loads(outcome.output)["predictions"]}
            assert len(shown) == min(3, model.output_shape[1])
            assert shown.keys() <= set(classes)
            if model.input_shape[1:] == (40, 40, 3):  # the photo's own size
                pixels = keras.utils.img_to_array(keras.utils.load_img(photo))[None]
                logits = np.asarray(model(pixels, training=False))[0]
                assert classes[int(logits.argmax())] == next(iter(shown))


@examples(4)
@given(data=st.data())
def test_a_damaged_training_is_not_resumed_or_restarted(run_folders: Path, data: st.DataObject) -> None:
    """All epochs are done, so a whole run is refused too; nothing may be changed but metrics that are damaged."""
    with open_workspace() as place:
        name = data.draw(st.sampled_from(["tiny", "finetuned"]), label="run")
        run = copy_damaged(data, place, run_folders, name)
        before = read_contents(place / "runs")
        module = "cnn_scratch.train" if name == "tiny" else "transfer.run"
        metrics, whole = run / "metrics.json", run_folders / "runs" / name / "metrics.json"
        is_damaged = not metrics.exists() or metrics.read_bytes() != whole.read_bytes()
        outcome = run_command(module, "--resume", f"runs/{run.name}", refused=None if is_damaged else True)
        if outcome.code == 0:  # as after a kill behind the last epoch: only what follows it is written
            check_kept(before, read_contents(place / "runs"), r"/(metrics\.json|report\.html|config\.yaml)$")
        else:
            check_unchanged(before, read_contents(place / "runs"))


@pytest.mark.figures
@examples(4)
@given(data=st.data())
def test_a_damaged_run_is_compared_by_its_true_numbers_or_refused(run_folders: Path, data: st.DataObject) -> None:
    with open_workspace() as place:
        run = copy_damaged(data, place, run_folders, "tiny")
        shutil.copytree(run_folders / "runs" / "tiny", place / "runs" / "whole")
        # a run that has not been tested is tested
        tests_again = r"|/((metrics|calibration)\.json|test_predictions\.csv)$"
        before = read_contents(place / "runs")
        outcome = run_command("workbench.compare", "runs/whole", "runs/tiny")
        check_kept(before, read_contents(place / "runs"), _WRITTEN["workbench.compare"] + tests_again)
        if outcome.code == 0:
            rows = json.loads((place / "comparison" / "comparison.json").read_text())
            assert rows[1]["accuracy"] == json.loads((run / "metrics.json").read_text())["test"]["accuracy"]
            assert rows[0]["images"] == rows[1]["images"] == 10


@pytest.mark.figures
@pytest.mark.report
@examples(1)
@given(data=st.data())
def test_a_damaged_run_is_evaluated_with_the_numbers_of_its_model_or_refused(
    run_folders: Path, data: st.DataObject
) -> None:
    with open_workspace() as place:
        run = copy_damaged(data, place, run_folders, "tiny")
        outcome, _ = call("workbench.evaluate", run, "runs/tiny")
        if outcome.code == 0:
            check_test(run, place / "photos", outcome.output)
            assert re.search(r"^report: +runs/tiny/report\.html$", outcome.output, re.MULTILINE), outcome
