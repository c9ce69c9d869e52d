"""tf.data pipelines from a `Dataset` to batches of images and labels."""

import dataclasses
import functools
import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from workbench.data.augmentation import Augmentation, choose_flips
from workbench.data.batch_changes import BatchChanges, Draws
from workbench.data.dataset import Dataset
from workbench.data.gpu_batches import BatchMaker, copy_to_gpu
from workbench.errors import UserError
from workbench.runtime import count_replicas, count_threads, is_multi_worker, list_gpus

EVALUATION_PIXELS = 1 << 18  # of a batch of small images
# AutoGraph has nothing to convert in these functions, and takes as long as the tracing.
_without_autograph = tf.autograph.experimental.do_not_convert
_PREFETCH = 4  # batches
KEPT_PIPELINES = 8  # so that a training or a trial with the same settings need not trace its own
_SHUFFLE, _AUGMENT = 0, 1  # streams of random numbers that must not coincide


@dataclasses.dataclass(frozen=True)
class TrainingBatches:
    """Endless training batches.

    Attributes:
        dataset: its `train` rows are used.
        order: tf.data.Dataset of (number of the batch, positions of its images among the `train` rows). Batches are
            counted from the start of epoch 0, also in a training that is resumed later.
        steps: number of batches in an epoch.
        changes: of each batch.
        seed: of the changes.
    """

    dataset: Dataset
    order: tf.data.Dataset
    steps: int
    changes: BatchChanges
    seed: int

    def make_on_host(self) -> tf.data.Dataset:
        """Return the batches, which the processor makes and prefetches, to the GPU if there is one."""
        return _prefetch(keep_traced(_load_on_host, self.dataset.images)(self))

    def make_on_gpu(self, gpu: str) -> tuple[tf.data.Dataset, BatchMaker]:
        """Return (dataset, make_batch): `make_batch(*element)` makes a batch of each element of the dataset on a GPU.

        If the images fit into a part of the GPU's memory, elements say which ones to read there; else they hold the
        images of the batch.
        """
        copy, draw = copy_to_gpu(self.dataset.images, gpu), self.make_drawer()
        images = None if copy else _share_memory(self.dataset.images)

        @_without_autograph
        def load(*place: tf.Tensor) -> tuple[tf.Tensor, ...]:
            rows, labels, draws = draw(*place)
            # TensorFlow computes int32 on the processor, for which the GPU would wait.
            return rows if copy else tf.gather(images, rows), tf.cast(labels, tf.int64), draws

        data = _prefetch(self.order.map(load, num_parallel_calls=count_threads()))
        return data, BatchMaker(copy, self.changes, gpu)

    def make_drawer(self) -> Callable[..., tuple[tf.Tensor, tf.Tensor, Draws]]:
        """Return a function from an element of `order` to (rows, labels, what is drawn for the batch)."""
        look_up = _make_lookup(self.dataset, self.dataset.train)
        with tf.device("/CPU:0"):
            mirrored = choose_flips(len(self.dataset.train), self.seed)

        def draw(number: tf.Tensor, positions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, Draws]:
            epoch, batch = number // self.steps, number % self.steps
            flipped = tf.not_equal(tf.gather(mirrored, positions), epoch % 2 == 1)
            draws = self.changes.draw(_make_key(self.seed, _AUGMENT, epoch, batch), flipped)
            return *look_up(positions), draws

        return draw


@functools.lru_cache(maxsize=KEPT_PIPELINES)
def _load_on_host(batches: TrainingBatches) -> tf.data.Dataset:
    """Return the batches, not prefetched."""
    images, draw = _share_memory(batches.dataset.images), batches.make_drawer()

    @_without_autograph
    def load(*place: tf.Tensor) -> tuple[tf.Tensor, ...]:
        rows, labels, draws = draw(*place)
        return batches.changes.apply(tf.gather(images, rows), labels, draws)

    return batches.order.map(load, num_parallel_calls=count_threads())


