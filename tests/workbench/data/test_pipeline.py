"""Batches: every image, the right order, augmentation in training only, and prefetching to a device."""

import dataclasses
import os
import sys

import numpy as np
import psutil
import pytest
import tensorflow as tf

from tests.processes import run
from workbench.config import DataConfig
from workbench.data import pipeline
from workbench.data.augmentation import Augmentation, augment, draw_changes
from workbench.data.batch_changes import BatchChanges
from workbench.data.dataset import load_dataset
from workbench.data.pipeline import count_steps, make_evaluation_batches, make_training_batches

CROPS, SHIFTS = Augmentation(), Augmentation(shift=0.1)


@pytest.fixture
def dataset(photo_folder):
    """24 training images (8 a class), 6 validation and 12 test images of 16 px."""
    return load_dataset(DataConfig(data=str(photo_folder(train=10, test=4)), image_size=16), seed=0)


def take(batches, count):
    return [(images.numpy(), labels.numpy()) for images, labels in batches.take(count)]


def epochs(dataset, count, batch_size=10, augmentation=None, seed=0, first_epoch=0):
    """The next epochs' batches, a list for each epoch, from a new pipeline."""
    pipeline._shuffle_rows.cache_clear()
    pipeline._load_on_host.cache_clear()
    return take_epochs(dataset, count, batch_size, augmentation, seed, first_epoch)


def take_epochs(dataset, count, batch_size=10, augmentation=None, seed=0, first_epoch=0):
    """The next epochs' batches, a list for each epoch."""
    steps = count_steps(dataset, batch_size)
    stream = make_training_batches(dataset, batch_size, augmentation=augmentation, seed=seed, first_epoch=first_epoch)
    batches = take(stream.make_on_host(), count * steps)
    return [batches[start : start + steps] for start in range(0, len(batches), steps)]


def rows_of(dataset, epoch):
    """Which rows of the data set an epoch without augmentation showed, in its order; labels are checked."""
    row_of = {dataset.images[row].tobytes(): row for row in range(len(dataset.images))}
    assert len(row_of) == len(dataset.images)
    rows = [row_of[image.tobytes()] for images, _ in epoch for image in images]
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in epoch]), dataset.labels[rows])
    return rows


def draw_and_augment(images, key, how=CROPS, flipped=None):
    return augment(tf.constant(images), draw_changes(key, len(images), how, flipped), how).numpy()


def assert_same(batches, others):
    for (images, labels), (other_images, other_labels) in zip(batches, others, strict=True):
        np.testing.assert_array_equal(images, other_images)
        np.testing.assert_array_equal(labels, other_labels)


@pytest.mark.parametrize(("pixels", "sizes"), [(0, [5, 5, 2]), (1 << 18, [12])])
def test_evaluation_sees_each_image_once_in_order_unchanged(dataset, monkeypatch, pixels, sizes):
    monkeypatch.setattr("workbench.data.pipeline.EVALUATION_PIXELS", pixels)
    batches = take(make_evaluation_batches(dataset, dataset.test, 5), -1)
    assert [len(labels) for _, labels in batches] == sizes
    assert batches[0][0].dtype == np.uint8
    assert batches[0][1].dtype == np.int32
    np.testing.assert_array_equal(np.concatenate([images for images, _ in batches]), dataset.images[dataset.test])
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in batches]), dataset.labels[dataset.test])


def test_evaluation_of_no_images_is_empty(dataset):
    assert take(make_evaluation_batches(dataset, dataset.test[:0], 5), -1) == []


