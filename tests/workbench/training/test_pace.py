import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from cnn_scratch.config import TrainConfig
from cnn_scratch.train import train
from tests.models import build_compiled_cnn
from workbench.config import TrainingConfig, build, replace
from workbench.data.dataset import load_dataset
from workbench.errors import UserError
from workbench.files import read_csv
from workbench.training.estimates import print_estimate, record_estimate
from workbench.training.pace import Pace, measure_pace


@pytest.fixture
def config(red_and_blue, workdir):
    return build(
        TrainConfig,
        data=str(red_and_blue),
        image_size=32,
        num_filters=16,
        name="r",
        budget="10m",
        schedule="cosine",
        epochs=500,
    )


def test_as_many_epochs_are_trained_as_fit(config, monkeypatch, capsys):
    pace = Pace(1.0, {32: 150.0}, config.training)
    monkeypatch.setattr("workbench.training.loop.measure_pace", lambda model, dataset, training: pace)
    folder = train(config)
    rows = read_csv(folder / "history.csv")
    assert len(rows) == 3  # 600 s, less 5 % and less the start
    assert float(rows[-1]["learning_rate"]) < 0.3 * float(rows[0]["learning_rate"]), "the schedule ends with them"
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    assert (saved["epochs"], saved["budget"]) == (3, None)
    assert "3 epochs of 2:30 fit into 10:00" in capsys.readouterr().out


def test_an_epoch_is_measured(config):
    with pytest.raises(UserError, match=r"--budget 0.1s: one epoch takes [\d.]+ s here; give at least \d+s") as refused:
        train(replace(config, budget="0.1s"))
    assert float(re.search(r"takes ([\d.]+) s", str(refused.value))[1]) < 30
    assert not Path("runs/r").exists()
    assert not Path("logs/r").exists()


def test_a_run_is_kept_until_the_one_that_overwrites_it_begins(config):
    train(replace(config, budget=None, epochs=1))
    with pytest.raises(UserError, match="one epoch takes"):
        train(replace(config, budget="0.1s", overwrite=True))
    assert len(read_csv("runs/r/history.csv")) == 1


def test_a_training_that_diverges_at_once_leaves_nothing_and_takes_no_others_logs(config):
    short = replace(config, budget=None, epochs=1, schedule="constant")
    train(replace(short, runs_dir="others"))
    logs = sorted(Path("logs/r").rglob("*.v2"))
    with pytest.raises(UserError, match="diverged"):
        train(replace(short, learning_rate=1e30))
    assert not Path("runs/r").exists()
    assert logs
    assert set(logs) <= set(Path("logs/r").rglob("*.v2"))


@pytest.mark.parametrize("budget", [45, 100, 1000, 4000])
def test_a_budget_is_kept_by_images_that_grow(budget):
    pace = Pace(0.0, {64: 10.0, 96: 22.0, 128: 40.0}, TrainingConfig(start_size=64))
    epochs = pace.count_epochs_within(budget, 0.0)
    assert pace.seconds(epochs) <= budget * 0.95 < pace.seconds(epochs + 1)
    assert pace.seconds(epochs, 0, 3) + pace.seconds(epochs, 3) == pytest.approx(pace.seconds(epochs))


def test_a_budget_is_a_time(config):
    with pytest.raises(UserError, match="--budget soon: give a time such as 45s"):
        train(replace(config, budget="soon"))


def test_a_measurement_leaves_the_model_as_it_was(config):
    dataset = load_dataset(config.data, 0)
    model = build_compiled_cnn(config)
    variables = [*model.variables, *model.optimizer.variables]
    before = [variable.numpy() for variable in variables]
    pace = measure_pace(model, dataset, config.training)
    assert 0 < pace.seconds(1) < pace.start
    assert all(np.array_equal(value, variable.numpy()) for value, variable in zip(before, variables, strict=True))


def test_costs_are_printed_with_how_far_off_earlier_estimates_were(config, capsys):
    config = replace(config, budget=None, epochs=2, num_filters=64)
    train(config)
    first = capsys.readouterr().out
    printed = re.search(
        r"expected: [\d.:]+( s)? \([\d.]+ s an epoch\), [\d.]+ GB of memory, ([\d.]+) MB on disk\n", first
    )
    written = sum(path.stat().st_size for folder in ("runs", "logs") for path in Path(folder).rglob("*")) / 1e6
    assert float(printed[2]) == pytest.approx(written, rel=0.2)
    for kind, estimated, actual in (
        ("cnn_scratch.train", 10, 30),
        ("cnn_scratch.train", 20, 40),
        ("transfer.run", 1, 9),
    ):
        record_estimate(kind, estimated, actual)
    record_estimate("cnn_scratch.train", 0.1, 4)  # dominated by start-up
    print_estimate("cnn_scratch.train", 90, 0, "9 s an epoch")
    assert "expected: 1:30 (9 s an epoch), " in (shown := capsys.readouterr().out)
    assert "; the last 2 runs took 2.50 times the estimate" in shown


def test_a_cache_that_cannot_be_written_costs_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    record_estimate("cnn_scratch.train", 10, 30)
    print_estimate("cnn_scratch.train", 90, 0, "9 s an epoch")
