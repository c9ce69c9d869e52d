"""Make training batches on a GPU, of images in its memory if they fit."""

import dataclasses
import gc
import os
import weakref

import numpy as np
import tensorflow as tf

from workbench.data.batch_changes import BatchChanges, Draws
from workbench.devices.nvidia import list_visible_gpus

_SHARE = 0.1  # of a GPU's memory, for all copies of a process: the networks and other processes need the rest


@dataclasses.dataclass(frozen=True, eq=False)
class GpuCopy:
    """Images in a GPU's memory.

    Attributes:
        images: of the shape and type of the array that was copied. It is a variable, because TensorFlow reads rows of
            a uint8 constant on the processor only.
        source: the array.
    """

    images: tf.Variable
    source: np.ndarray


@dataclasses.dataclass(frozen=True)
class BatchMaker:
    """Makes training batches on a GPU. Two are equal if they make equal batches of what they get.

    Attributes:
        copy: of all images, in the GPU's memory; None if the batches' images are given.
        changes: of each batch.
        gpu: its name, such as `/device:GPU:0`.
    """

    copy: GpuCopy | None
    changes: BatchChanges
    gpu: str

    def __call__(self, images: tf.Tensor, labels: tf.Tensor, draws: Draws) -> tuple[tf.Tensor, ...]:
        """Return the batch, as `BatchChanges.apply` does.

        Args:
            images: of the batch; or their rows in the copy, int64 (batch,).
            labels: int64 (batch,).
            draws: what was drawn for the batch.
        """
        with tf.device(self.gpu):
            images = images if self.copy is None else tf.gather(self.copy.images, images)
            return self.changes.apply(images, labels, draws, for_gpu=True)


_copies: weakref.WeakValueDictionary[tuple, GpuCopy] = weakref.WeakValueDictionary()


def copy_to_gpu(images: np.ndarray, gpu: str) -> GpuCopy | None:
    """Copy images to a GPU. While a copy of the same images is in use, it is returned again.

    Args:
        images: array in the host's memory, or mapped from a file.
        gpu: its name, such as `/device:GPU:0`.

    Returns:
        None if the copies in use would take more than a tenth of the GPU's memory, if the driver does not say how much
        it has, or if the copy fails because other processes use the memory.
    """
    key = (gpu, *_identify(images))
    copy = _copies.get(key)
    if copy is not None:
        return copy
    if not _has_room(images.nbytes):
        gc.collect()  # models that are no longer used, with their copies
        if not _has_room(images.nbytes):
            return None
    try:
        with tf.device(gpu):
            copy = GpuCopy(tf.Variable(images, trainable=False), images)
    except (tf.errors.OpError, RuntimeError):  # a full GPU is reported as one or the other
        return None
    _copies[key] = copy
    return copy


def _has_room(num_bytes: int) -> bool:
    # The driver and TensorFlow may number the cards differently, so the smallest one counts.
    memory = min((card.memory or 0 for card in list_visible_gpus()), default=0)
    return num_bytes + sum(copy.source.nbytes for copy in _copies.values()) <= _SHARE * memory


def _identify(images: np.ndarray) -> tuple:
    """Return what identifies the images: the file that they fill, or their place in memory."""
    path = images.filename if isinstance(images, np.memmap) else None
    if path is None or images.nbytes != os.path.getsize(path):  # a part of a file
        return (id(images),)
    return (path, os.stat(path).st_mtime_ns, images.shape, images.dtype.str)