def test_each_epoch_is_another_order_of_the_whole_training_set(dataset):
    orders = [rows_of(dataset, epoch) for epoch in epochs(dataset, 4)]
    assert all(sorted(order) == list(dataset.train) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert list(dataset.train) not in orders


def test_the_remainder_is_a_batch(dataset):
    assert count_steps(dataset, 10) == 3
    assert [[len(labels) for _, labels in epoch] for epoch in epochs(dataset, 2)] == [[10, 10, 4]] * 2
    assert count_steps(dataset, 12) == 2
    assert count_steps(dataset, 100) == 1
    assert [len(labels) for _, labels in epochs(dataset, 1, batch_size=100)[0]] == [24]


@pytest.mark.parametrize("augmentation", [None, CROPS, SHIFTS])
def test_resumed_epochs_are_those_of_an_uninterrupted_training(dataset, augmentation):
    uninterrupted = epochs(dataset, 4, augmentation=augmentation)
    for first_epoch in (1, 3):
        resumed = epochs(dataset, 4 - first_epoch, augmentation=augmentation, first_epoch=first_epoch)
        for epoch, other in zip(uninterrupted[first_epoch:], resumed, strict=True):
            assert_same(epoch, other)


@pytest.mark.parametrize("augmentation", [None, CROPS, SHIFTS])
def test_seed_fixes_order_and_augmentation(dataset, augmentation):
    first, same, other = (epochs(dataset, 1, augmentation=augmentation, seed=seed)[0] for seed in (1, 1, 2))
    assert_same(first, same)
    assert not all(np.array_equal(one, two) for (one, _), (two, _) in zip(first, other, strict=True))


def test_no_copy_of_the_images_is_made(dataset):
    """So a set larger than memory can be trained on; tested with a store that is longer than its images."""
    rows = (256 << 20) // (16 * 16 * 3)
    os.truncate(dataset.images.filename, rows * 16 * 16 * 3)
    images = np.memmap(dataset.images.filename, np.uint8, "r", shape=(rows, 16, 16, 3))
    expected = epochs(dataset, 1)[0]
    before = psutil.Process().memory_info().rss
    assert_same(epochs(dataclasses.replace(dataset, images=images), 1)[0], expected)
    assert psutil.Process().memory_info().rss - before < 64 << 20


def test_images_in_memory_may_begin_anywhere(dataset):
    expected = take(make_evaluation_batches(dataset, dataset.validation, 10), 1)
    raw = np.zeros(dataset.images.size + 1, np.uint8)
    images = raw[1:].reshape(dataset.images.shape)
    images[:] = dataset.images
    assert_same(
        take(make_evaluation_batches(dataclasses.replace(dataset, images=images), dataset.validation, 10), 1), expected
    )


def test_a_slice_of_the_stored_images_is_read_correctly(dataset):
    sliced = dataclasses.replace(dataset, images=dataset.images[3:])
    ((images, _),) = take(make_evaluation_batches(sliced, np.array([0, 1]), 2), 1)
    np.testing.assert_array_equal(images, dataset.images[3:5])


def test_augmentation_changes_training_images_and_not_their_labels(dataset):
    shown = []
    for plain, augmented in zip(epochs(dataset, 2), epochs(dataset, 2, augmentation=CROPS), strict=True):
        for (images, labels), (other_images, other_labels) in zip(plain, augmented, strict=True):
            np.testing.assert_array_equal(labels, other_labels)
            assert other_images.dtype == np.uint8
            assert other_images.shape == images.shape
            assert (images != other_images).any((1, 2, 3)).all()
        shown.append(
            dict(zip(rows_of(dataset, plain), np.concatenate([images for images, _ in augmented]), strict=True))
        )
    assert all((shown[0][row] != shown[1][row]).any() for row in dataset.train)


def test_images_that_may_not_be_augmented_are_not(dataset):
    stored = dataclasses.replace(dataset, augmentable=False)
    assert_same(epochs(stored, 1, augmentation=CROPS)[0], epochs(dataset, 1)[0])


def test_augmentation_flips_half_crops_and_jitters():
    size, count = 32, 400
    ramp = np.linspace(60, 160, size).astype(np.uint8)
    image = np.stack([np.tile(ramp, (size, 1)), np.tile(ramp[:, None], (1, size)), np.full((size, size), 90)], -1)
    images = draw_and_augment(np.stack([image.astype(np.uint8)] * count), [3, 4]).astype(float)
    left_to_right = images[:, :, -1, 0].mean(1) - images[:, :, 0, 0].mean(1)
    top_to_bottom = images[:, -1, :, 1].mean(1) - images[:, 0, :, 1].mean(1)
    assert 0.4 < (left_to_right < 0).mean() < 0.6
    assert (top_to_bottom > 0).all(), "no image is flipped upside down"
    covered = np.abs(left_to_right) / 100
    assert covered.min() < 0.7
    assert covered.max() > 0.9
    brightness = images.mean((1, 2, 3))
    assert brightness.std() > 4
    assert 0.6 < brightness.min() / image.mean() < brightness.max() / image.mean() < 1.4


def test_mixed_batches_are_resumed_with_weights_that_follow_their_labels(dataset):
    weights = np.array([1.0, 2.0, 4.0], np.float32)
    options = {"erasing": 0.5, "mixup": 0.4, "cutmix": 1.0, "one_hot": True, "class_weights": weights}
    stream = make_training_batches(dataset, 10, augmentation=CROPS, seed=0, **options).make_on_host()
    whole = [[part.numpy() for part in batch] for batch in stream.take(6)]
    resumed = make_training_batches(dataset, 10, augmentation=CROPS, seed=0, first_epoch=1, **options).make_on_host()
    for batch, other in zip(whole[3:], resumed.take(3), strict=True):
        for one, same in zip(batch, other, strict=True):
            np.testing.assert_array_equal(one, same)
    assert any((targets.max(1) < 0.99).any() for _, targets, _ in whole)
    for _, targets, seen in whole:
        np.testing.assert_allclose(seen, targets @ weights, rtol=1e-5)


def test_shifted_images_are_moved_by_whole_pixels_with_mirrored_edges():
    """Pixel (row, column) of the images is (row, column, 0)."""
    size, count = 16, 200
    rows, columns = np.mgrid[:size, :size]
    image = np.stack([rows, columns, 0 * rows], -1).astype(np.uint8)
    flipped = np.arange(count) % 2 == 1
    how = Augmentation(shift=0.25, jitter=0.0)
    images = draw_and_augment(np.stack([image] * count), [3, 4], how, flipped)
    down, right = (size // 2 - images[:, size // 2, size // 2, axis].astype(int) for axis in (0, 1))
    right[flipped] = size // 2 - (size - 1 - images[flipped, 0, size // 2, 1].astype(int))
    assert set(down) == set(right) == set(range(-4, 5))
    for image, dy, dx, is_flipped in zip(images, down, right, flipped, strict=True):
        padded = np.pad(np.stack([rows, columns], -1), ((4, 4), (4, 4), (0, 0)), mode="reflect")
        expected = padded[4 - dy : 4 - dy + size, 4 - dx : 4 - dx + size]
        if is_flipped:
            expected = expected.copy()
            expected[..., 1] = size - 1 - expected[..., 1]
        np.testing.assert_array_equal(image[..., :2], expected)


def test_each_image_is_flipped_in_every_other_epoch(dataset):
    still = Augmentation(shift=1e-9, jitter=0.0)
    flips = []
    for plain, augmented in zip(epochs(dataset, 3), epochs(dataset, 3, augmentation=still), strict=True):
        images, changed = (np.concatenate([images for images, _ in epoch]) for epoch in (plain, augmented))
        is_flipped = (images[:, :, ::-1] == changed).all((1, 2, 3))
        assert ((images == changed).all((1, 2, 3)) != is_flipped).all()
        flips.append(dict(zip(rows_of(dataset, plain), is_flipped, strict=True)))
    assert {flips[0][row] for row in dataset.train} == {True, False}
    assert all(flips[0][row] != flips[1][row] for row in dataset.train)
    assert flips[2] == flips[0]


def test_augmentation_depends_on_the_key_only():
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
    np.testing.assert_array_equal(draw_and_augment(images, [1, 2]), draw_and_augment(images, [1, 2]))
    assert (draw_and_augment(images, [1, 2]) != draw_and_augment(images, [1, 3])).any()


DEVICE_SCRIPT = """
import sys
from workbench.runtime import load_tensorflow
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
load_tensorflow()
import keras
from workbench.data import pipeline
from tests.processes import run
from workbench.config import DataConfig
from workbench.data.dataset import load_dataset

dataset = load_dataset(DataConfig(data=sys.argv[1], image_size=16), seed=0)
training = pipeline.make_training_batches(dataset, 10, augmentation=None, seed=0)
plain = [image.numpy() for image, _ in training.make_on_host().take(6)]
pipeline.list_gpus = lambda: ["/device:CPU:1"]
batches = training.make_on_host()
for other, (images, labels) in zip(plain, batches, strict=False):
    assert images.device.endswith("CPU:1"), images.device
    assert labels.device.endswith("CPU:1"), labels.device
    assert (images.numpy() == other).all()
seen = sum(len(labels) for _, labels in pipeline.make_evaluation_batches(dataset, dataset.test, 5))
assert seen == 12, seen

model = keras.Sequential([keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(3)])
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
steps = pipeline.count_steps(dataset, 10)
validation = pipeline.make_evaluation_batches(dataset, dataset.validation, 10)
history = model.fit(batches, validation_data=validation, steps_per_epoch=steps, epochs=3, shuffle=False, verbose=0)
assert len(history.history["val_loss"]) == 3
print("trained")
"""


def test_batches_are_prefetched_to_a_device(photo_folder):
    """Test this with a second logical CPU instead of a GPU."""
    command = [sys.executable, "-c", DEVICE_SCRIPT, str(photo_folder(train=10, test=4))]
    result = run(command)
    assert result.stdout == "trained\n", result.stderr


def test_no_thread_tunes_a_pipeline(dataset):
    """TensorFlow's autotuning can miss that an iterator ends, which then waits for it: seconds at the end of a fit."""
    for batches in (
        make_training_batches(dataset, 4, augmentation=CROPS, seed=0).make_on_host(),
        make_evaluation_batches(dataset, dataset.test, 5),
    ):
        assert batches.options().autotune.enabled is False


def test_class_weights_come_with_the_batches(dataset):
    weights = np.array([0.5, 1.0, 2.0], np.float32)
    batches = make_training_batches(dataset, 10, augmentation=None, seed=0, class_weights=weights).make_on_host()
    for _, labels, batch_weights in batches.take(3):
        np.testing.assert_array_equal(batch_weights, weights[labels.numpy()])


def test_a_pipeline_is_traced_once_for_all_trainings_that_ask_for_it(dataset, monkeypatch):
    traced, apply = [], BatchChanges.apply

    def count(changes, *args, **options):
        traced.append(changes)
        return apply(changes, *args, **options)

    monkeypatch.setattr(BatchChanges, "apply", count)
    first = take_epochs(dataset, 1, augmentation=CROPS)
    assert len(traced) == 1
    assert_same(*take_epochs(dataset, 1, augmentation=CROPS), *first)  # from the beginning
    assert len(traced) == 1
    for number, changed in enumerate(({"seed": 1}, {"batch_size": 5}, {"augmentation": None}, {"first_epoch": 1}), 2):
        take_epochs(dataset, 1, **{"augmentation": CROPS, **changed})
        assert len(traced) == number, changed
    assert_same(*take_epochs(dataclasses.replace(dataset), 1, augmentation=CROPS), *first)
    assert len(traced) == 6


def test_images_that_are_no_file_are_not_kept(dataset):
    copied = dataclasses.replace(dataset, images=np.array(dataset.images))
    before = pipeline._load_on_host.cache_info()
    assert_same(*take_epochs(copied, 1), *take_epochs(dataset, 1))
    assert pipeline._load_on_host.cache_info().misses == before.misses + 1
