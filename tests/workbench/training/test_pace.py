import re
from pathlib import Path

import numpy as np
import pytest

from cnn_scratch.config import TrainConfig
from cnn_scratch.train import train
from tests.models import build_compiled_cnn
from workbench.config import TrainingConfig, build, replace
from workbench.data.dataset import load_dataset
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
        epochs=1,
    )


def test_the_seconds_of_images_that_grow_add_up():
    pace = Pace(0.0, {64: 10.0, 96: 22.0, 128: 40.0}, TrainingConfig(start_size=64))
    assert pace.seconds(9) == 3 * (10 + 22 + 40)
    assert pace.seconds(9, 0, 4) + pace.seconds(9, 4) == pytest.approx(pace.seconds(9))


def test_a_measurement_leaves_the_model_as_it_was(config):
    dataset = load_dataset(config.data, 0)
    model = build_compiled_cnn(config)
    variables = [*model.variables, *model.optimizer.variables]
    before = [variable.numpy() for variable in variables]
    pace = measure_pace(model, dataset, config.training)
    assert 0 < pace.seconds(1) < pace.start
    assert all(np.array_equal(value, variable.numpy()) for value, variable in zip(before, variables, strict=True))


def test_costs_are_printed_with_how_far_off_earlier_estimates_were(config, capsys):
    config = replace(config, num_filters=64)
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