def make_training_batches(
    dataset: Dataset,
    batch_size: int,
    *,
    augmentation: Augmentation | None,
    seed: int,
    first_epoch: int = 0,
    class_weights: np.ndarray | None = None,
    one_hot: bool = False,
    erasing: float = 0.0,
    mixup: float = 0.0,
    cutmix: float = 0.0,
    image_size: int | None = None,
) -> TrainingBatches:
    """Return endless training batches, epoch after epoch: shuffled over the whole set, and augmented.

    Order and augmentation of an epoch depend on `seed` and the epoch's number alone, so a training that is resumed at
    epoch k with `first_epoch=k` gets the same batches as an uninterrupted one. An epoch has
    `count_steps(dataset, batch_size)` batches; the last one holds the remainder.

    Args:
        dataset: its `train` rows are used. If it is not `augmentable`, `augmentation` has no effect.
        batch_size: images a batch.
        augmentation: how images are cropped or shifted, flipped and jittered at random; None changes nothing.
        seed: of order and augmentation.
        first_epoch: number of the first epoch, counted from 0.
        class_weights: weight of the images of each class, float32 (num_classes,), or None.
        one_hot: whether labels are float32 (batch, num_classes).
        erasing, mixup, cutmix: as in `TrainingConfig`; the last two need `one_hot`.
        image_size: side of the images in pixels; by default that of the stored images.
    """
    changes = BatchChanges(
        augmentation=augmentation if dataset.augmentable else None,
        image_size=image_size,
        erasing=erasing,
        mixup=mixup,
        cutmix=cutmix,
        num_classes=len(dataset.class_names) if one_hot else 0,
        class_weights=() if class_weights is None else tuple(class_weights.tolist()),
    )
    steps, drop_remainder = count_steps(dataset, batch_size), count_replicas() > 1
    order = _shuffle_rows(len(dataset.train), batch_size, drop_remainder, steps, seed, first_epoch)
    return TrainingBatches(dataset, order, steps, changes, seed)


@functools.lru_cache(maxsize=KEPT_PIPELINES)
def _shuffle_rows(
    count: int, batch_size: int, drop_remainder: bool, steps: int, seed: int, first_epoch: int
) -> tf.data.Dataset:
    """Return endless (number of the batch, positions of its images among `count`), in a new order each epoch."""

    @_without_autograph
    def shuffle_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        order = tf.argsort(tf.random.stateless_uniform([count], _make_key(seed, _SHUFFLE, epoch, 0)))
        return tf.data.Dataset.from_tensor_slices(order).batch(batch_size, drop_remainder=drop_remainder)

    end = np.iinfo(np.int64).max
    positions = tf.data.Dataset.range(first_epoch, end).flat_map(shuffle_epoch)
    return tf.data.Dataset.zip(tf.data.Dataset.range(first_epoch * steps, end), positions)


