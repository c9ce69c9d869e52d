import re

import pytest
import yaml

from cnn_scratch.train import TrainConfig, train
from vision import budget
from vision.errors import UserError
from vision.runs import read_csv


@pytest.fixture
def config(red_and_blue, workdir):
    return TrainConfig(
        data=str(red_and_blue), image_size=32, num_filters=16, name="r", budget="10m", schedule="cosine", epochs=500
    )


def test_as_many_epochs_are_trained_as_fit(config, monkeypatch, capsys):
    monkeypatch.setattr(budget, "measure", lambda model, config, dataset: (60.0, 150.0))
    folder = train(config)
    rows = read_csv(folder / "history.csv")
    assert len(rows) == 3  # 600 s, less 5 % and less the start
    assert float(rows[-1]["learning_rate"]) < 0.3 * float(rows[0]["learning_rate"]), "the schedule ends with them"
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    assert (saved["epochs"], saved["budget"]) == (3, None)
    assert "3 epochs of 2:30 fit into 10:00" in capsys.readouterr().out


def test_an_epoch_is_measured(config):
    with pytest.raises(UserError, match=r"--budget 0.1s: one epoch takes [\d.]+ s here; give at least \d+s") as refused:
        train(TrainConfig(**{**vars(config), "budget": "0.1s"}))
    assert float(re.search(r"takes ([\d.]+) s", str(refused.value))[1]) < 30


def test_a_budget_is_a_time(config):
    with pytest.raises(UserError, match="--budget soon: give a time such as 45s"):
        train(TrainConfig(**{**vars(config), "budget": "soon"}))
