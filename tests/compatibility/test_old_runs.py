"""Run folders that an earlier version wrote can still be evaluated, reported and resumed.

`old_runs` was written by the version before the command line and the configurations were reshaped: `cnn` by
`cnn_scratch.train` (2 epochs), `finetuned` by `transfer.run --from runs/cnn` (2 epochs), `sweep` by `cnn_scratch.tune`
(2 of 4 trials).
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cnn_scratch.config import TrainConfig, TuneConfig
from cnn_scratch.train import train
from cnn_scratch.tune import tune
from transfer.config import TransferConfig
from transfer.run import run
from workbench.config import build
from workbench.errors import UserError
from workbench.evaluate import EvaluateConfig, evaluate
from workbench.files import read_csv
from workbench.finished_run import open_run
from workbench.report import ReportConfig, report

OLD_RUNS = Path(__file__).parent / "old_runs"


@pytest.fixture
def old_runs(workdir):
    return shutil.copytree(OLD_RUNS, workdir / "runs")


@pytest.mark.figures
@pytest.mark.parametrize("name", ["cnn", "finetuned", "sweep"])
def test_an_old_run_is_evaluated_and_reported(old_runs, name):
    evaluate(EvaluateConfig(f"runs/{name}"))
    assert len(read_csv(old_runs / name / "test_predictions.csv")) == len(open_run(f"runs/{name}").load_dataset().test)
    report(ReportConfig(f"runs/{name}"))
    assert name in (old_runs / name / "report.html").read_text()


def test_an_old_training_is_resumed(old_runs):
    before = read_csv(old_runs / "cnn" / "history.csv")
    train(build(TrainConfig, resume="runs/cnn", epochs=3))
    after = read_csv(old_runs / "cnn" / "history.csv")
    assert after[:2] == before
    assert len(after) == 3
    assert "xla" not in (old_runs / "cnn" / "config.yaml").read_text()


def test_an_old_training_keeps_its_configuration(old_runs):
    with pytest.raises(UserError, match="--num-filters 4: runs/cnn was made with 2"):
        train(build(TrainConfig, resume="runs/cnn", num_filters=4))


def test_an_old_fine_tuning_is_resumed(old_runs):
    before = read_csv(old_runs / "finetuned" / "history.csv")
    run(build(TransferConfig, resume="runs/finetuned", epochs=3))
    after = read_csv(old_runs / "finetuned" / "history.csv")
    assert after[:2] == before
    assert len(after) == 3


def test_an_old_sweep_is_continued(old_runs):
    before = read_csv(old_runs / "sweep" / "trials.csv")
    tune(build(TuneConfig, name="sweep", space="runs/sweep/space.yaml", max_trials=3, workers=0))
    after = read_csv(old_runs / "sweep" / "trials.csv")
    assert [row for row in after if row["trial"] in {old["trial"] for old in before}] == before
    assert sorted(row["trial"] for row in after) == ["0", "1", "2"]
    best = max(float(row["val_accuracy"]) for row in after)
    assert np.isclose(json.loads((old_runs / "sweep" / "metrics.json").read_text())["val_accuracy"], best)
