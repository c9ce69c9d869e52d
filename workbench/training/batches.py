"""The input pipeline of a training: the batches that a `TrainingConfig` asks for."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from workbench.config import TrainingConfig
from workbench.data import pipeline
from workbench.data.augmentation import Augmentation
from workbench.data.dataset import Dataset, compute_class_weights
from workbench.data.pipeline import KEPT_PIPELINES, TrainingBatches, keep_traced
from workbench.runtime import list_gpus
from workbench.training.optimizer import needs_one_hot
from workbench.training.training_model import TrainingModel


def make_training_batches(
    dataset: Dataset, training: TrainingConfig, first_epoch: int = 0, image_size: int | None = None
) -> TrainingBatches:
    """Make endless batches of shuffled and augmented training images; see `workbench.data.pipeline`."""
    return pipeline.make_training_batches(
        dataset,
        training.batch_size,
        augmentation=read_augmentation(training) if training.data_aug else None,
        seed=training.seed,
        first_epoch=first_epoch,
        class_weights=compute_class_weights(dataset) if training.class_weights == "balanced" else None,
        one_hot=needs_one_hot(training),
        erasing=training.erasing,
        mixup=training.mixup,
        cutmix=training.cutmix,
        image_size=image_size,
    )


@contextlib.contextmanager
def feed(model: keras.Model, batches: TrainingBatches) -> Iterator[tf.data.Dataset]:
    """Yield what `model.fit` takes to train on these batches.

    If one GPU trains a `TrainingModel`, the training step makes them there. Otherwise the processor makes them: each of
    several GPUs gets a part of the batch only, and MixUp needs the whole batch.
    """
    gpus = list_gpus()
    if gpus and not tf.distribute.has_strategy() and isinstance(model, TrainingModel):
        data, make_batch = batches.make_on_gpu(gpus[0])
        with model.making_batches(make_batch):
            yield data
    else:
        yield batches.make_on_host()


def make_validation_batches(dataset: Dataset, training: TrainingConfig) -> tf.data.Dataset:
    """Make batches of the validation images, each once, in order."""
    images = dataset.images if dataset.validation_images is None else dataset.validation_images
    make = keep_traced(_make_validation_batches, images)
    return make(dataset, training.batch_size, needs_one_hot(training), tf.distribute.get_strategy())


@functools.lru_cache(maxsize=KEPT_PIPELINES)
def _make_validation_batches(
    dataset: Dataset, batch_size: int, one_hot: bool, strategy: tf.distribute.Strategy
) -> tf.data.Dataset:
    rows = dataset.validation
    if dataset.validation_images is not None:
        dataset = dataclasses.replace(dataset, images=dataset.validation_images, labels=dataset.labels[rows])
        rows = np.arange(len(rows))
    return pipeline.make_evaluation_batches(dataset, rows, batch_size, one_hot=one_hot)


def read_augmentation(training: TrainingConfig) -> Augmentation:
    """Return how `data_aug` changes images."""
    return Augmentation(training.crop_area, training.shift, training.jitter, training.rand_augment)
