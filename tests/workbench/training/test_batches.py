"""Validation batches: which ones are shared, and by whom."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from workbench.config import DataConfig, TrainingConfig
from workbench.data.dataset import load_dataset
from workbench.training.batches import make_validation_batches


@pytest.fixture
def dataset(photo_folder):
    return load_dataset(DataConfig(data=str(photo_folder(train=10, test=4)), image_size=16), seed=0)


def test_validation_batches_are_made_once_for_each_kind(dataset):
    training = TrainingConfig(batch_size=5)
    batches = make_validation_batches(dataset, training)
    assert make_validation_batches(dataset, dataclasses.replace(training, learning_rate=0.5, seed=9)) is batches
    assert next(iter(batches))[1].shape.rank == 1
    smoothed = make_validation_batches(dataset, dataclasses.replace(training, label_smoothing=0.1))
    assert next(iter(smoothed))[1].shape[1:] == (3,)
    assert make_validation_batches(dataset, dataclasses.replace(training, batch_size=6)) is not batches
    assert make_validation_batches(dataclasses.replace(dataset), training) is not batches
    with tf.distribute.OneDeviceStrategy("/CPU:0").scope():
        assert make_validation_batches(dataset, training) is not batches


def test_other_validation_images_are_shown_and_not_kept(dataset):
    """Such as exact features, where those of the training images are rounded."""
    others = np.zeros((len(dataset.validation), 16, 16, 3), np.uint8)
    other = dataclasses.replace(dataset, validation_images=others)
    batches = make_validation_batches(other, TrainingConfig(batch_size=5))
    assert not np.concatenate([images.numpy() for images, _ in batches]).any()
    assert make_validation_batches(other, TrainingConfig(batch_size=5)) is not batches
