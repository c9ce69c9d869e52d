"""tf.data pipelines from a `Dataset` to batches of (uint8 images, int32 labels)."""

import os

import numpy as np
import tensorflow as tf

from workbench.data.mixing import erased, mixed
from workbench.errors import UserError
from workbench.runtime import gpus, num_replicas, num_threads

EVALUATION_PIXELS = 1 << 18  # of a batch of small images
_plain = tf.autograph.experimental.do_not_convert  # nothing to convert, and converting takes as long as the tracing
_PREFETCH = 4  # batches
_SHUFFLE, _AUGMENT = 0, 1  # streams of random numbers that must not coincide


def training_batches(
    dataset,
    batch_size,
    *,
    data_aug,
    seed,
    first_epoch=0,
    class_weights=None,
    one_hot=False,
    erasing=0.0,
    mixup=0.0,
    cutmix=0.0,
    image_size=None,
):
    """Endless training batches, epoch after epoch: shuffled over the whole set, augmented, prefetched.

    Order and augmentation of an epoch depend on `seed` and the epoch's number alone, so a training that goes
    on from epoch k with `first_epoch=k` sees what an uninterrupted one sees.

    Args:
        dataset: a `workbench.data.dataset.Dataset`; its `train` rows are used.
        batch_size: images a batch; the last batch of an epoch holds the remainder.
        data_aug: whether images are cropped, flipped and jittered at random.
        seed: fixes order and augmentation.
        first_epoch: number of the first epoch, counted from 0.
        class_weights: weight of the images of each class, float32 (num_classes,), or None.
        one_hot: labels as float32 (batch, num_classes).
        erasing, mixup, cutmix: as `RecipeConfig` has them; the last two need `one_hot`.
        image_size: side of the images in pixels; by default that of the stored ones.

    Returns:
        Infinite tf.data.Dataset of (uint8 (batch, size, size, 3), int32 (batch,)), and with class weights
        float32 (batch,) as a third; an epoch is `steps_per_epoch(dataset, batch_size)` batches.
    """
    read = _reader(dataset, dataset.train)
    targets = _targets(dataset, one_hot)
    count, size = len(dataset.train), image_size or dataset.images.shape[1]

    @_plain
    def epoch_batches(epoch):
        order = tf.argsort(tf.random.stateless_uniform([count], _key(seed, _SHUFFLE, epoch, 0)))
        rows = tf.data.Dataset.from_tensor_slices(order).batch(batch_size, drop_remainder=num_replicas() > 1)
        rows = rows.enumerate()
        return rows.map(_plain(lambda batch, rows: (epoch, batch, rows)))

    @_plain
    def load(epoch, batch, rows):
        images, labels = read(rows)
        answers, key = targets(labels), _key(seed, _AUGMENT, epoch, batch)
        if data_aug:
            images = augment(images, key, size)
        elif size != images.shape[1]:
            images = _to_uint8(tf.image.resize(images, (size, size), antialias=True))
        if erasing:
            images = erased(images, erasing, tf.random.fold_in(key, 1))
        if mixup or cutmix:
            mix_key = tf.random.fold_in(key, 2)
            images, answers = mixed(images, answers, mixup=mixup, cutmix=cutmix, key=mix_key)
        if class_weights is None:
            return images, answers
        if one_hot:
            return images, answers, tf.linalg.matvec(answers, class_weights)
        return images, answers, tf.gather(class_weights, labels)

    epochs = tf.data.Dataset.range(first_epoch, np.iinfo(np.int64).max)
    batches = epochs.flat_map(epoch_batches).map(load, num_parallel_calls=num_threads())
    return _prefetched(batches)


