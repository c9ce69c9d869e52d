"""What `--recipe planned` and a budget choose, and what they leave alone."""

import time

import keras
import numpy as np
import pytest
import yaml

from cnn_scratch import plan
from cnn_scratch.config import TrainConfig
from cnn_scratch.plan import plan_network, plan_options
from cnn_scratch.train import main, train
from workbench import cli
from workbench.config import build, flatten, replace
from workbench.data.dataset import load_dataset
from workbench.errors import UserError
from workbench.training.plan import is_planned


@pytest.fixture
def slow(monkeypatch):
    """Function that sets the measured speed, in multiply-adds a second."""

    def set_speed(float32, bfloat16=None):
        speeds = {"float32": float32, "bfloat16": bfloat16 or float32}
        monkeypatch.setattr("workbench.training.speed.measure_speed", speeds.__getitem__)

    return set_speed


def test_what_was_given_is_remembered():
    parsed = cli.parse(TrainConfig, ["--batch-size", "32", "--data", "digits"])
    assert parsed.given == {"batch_size", "data"}
    assert replace(parsed, epochs=3).given == {"batch_size", "data", "epochs"}
    assert parsed == build(TrainConfig)  # given or not, the values are the same
    assert "given" not in flatten(parsed)
    assert str(parsed) == str(build(TrainConfig))  # sweeps find the states of their trials by it


def test_a_budget_implies_the_plan():
    assert is_planned(build(TrainConfig, budget="1m"))
    assert is_planned(build(TrainConfig, recipe="planned"))
    assert not is_planned(build(TrainConfig))
    assert not is_planned(build(TrainConfig, recipe="plain", budget="1m"))


@pytest.mark.parametrize(
    ("side", "given", "expected"),
    [(24, {}, 64), (64, {}, 64), (80, {}, 96), (200, {}, 128), (200, {"image_size": 48}, 48)],
)
def test_the_image_size_is_about_that_of_the_photos(photo_folder, side, given, expected):
    config = build(TrainConfig, data=str(photo_folder(size=side, train=3, test=1)), recipe="planned", **given)
    assert plan_network(config).data.image_size == expected


def test_the_sizes_of_at_most_32_photos_are_read(photo_folder, monkeypatch):
    sides = []
    monkeypatch.setattr(plan, "read_dimensions", lambda data, read=plan.read_dimensions: sides.append(1) or read(data))
    for per_class, read in ((21, 32), (11, 17), (1, 3)):  # of three classes
        sides.clear()
        data = photo_folder(size=8, train=per_class, test=None, name=f"photos-{per_class}")
        plan_network(build(TrainConfig, data=str(data), recipe="planned"))
        assert len(sides) == read


def test_a_link_to_a_file_that_is_gone_has_no_size(photo_folder):
    data = photo_folder(size=80, train=3, test=1)
    (data / "train" / "daisy" / "gone.jpg").symlink_to("nowhere.jpg")
    assert plan_network(build(TrainConfig, data=str(data), recipe="planned")).data.image_size == 96


def list_choices(config, slow):
    """Return the (image size, filters) that are planned on faster and faster machines."""
    choices = []
    for speed in np.geomspace(1e7, 1e11, 30):  # multiply-adds a second
        slow(speed)
        planned = plan_network(config)
        choices.append((planned.data.image_size, planned.network.num_filters))
    return list(dict.fromkeys(choices))


def test_a_short_budget_has_smaller_images_and_then_fewer_filters(photo_folder, slow):
    data = str(photo_folder(size=200, train=3, test=1))
    config = build(TrainConfig, data=data, recipe="planned", budget="1m")
    assert list_choices(config, slow) == [(64, 16), (64, 24), (64, 32), (96, 32), (128, 32)]
    kept = plan_network(build(TrainConfig, data=data, budget="1m", num_filters=48, head="flatten", image_size=40))
    assert (kept.data.image_size, kept.network.num_filters, kept.network.head) == (40, 48, "flatten")
    assert kept.network.dense_units == 0


def test_small_photos_are_enlarged_if_there_is_time(photo_folder, slow):
    config = build(TrainConfig, data=str(photo_folder(size=32, train=3, test=1)), recipe="planned", budget="1m")
    assert list_choices(config, slow) == [(32, 16), (64, 16), (64, 24), (64, 32)]
    slow(1e7)
    given = plan_network(build(TrainConfig, data=config.data.data, budget="1m", num_filters=48))
    assert (given.data.image_size, given.network.num_filters) == (32, 48)


