"""The plan of a training, as functions of its data and its time."""

import pytest

from workbench.config import TrainingConfig, check_training
from workbench.training import speed
from workbench.training.plan import Facts, count_fewest_epochs, plan_training
from workbench.training.schedule import compute_learning_rate


def plan(num_images=1000, image_size=128, can_grow=True, images_in_time=None, devices=1, **given):
    time = {} if images_in_time is None else {"seconds": images_in_time, "pass_seconds": num_images}
    return plan_training(Facts(num_images, image_size, can_grow, given, devices, **time))


@pytest.mark.parametrize("num_images", [10, 576, 1056, 8000, 200_000])
@pytest.mark.parametrize("image_size", [32, 64, 128, 224])
@pytest.mark.parametrize("images_in_time", [None, 100.0, 1e5])
@pytest.mark.parametrize("optimizer", [None, "sgd"])
def test_every_plan_can_be_trained(num_images, image_size, images_in_time, optimizer):
    values = plan(
        num_images, image_size, images_in_time=images_in_time, **({"optimizer": optimizer} if optimizer else {})
    )
    training = TrainingConfig(**values)
    check_training(training)
    assert training.start_size == 0 or 64 <= training.start_size < image_size
    steps = -(-num_images // training.batch_size)
    rates = [compute_learning_rate(training, steps, step) for step in range(steps * training.epochs)]
    assert max(rates) <= training.learning_rate
    assert rates[-1] < 0.1 * training.learning_rate or len(rates) < 13


def test_more_time_is_more_epochs_and_a_longer_average():
    short, long = plan(images_in_time=1e4), plan(images_in_time=4e4)
    assert long["epochs"] == pytest.approx(4 * short["epochs"], rel=0.1)
    assert long["ema"] > short["ema"]


def test_epochs_that_are_asked_for_are_kept():
    assert plan(epochs=7, images_in_time=1e9)["epochs"] == 7


def test_more_images_are_larger_batches_and_fewer_epochs():
    few, many = plan(576), plan(8000)
    assert (few["batch_size"], many["batch_size"]) == (32, 128)
    assert few["learning_rate"] < many["learning_rate"]
    assert few["epochs"] > many["epochs"]


def test_fewer_images_need_more_epochs_but_not_more_than_are_planned_without_a_budget():
    assert [round(count_fewest_epochs(count)) for count in (10, 576, 1056, 8000, 10**6)] == [40, 40, 34, 15, 6]
    for count in (10, 100, 576, 800, 1056, 3000, 8000, 10**6):
        assert count_fewest_epochs(count) <= plan(count)["epochs"]


def test_devices_share_the_planned_batch_equally():
    assert [plan(8000, devices=devices)["batch_size"] for devices in (1, 3, 4, 48)] == [128, 129, 128, 144]
    assert plan(10, devices=4)["batch_size"] == 8  # no more than there are images


def test_muon_follows_one_cycle():
    for values in (plan(), plan(images_in_time=1e5), plan(epochs=8)):
        assert (values["optimizer"], values["schedule"], values["warmup_epochs"]) == ("muon", "one_cycle", 0)


def test_batch_size_and_learning_rate_are_those_of_the_optimizer_that_is_given():
    adam, sgd, muon = plan(optimizer="adam"), plan(optimizer="sgd"), plan()
    assert [values["optimizer"] for values in (adam, sgd, muon)] == ["adam", "sgd", "muon"]
    assert adam["schedule"] == sgd["schedule"] == "cosine"
    assert adam["warmup_epochs"] == sgd["warmup_epochs"] > 0
    assert 5 * adam["learning_rate"] < muon["learning_rate"] < sgd["learning_rate"]
    assert adam["batch_size"] < muon["batch_size"]  # a step of Muon takes longer
    shrinking = [values["learning_rate"] * values["weight_decay"] for values in (adam, sgd, muon)]  # in a step
    assert max(shrinking) < 20 * min(shrinking)


def test_the_other_choices_follow_from_a_batch_size_that_is_given():
    for optimizer in ("adam", "sgd", "muon"):
        small, large = (plan(8000, optimizer=optimizer, batch_size=size) for size in (16, 256))
        assert (small["batch_size"], large["batch_size"]) == (16, 256)
        assert 2 * small["learning_rate"] < large["learning_rate"] < 16 * small["learning_rate"]
        assert small["ema"] > large["ema"]  # it has more steps
    assert plan(100, batch_size=4096)["learning_rate"] == plan(100, batch_size=100)["learning_rate"]


def test_the_epochs_follow_from_the_first_image_size_that_is_given():
    full, growing = plan(images_in_time=1e5, start_size=0), plan(images_in_time=1e5, start_size=32)
    assert full["epochs"] == 100
    assert growing["epochs"] > 1.5 * full["epochs"]
    assert (full["start_size"], growing["start_size"]) == (0, 32)


def test_smaller_images_at_first_make_the_passes_faster_and_not_the_updates():
    facts = Facts(1000, 128, True, {"start_size": 64}, seconds=1000, pass_seconds=8, update_seconds=5)
    epochs_a_second = [1 / (8 * (size / 128) ** 2 + 5) for size in (64, 96, 128)]
    assert plan_training(facts)["epochs"] == round(1000 * sum(epochs_a_second) / 3)  # each size has a third of the time


def test_the_rise_of_one_cycle_is_its_own_with_every_optimizer():
    assert plan(optimizer="adam", schedule="one_cycle")["warmup_epochs"] == 0
    assert plan(schedule="cosine")["warmup_epochs"] > 0


def test_images_are_not_shifted_without_augmentation():
    values = plan(image_size=32, data_aug=False)
    assert (values["data_aug"], values["shift"]) == (False, 0)


def test_small_images_and_those_of_short_trainings_are_shifted_and_others_cropped():
    assert plan(image_size=64)["shift"] > 0
    assert plan(image_size=128, epochs=20)["shift"] > 0
    assert plan(image_size=128)["shift"] == 0
    assert [plan(image_size=64, crop_area=area)["shift"] for area in (0.6, 1.0)] == [0, 0.1]  # 1 crops nothing


def test_images_grow_from_64_px_or_half_their_size_where_the_network_takes_other_sizes():
    assert [plan(image_size=size)["start_size"] for size in (32, 64, 96, 128, 224)] == [0, 0, 64, 64, 96]
    assert plan(image_size=128, can_grow=False)["start_size"] == 0


def test_the_speed_is_that_of_the_faster_number_format(monkeypatch):
    assert speed.measure_speed("float32") > 0
    measured = {"float32": 1.0, "bfloat16": 2.0}
    monkeypatch.setattr(speed, "measure_speed", measured.__getitem__)
    assert speed.choose_fast_precision() == "bfloat16"
    assert [speed.estimate_speed(precision) for precision in ("float32", "bfloat16", "auto")] == [1.0, 2.0, 2.0]
    measured["bfloat16"] = 1.1
    assert speed.choose_fast_precision() == "float32"