def make_evaluation_batches(
    dataset: Dataset, rows: np.ndarray, batch_size: int, one_hot: bool = False
) -> tf.data.Dataset:
    """Return batches of the given rows in their order, each image once, not augmented, remainder included.

    Batches of small images are larger than `batch_size`, which changes no result and saves steps.
    """
    images, look_up = _share_memory(dataset.images), _make_lookup(dataset, rows)
    changes = BatchChanges(num_classes=len(dataset.class_names) if one_hot else 0)

    @_without_autograph
    def load(positions: tf.Tensor) -> tuple[tf.Tensor, ...]:
        shown, labels = look_up(positions)
        return changes.apply(tf.gather(images, shown), labels, {})

    size = dataset.images.shape[1]
    positions = tf.data.Dataset.range(len(rows)).batch(max(batch_size, min(256, EVALUATION_PIXELS // size**2)))
    return _prefetch(positions.map(load, num_parallel_calls=count_threads()))


def keep_traced(make: Callable[..., tf.data.Dataset], images: np.ndarray) -> Callable[..., tf.data.Dataset]:
    """Return `make`, which has an `lru_cache`, or the function without it if it would keep a copy of the images."""
    return make if _find_mapped_file(images) else make.__wrapped__  # type: ignore[attr-defined]


def count_steps(dataset: Dataset, batch_size: int) -> int:
    """Return the number of batches that hold the training set; the last one may not be full.

    Where several devices share a batch, the images that do not fill a last batch are not used in this epoch, because
    TensorFlow would fill it with images of the next epoch. Each epoch omits other images.

    Raises:
        UserError: the devices cannot share a batch of this size.
    """
    replicas = count_replicas()
    if replicas == 1:
        return -(-len(dataset.train) // batch_size)
    if batch_size % replicas or batch_size > len(dataset.train):
        raise UserError(
            f"--batch-size {batch_size}: {replicas} devices share each batch, so it must be a multiple of {replicas} "
            f"and no more than the {len(dataset.train):,} training images"
        )
    return len(dataset.train) // batch_size


def _make_lookup(dataset: Dataset, rows: np.ndarray) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Return a function from positions in `rows` to (rows of the images, labels)."""
    with tf.device("/CPU:0"):
        numbers, labels = tf.constant(rows), tf.constant(dataset.labels[rows])
    return lambda positions: (tf.gather(numbers, positions), tf.gather(labels, positions))


def _share_memory(images: np.ndarray) -> tf.Tensor:
    """Return the images as a tensor that shares the memory of their file.

    The operating system keeps as much of the file in memory as there is room for, once for all processes.
    """
    with tf.device("/CPU:0"):
        path = _find_mapped_file(images)
        if path is None:
            # Copied: an array or a slice of a file may begin at an address that TensorFlow's instructions cannot read.
            return tf.constant(images)
        writable = np.memmap(path, images.dtype, "c", shape=images.shape)  # TensorFlow takes no other array
        return tf.experimental.dlpack.from_dlpack(writable.__dlpack__())


def _find_mapped_file(images: np.ndarray) -> str | os.PathLike[str] | None:
    """Return the path of the file that is mapped whole as this array; None if there is none."""
    path = images.filename if isinstance(images, np.memmap) else None
    return path if path is not None and images.nbytes == os.path.getsize(path) else None


def _make_key(seed: int, stream: int, epoch: tf.Tensor, batch: tf.Tensor | int) -> tf.Tensor:
    """Return two integers for TensorFlow's stateless generators, different for each stream, epoch and batch."""
    epoch, batch = tf.cast(epoch, tf.int64), tf.cast(batch, tf.int64)
    return tf.stack([tf.constant(2 * seed + stream, tf.int64), epoch * (1 << 32) + batch])


def _share_out(batches: tf.data.Dataset, context: tf.distribute.InputContext) -> tf.data.Dataset:
    """Return the part of each batch that this process computes.

    Each process makes whole batches, so that random numbers do not depend on the number of processes.
    """
    count, index = context.num_input_pipelines, context.input_pipeline_id

    @_without_autograph
    def take(*values: tf.Tensor) -> tuple[tf.Tensor, ...]:
        size = tf.shape(values[0])[0]
        return tuple(value[index * size // count : (index + 1) * size // count] for value in values)

    return batches.map(take)


def _prefetch(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Prefetch batches on the host, and to the GPU if there is one; TensorFlow distributes them to several GPUs."""
    if is_multi_worker():
        strategy = tf.distribute.get_strategy()
        return strategy.distribute_datasets_from_function(lambda context: _set_up(_share_out(batches, context)))
    batches = _set_up(batches)
    devices = list_gpus()
    if devices and count_replicas() == 1:
        batches = batches.apply(tf.data.experimental.prefetch_to_device(devices[0]))
    return batches


def _set_up(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Prefetch batches on the host."""
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False  # they would copy all images into the graph
    options.autotune.enabled = False  # its thread can miss that it should end, and delays the end by up to a minute
    if count_replicas() > 1:
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return batches.prefetch(_PREFETCH).with_options(options)
