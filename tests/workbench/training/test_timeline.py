"""A training with a budget follows the clock; here one that a test drives, so that nothing depends on the machine."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import yaml

from cnn_scratch.config import TrainConfig
from cnn_scratch.train import main, train
from workbench.config import TrainingConfig, build, parse_duration, replace
from workbench.errors import UserError
from workbench.files import read_csv, read_json
from workbench.training import checkpoints, timeline
from workbench.training.timeline import ClockTimeline, EpochTimeline


@pytest.fixture
def clock(monkeypatch):
    """A clock that advances only when a test says so, or by `step` seconds each time that a training reads it."""

    class Clock:
        now, step = 1000.0, 0.0

        def read(self):
            self.now += self.step
            return self.now

    clock = Clock()
    monkeypatch.setattr(timeline, "perf_counter", clock.read)
    monkeypatch.setattr(timeline, "get_command_start", lambda: 990.0)
    return clock


@pytest.fixture
def config(red_and_blue, workdir):
    return build(
        TrainConfig,
        data=str(red_and_blue),
        image_size=32,
        head="gap",
        num_filters=8,
        dense_units=16,
        batch_size=4,
        schedule="cosine",
        warmup_epochs=0,
        epochs=8,
        name="r",
    )


def test_the_clock_drives_step_and_image_size(clock):
    training = TrainingConfig(epochs=10, start_size=64)
    moves = ClockTimeline(training, 128, steps_per_epoch=20, seconds=110)
    moves.reserve(10)
    steps, sizes = [], []
    for clock.now in (1000, 1034, 1050, 1067, 1098, 1150):
        steps.append(moves.find_step(3))
        sizes.append(moves.choose_image_size(1))
    np.testing.assert_allclose(steps, [0, 68, 100, 134, 196, 200])
    assert sizes == [64, 96, 96, 128, 128, 128]
    assert moves.is_over(1)


def test_a_timeline_that_is_continued_starts_where_the_other_ended(clock):
    training = TrainingConfig(epochs=10)
    first = ClockTimeline(training, 32, steps_per_epoch=20, seconds=100)
    clock.now += 40
    done = first.describe()["progress"]
    clock.now += 1000
    second = ClockTimeline(training, 32, steps_per_epoch=20, seconds=60, done=done)
    assert second.find_step(0) == pytest.approx(first.find_step(0) * 0 + 80)
    clock.now += 30
    assert second.progress == pytest.approx(0.7)


def test_epochs_count_as_they_are():
    counted = EpochTimeline(TrainingConfig(epochs=4, start_size=32), 64)
    assert [counted.choose_image_size(done) for done in range(4)] == [32, 32, 64, 64]
    assert [counted.is_over(done) for done in (0, 3, 4)] == [False, False, True]
    assert counted.find_step(7) == 7


def test_a_budget_ends_the_training_in_time_and_the_schedule_with_it(config, clock):
    clock.step = 0.75
    folder = train(replace(config, budget="90s", image_size=64, start_size=32))
    assert clock.now < 990 + 90
    assert clock.now > 990 + 0.9 * 90
    rows = read_csv(folder / "history.csv")
    progress = [float(row["progress"]) for row in rows]
    rates = [float(row["learning_rate"]) for row in rows]
    assert len(rows) > 3
    assert all(one < other for one, other in itertools.pairwise(progress))
    assert progress[-1] > 0.97
    assert all(one > other for one, other in itertools.pairwise(rates))
    assert rates[-1] < 0.02 * rates[0]
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    assert (saved["epochs"], saved["budget"]) == (8, "90s")
    (folder / "metrics.json").unlink()  # as if it had been stopped after its last epoch
    (folder / "report.html").unlink()
    train(build(TrainConfig, resume=str(folder)))
    assert read_json(folder / "metrics.json")["epochs"] == len(rows)
    assert (folder / "report.html").exists()
    assert len(read_csv(folder / "history.csv")) == len(rows)
    with pytest.raises(UserError, match="the budget of 90s has passed; train again with a longer --budget"):
        train(build(TrainConfig, resume=str(folder)))


def test_a_budget_that_saving_has_used_up_is_recorded_as_used(config, clock, monkeypatch):
    """The last epoch is recorded before it is saved, and saving may take the rest of the time."""

    def save(model, path):
        clock.now += 3
        save_model(model, path)

    save_model = checkpoints.save_model
    monkeypatch.setattr(checkpoints, "save_model", save)
    clock.step = 0.05
    folder = train(replace(config, budget="40s"))
    rows = read_csv(folder / "history.csv")
    assert float(rows[-1]["progress"]) > 0.98
    with pytest.raises(UserError, match="the budget of 40s has passed"):
        train(build(TrainConfig, resume=str(folder)))
    assert read_csv(folder / "history.csv") == rows


def test_a_budgeted_training_that_was_stopped_has_the_rest_of_its_time(config, clock, monkeypatch):
    def stop(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt

    clock.step = 0.25
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="3 epochs are kept"):
        patch.setattr("workbench.training.timeline.FollowClock.on_epoch_end", stop)
        train(replace(config, budget="60s"))
    begin = clock.now = clock.now + 500
    folder = train(build(TrainConfig, resume="runs/r"))
    rows = read_csv(folder / "history.csv")
    done = float(rows[2]["progress"])
    assert 0 < done < 1
    assert clock.now - begin < (1 - done) * 60
    rates = [float(row["learning_rate"]) for row in rows]
    assert all(one > other for one, other in itertools.pairwise(rates))


def test_a_slow_start_leaves_more_time_for_the_end(clock, monkeypatch):
    """A busy machine takes longer for both: the report once needed 5.5 s where starting had taken 30 s."""
    training = TrainingConfig(epochs=10, budget="90s")
    left = {}
    for start in (10, 30):
        monkeypatch.setattr(timeline, "get_command_start", lambda start=start: clock.now - start)
        moves = timeline.make_timeline(training, [], image_size=32, steps=20)
        left[start] = 90 - start - moves.estimate_seconds_left(0, 1.0)
    assert 4 < left[10] < 6
    assert 6 < left[30] < 9


def test_a_budget_that_start_up_takes_is_refused_before_anything_changes(config, clock):
    Path("runs/r").mkdir(parents=True)
    Path("runs/r/history.csv").write_text("of another run")
    with pytest.raises(UserError, match=r"--budget 12s: starting took 10.0 s; give at least 20s"):
        train(replace(config, budget="12s", overwrite=True))
    assert [path.read_text() for path in Path("runs/r").iterdir()] == ["of another run"]


def test_a_budget_counts_from_the_start_of_the_command(red_and_blue, workdir, monkeypatch, capsys):
    """`main` is the command; what a user's shell would measure has begun with it."""
    starts = []
    monkeypatch.setattr(timeline, "_LEAST_SECONDS", 1e6)
    read = timeline.get_command_start
    monkeypatch.setattr(timeline, "get_command_start", lambda: starts.append(read()) or starts[-1])
    begin = timeline.perf_counter()
    assert main(["--data", str(red_and_blue), "--image-size", "32", "--num-filters", "8", "--budget", "1h"]) == 2
    assert "starting took" in capsys.readouterr().err
    assert begin <= starts[0] < timeline.perf_counter() - 0.01


def test_a_budget_is_a_time(config):
    assert [parse_duration(text) for text in ("45s", "1.5m", "1h30m", "1d2h", None)] == [45, 90, 5400, 93_600, None]
    with pytest.raises(UserError, match="--budget soon: give a time such as 45s"):
        train(replace(config, budget="soon"))