def evaluation_batches(dataset, rows, batch_size, one_hot=False):
    """Batches of the given rows in their order, each image once, unaugmented, remainder included.

    Batches of small images are larger than `batch_size`, which changes no result and saves steps.
    """
    read = _reader(dataset, rows)
    targets = _targets(dataset, one_hot)

    @_plain
    def load(positions):
        images, labels = read(positions)
        return images, targets(labels)

    size = dataset.images.shape[1]
    positions = tf.data.Dataset.range(len(rows)).batch(max(batch_size, min(256, EVALUATION_PIXELS // size**2)))
    return _prefetched(positions.map(load, num_parallel_calls=num_threads()))


def steps_per_epoch(dataset, batch_size):
    """Number of batches that hold the training set, the last one perhaps not full.

    Where several devices share a batch, the images that do not fill a last one sit out the epoch, others each
    time: TensorFlow would fill it with the next epoch's.

    Raises:
        UserError: the devices cannot share a batch of this size.
    """
    replicas = num_replicas()
    if replicas == 1:
        return -(-len(dataset.train) // batch_size)
    if batch_size % replicas or batch_size > len(dataset.train):
        raise UserError(
            f"--batch-size {batch_size}: {replicas} devices share each batch, so it must be a multiple of {replicas} "
            f"and no more than the {len(dataset.train):,} training images"
        )
    return len(dataset.train) // batch_size


def augment(images, key, image_size=None):
    """Random resized crop, horizontal flip and colour jitter, drawn for each image of a batch.

    Args:
        images: uint8 (batch, height, width, 3).
        key: two integers; the same key gives the same result.
        image_size: side of the results in pixels; by default they are as large as the images.

    Returns:
        uint8 (batch, image_size, image_size, 3). The crop covers 35 to 100 % of the area at a ratio of 3:4 to 4:3,
        the flip is done for half the images, and brightness, contrast and saturation vary by up to 20 %.
    """
    count, size = tf.shape(images)[0], (image_size, image_size) if image_size else images.shape[1:3]
    draw = tf.unstack(tf.random.stateless_uniform([8, count], key))
    area = 0.35 + 0.65 * draw[0]
    ratio = tf.exp((2 * draw[1] - 1) * np.log(4 / 3).astype(np.float32))
    height = tf.minimum(tf.sqrt(area / ratio), 1.0)
    width = tf.minimum(tf.sqrt(area * ratio), 1.0)
    top, left = draw[2] * (1 - height), draw[3] * (1 - width)
    flipped = draw[4] < 0.5
    x1, x2 = tf.where(flipped, left + width, left), tf.where(flipped, left, left + width)
    boxes = tf.stack([top, x1, top + height, x2], axis=1)
    images = tf.image.crop_and_resize(images, boxes, tf.range(count), size)
    return _jittered(images, *(0.8 + 0.4 * value[:, None, None, None] for value in draw[5:]))


def _jittered(images, brightness, contrast, saturation):
    images *= brightness
    mean = tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True)
    images = mean + contrast * (images - mean)
    grey = tf.reduce_sum(images * [0.299, 0.587, 0.114], axis=-1, keepdims=True)
    images = grey + saturation * (images - grey)
    return _to_uint8(images)


def _to_uint8(images):
    return tf.cast(tf.round(tf.clip_by_value(images, 0.0, 255.0)), tf.uint8)


def _reader(dataset, rows):
    """A function from positions in `rows` to (images, labels), read from the mapped store as they are asked for."""
    images, labels, rows = _shared(dataset.images), tf.constant(dataset.labels[rows]), tf.constant(rows)
    return lambda positions: (tf.gather(images, tf.gather(rows, positions)), tf.gather(labels, positions))


def _shared(images):
    """The images as a tensor that shares their file's memory: the kernel keeps what there is room for, once for all."""
    with tf.device("/CPU:0"):
        whole = isinstance(images, np.memmap) and images.nbytes == os.path.getsize(images.filename)
        if not whole:  # an array may begin where TensorFlow's instructions cannot read it, a slice anywhere in its file
            return tf.constant(images)
        writable = np.memmap(images.filename, images.dtype, "c", shape=images.shape)  # TensorFlow takes no other array
        return tf.experimental.dlpack.from_dlpack(writable.__dlpack__())


def _targets(dataset, one_hot):
    return (lambda labels: tf.one_hot(labels, len(dataset.class_names))) if one_hot else (lambda labels: labels)


def _key(seed, stream, epoch, batch):
    """Two integers for TensorFlow's stateless generators, different for each stream, epoch and batch."""
    epoch, batch = tf.cast(epoch, tf.int64), tf.cast(batch, tf.int64)
    return tf.stack([tf.constant(2 * seed + stream, tf.int64), epoch * (1 << 32) + batch])


def _prefetched(batches):
    """Prefetched on the host, and on to the GPU where there is one; several get their shares from TensorFlow."""
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False  # they would copy all images into the graph
    options.autotune.enabled = False  # its thread can miss its end, and lets an iterator's end wait for up to a minute
    if num_replicas() > 1:
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        return batches.prefetch(_PREFETCH).with_options(options)
    batches = batches.prefetch(_PREFETCH).with_options(options)
    devices = gpus()
    if devices:
        batches = batches.apply(tf.data.experimental.prefetch_to_device(devices[0]))
    return batches
