"""An option that changes images is never ignored: it switches augmentation on, or is refused."""

import pytest

from cnn_scratch.config import TrainConfig
from transfer.config import TransferConfig
from transfer.defaults import resolve
from workbench import cli
from workbench.config import build, flatten
from workbench.errors import UserError
from workbench.training.augmentation_options import (
    check_augmentation_options,
    reset_unused_augmentation,
    switch_augmentation_on,
)
from workbench.training.run_folder import dump_config

OPTIONS = [["--rand-augment", "9"], ["--crop-area", "0.5"], ["--shift", "0.1"], ["--jitter", "0.4"]]


def switch(*words):
    config = cli.parse(TrainConfig, words)
    check_augmentation_options(config)
    return switch_augmentation_on(config)


@pytest.mark.parametrize("words", OPTIONS)
def test_an_option_of_augmentation_switches_it_on(words):
    assert switch(*words).training.data_aug
    assert resolve(cli.parse(TransferConfig, words)).training.data_aug
    assert switch_augmentation_on(build(TrainConfig, rand_augment=9.0)).training.data_aug


@pytest.mark.parametrize(
    "words", [[], ["--rand-augment", "0"], ["--crop-area", "1"], ["--shift", "0"], ["--jitter", "0"]]
)
def test_one_that_changes_nothing_does_not(words):
    assert not switch(*words).training.data_aug
    assert not switch(*words, "--no-data-aug").training.data_aug


@pytest.mark.parametrize("words", OPTIONS)
def test_it_is_refused_where_augmentation_is_switched_off(words):
    message = rf"^{words[0]} {words[1]}: changes images by --data-aug, which is switched off; leave one of them out$"
    with pytest.raises(UserError, match=message):
        switch(*words, "--no-data-aug")
    assert switch(*words, "--data-aug").training.data_aug


def test_crops_and_shifts_together_are_refused():
    with pytest.raises(UserError, match=r"^--crop-area 0.6 and --shift 0.1: with --shift nothing is cropped; "):
        switch("--crop-area", "0.6", "--shift", "0.1")
    assert switch("--crop-area", "0.6", "--shift", "0").training.data_aug


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"data_aug": True, "shift": 0.1, "crop_area": 0.6, "jitter": 0.2}, {"shift": 0.1, "jitter": 0.2}),
        ({"data_aug": True, "crop_area": 0.6}, {"crop_area": 0.6}),
        ({"data_aug": False, "shift": 0.1, "crop_area": 0.6}, {}),
    ],
)
def test_what_changes_nothing_gets_its_default(options, kept):
    """So that the configuration of a trial can be trained again."""
    config = reset_unused_augmentation(build(TrainConfig, **options))
    check_augmentation_options(config)
    assert flatten(config) == flatten(build(TrainConfig, data_aug=options["data_aug"], **kept))


def test_the_configuration_of_a_run_can_be_used_again(tmp_path):
    for options in ({}, {"data_aug": True, "shift": 0.1}):
        saved = build(TrainConfig, **options)
        (tmp_path / "config.yaml").write_text(dump_config(saved))
        assert switch("--config", str(tmp_path / "config.yaml")) == saved