def test_the_plan_counts_with_the_number_format_that_is_given(photo_folder, slow):
    slow(float32=6e9, bfloat16=1e12)
    config = build(TrainConfig, data=str(photo_folder(size=200, train=3, test=1)), budget="1m")
    assert plan_network(config).data.image_size == 128
    assert plan_network(replace(config, precision="float32")).data.image_size == 96


def test_a_plan_counts_with_the_time_that_is_left(red_and_blue, slow, monkeypatch):
    slow(1e9)
    config = build(TrainConfig, data=str(red_and_blue), image_size=32, budget="100s", head="gap")
    dataset, epochs = load_dataset(config.data, 0), {}
    for spent in (0, 50, 99.9, 1000):
        monkeypatch.setattr("workbench.clock.get_command_start", lambda spent=spent: time.perf_counter() - spent)
        epochs[spent] = plan_options(config, dataset).training.epochs
    assert epochs[50] == pytest.approx(epochs[0] / 2, rel=0.02)
    assert epochs[0] > 100 * epochs[99.9]
    assert epochs[1000] == 1


def test_the_updates_of_muon_take_time_too(red_and_blue, slow):
    config = build(TrainConfig, data=str(red_and_blue), budget="10m", head="gap", filter_org="double", image_size=32)
    dataset = load_dataset(config.data, 0)

    def count_epochs(**given):
        return plan_options(replace(config, **given), dataset).training.epochs

    slow(float32=1e9)
    assert 1.5 * count_epochs(batch_size=2) < count_epochs(batch_size=4) < count_epochs(batch_size=64)
    assert count_epochs(batch_size=64) == count_epochs(batch_size=4096)  # one step an epoch
    assert count_epochs(dense_units=512) < count_epochs(dense_units=0)
    slow(float32=1e9, bfloat16=1e12)  # updates are computed in float32
    assert 100 * count_epochs(precision="bfloat16") < count_epochs(precision="bfloat16", optimizer="sgd")


def test_a_network_that_cannot_be_built_is_refused_before_it_is_planned(red_and_blue):
    config = build(TrainConfig, data=str(red_and_blue), budget="1m", filter_size=[3, 5])
    with pytest.raises(UserError, match=r"--filter-size \[3, 5\]"):
        plan_network(config)


def test_the_start_of_the_network_leaves_less_time_too(photo_folder, slow, monkeypatch):
    slow(6e9)
    config = build(TrainConfig, data=str(photo_folder(size=200, train=3, test=1)), budget="1m")
    assert plan_network(config).data.image_size == 96
    monkeypatch.setattr("workbench.clock.get_command_start", lambda: time.perf_counter() - 50)
    assert plan_network(config).data.image_size == 64


def test_digits_keep_their_size():
    assert plan_network(build(TrainConfig, recipe="planned")).data.image_size == 32


def test_a_planned_run_is_written_down_and_keeps_what_was_given(red_and_blue, workdir, monkeypatch, capsys):
    """Its images grow: the first block is fused, so it is compiled once for each size."""
    words = ["--config", "tiny.yaml", "--data", str(red_and_blue), "--epochs", "2", "--batch-size", "8", "--name", "r"]
    given = "num_filters: 8\nhead: gap\nimage_size: 64\nstart_size: 32\nema: 0.5\n"
    (workdir / "tiny.yaml").write_text(f"recipe: planned\n{given}")
    with monkeypatch.context() as patch:
        patch.setattr("cnn_scratch.fast_model.LARGE_MAPS", 2**13)
        assert main(words) == 0
    saved = yaml.safe_load((workdir / "runs/r/config.yaml").read_text())
    assert (saved["batch_size"], saved["epochs"], saved["ema"], saved["start_size"]) == (8, 2, 0.5, 32)
    assert (saved["optimizer"], saved["schedule"], saved["data_aug"]) == ("muon", "one_cycle", True)
    shown = capsys.readouterr().out
    assert "optimizer muon" in shown
    assert "batch-size" not in shown
    assert [f"epoch {epoch}/2" in shown for epoch in (1, 2)] == [True] * 2
    saved_model = keras.saving.load_model("runs/r/model.keras", safe_mode=True)
    assert saved_model.input_shape == (None, 64, 64, 3)  # what is left takes the full size
    train(build(TrainConfig, resume="runs/r", epochs=3))
    resumed = yaml.safe_load((workdir / "runs/r/config.yaml").read_text())
    assert {**resumed, "runs_dir": "runs"} == {**saved, "epochs": 3}
