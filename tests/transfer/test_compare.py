import json
import shutil
import types
from pathlib import Path

import pytest

from tests import processes
from transfer.compare import _build_strategy, _has_same_settings, compare
from transfer.config import CompareConfig
from transfer.defaults import resolve
from transfer.run import run
from workbench import cli
from workbench.config import build, replace
from workbench.data.corrections import Correction, choose_action, write_corrections
from workbench.errors import UserError


@pytest.fixture
def comparison(config):
    scratch = config.backbone.from_
    return build(CompareConfig, data=config.data.data, from_=scratch, epochs=1, name="c", scratch=scratch)


def test_three_strategies_and_the_network_from_scratch_are_compared(comparison, monkeypatch):
    monkeypatch.setattr("transfer.compare.subprocess", types.SimpleNamespace(run=processes.run))
    rows = compare(comparison)
    assert [Path(row["run"]).name for row in rows] == ["c-last_layer", "c-first_k", "c-all", "cnn"]
    assert all(row["low"] <= row["accuracy"] <= row["high"] and row["peak_memory_bytes"] > 1e8 for row in rows)
    assert rows[0]["trained_parameters"] < rows[1]["trained_parameters"] < rows[2]["trained_parameters"]
    assert json.loads(Path("runs/c/strategies.json").read_text()) == rows
    assert [row["features"] for row in rows] == ["computed", "computed", "cached", "none"]
    assert rows[2]["feature_seconds"] == rows[0]["feature_seconds"] > 0  # both train a head on the same features
    page = Path("runs/c/report.html").read_text()
    assert "(cached)" in page
    assert "What each training took" in page
    assert f"{rows[1]['trained_parameters']:,}" in page
    before = {path: path.stat().st_mtime for path in Path("runs").glob("c-*/model.keras")}
    compare(comparison)  # nothing is trained twice
    assert before == {path: path.stat().st_mtime for path in Path("runs").glob("c-*/model.keras")}
    metrics = Path("runs/c-last_layer/metrics.json")
    metrics.write_text(json.dumps({"test": json.loads(metrics.read_text())["test"]}))  # an interrupted, tested training
    compare(comparison)
    assert json.loads(metrics.read_text())["epochs"] == 1
    with pytest.raises(UserError, match="c-last_layer: made with other settings"):
        compare(replace(comparison, epochs=2))


def test_a_name_that_no_run_can_have_is_refused_before_a_strategy_is_run(comparison):
    with pytest.raises(UserError, match="--name a b: use letters"):
        compare(replace(comparison, name="a b"))
    assert not Path("runs").exists()


def test_what_was_given_reaches_each_strategy():
    words = ["--recipe", "plain", "--budget", "1m", "--unfreeze-epochs", "1", "--head-epochs", "2", "--k", "3"]
    asked = cli.parse(CompareConfig, words)
    options = {mode: cli.format_options(_build_strategy(asked, mode, "x")) for mode in ("last_layer", "first_k", "all")}
    assert all("--recipe plain" in words for words in options.values())
    assert ["--unfreeze-epochs 1" in words for words in options.values()] == [False, True, True]
    assert ["--head-epochs 2" in words for words in options.values()] == [False, True, True]
    assert ["--k 3" in words for words in options.values()] == [False, True, False]


def test_a_planned_strategy_is_found_again():
    planned = _build_strategy(cli.parse(CompareConfig, ["--budget", "1m"]), "all", "x")
    saved = replace(resolve(planned), batch_size=16, epochs=3, warmup_epochs=0.3)
    assert _has_same_settings(saved, planned)
    for words in (["--budget", "1m", "--batch-size", "32"], ["--budget", "2m"]):
        assert not _has_same_settings(saved, _build_strategy(cli.parse(CompareConfig, words), "all", "x"))
    assert not _has_same_settings(resolve(_build_strategy(cli.parse(CompareConfig, []), "all", "x")), planned)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_comparison_that_stops_says_how_to_continue(comparison, monkeypatch, overwrite):
    """Another --overwrite would delete the strategies that are finished."""

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("transfer.compare.subprocess", types.SimpleNamespace(run=stop))
    ends = "the same command without --overwrite continues" if overwrite else "the same command continues"
    with pytest.raises(KeyboardInterrupt, match=f"finished work is kept, and {ends}"):
        compare(replace(comparison, overwrite=overwrite))


def test_data_that_changed_between_two_strategies_are_refused(comparison):
    data = shutil.copytree(comparison.data.data, Path("photos"))
    comparison = replace(comparison, data=str(data))
    run(_build_strategy(comparison, "last_layer", "c-last_layer"))
    shutil.copy(data / "train" / "red" / "0.png", data / "train" / "red" / "new.png")
    with pytest.raises(UserError, match=r"1 image was added \(train/red/new.png\) and is not used, and the strategies"):
        compare(comparison)
    assert not Path("runs/c-first_k").exists()


def test_labels_that_were_decided_between_two_strategies_are_refused(comparison):
    table, images = Path("labels.csv"), [f"train/red/{number}.png" for number in range(2)]
    write_corrections(table, [Correction(image, "red", "blue", action="relabel") for image in images])
    comparison = replace(comparison, labels=str(table))
    run(_build_strategy(comparison, "last_layer", "c-last_layer"))
    choose_action(table, images[1], "exclude")
    with pytest.raises(UserError, match=r"labels.csv: decides otherwise on 'train/red/1.png' than .*: restore it"):
        compare(comparison)
    assert not Path("runs/c-first_k").exists()
    run(_build_strategy(comparison, "first_k", "c-first_k"))  # it had begun just before the table was changed
    with pytest.raises(UserError, match=r"c-first_k/corrections.csv: decides otherwise .*: the strategies were"):
        compare(comparison)
    assert not Path("runs/c-all").exists()
