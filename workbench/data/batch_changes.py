"""How the images and labels of a training batch are changed: augmentation, erasing, MixUp and CutMix, class weights."""

import dataclasses
from typing import Any

import tensorflow as tf

from workbench.data.augmentation import Augmentation, augment, draw_changes, resize
from workbench.data.mixing import draw_boxes, draw_mixing, erase_boxes, mix_images

Draws = dict[str, Any]  # name of a change -> tensors with what was drawn for it


@dataclasses.dataclass(frozen=True)
class BatchChanges:
    """How a batch is changed.

    Attributes:
        augmentation: how images are cropped or shifted, flipped and jittered; None changes nothing.
        image_size: side of the images in pixels; None leaves it as it is.
        erasing, mixup, cutmix: as in `TrainingConfig`; the last two need `num_classes`.
        num_classes: length of a one-hot label; 0 leaves the labels as they are.
        class_weights: of the images of each class; empty for none.
    """

    augmentation: Augmentation | None = None
    image_size: int | None = None
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    num_classes: int = 0
    class_weights: tuple[float, ...] = ()

    def draw(self, key: tf.Tensor, flipped: tf.Tensor) -> Draws:
        """Draw the random numbers of a batch.

        Args:
            key: two integers; the same key gives the same numbers.
            flipped: which images are flipped if they are augmented, bool (batch,).
        """
        draws: Draws = {}
        count = tf.shape(flipped)[0]
        if self.augmentation:
            draws["augmentation"] = draw_changes(key, count, self.augmentation, flipped)
        if self.erasing:
            draws["erasing"] = draw_boxes(tf.random.fold_in(key, 1), count)
        if self.mixup or self.cutmix:
            mixing_key = tf.random.fold_in(key, 2)
            draws["mixing"] = draw_mixing(mixing_key, count, mixup=self.mixup, cutmix=self.cutmix)
        return draws

    def apply(self, images: tf.Tensor, labels: tf.Tensor, draws: Draws, for_gpu: bool = False) -> tuple[tf.Tensor, ...]:
        """Return the changed batch.

        Args:
            images: uint8 (batch, height, width, 3); or stored features, which are not changed.
            labels: integers (batch,).
            draws: what was drawn for the batch.
            for_gpu: compute with operations that run on a GPU. Resized pixels may differ by 1.

        Returns:
            (images, targets), with class weights (images, targets, weights): uint8 (batch, size, size, 3); targets
            are the labels, or float32 (batch, num_classes); weights float32 (batch,).
        """
        targets = tf.one_hot(labels, self.num_classes) if self.num_classes else labels
        if self.augmentation:
            images = augment(images, draws["augmentation"], self.augmentation, self.image_size, for_gpu)
        elif self.image_size and self.image_size != images.shape[1]:
            images = resize(images, (self.image_size, self.image_size), for_gpu)
        if self.erasing:
            images = erase_boxes(images, self.erasing, draws["erasing"])
        if self.mixup or self.cutmix:
            images, targets = mix_images(images, targets, draws["mixing"], mixup=self.mixup, cutmix=self.cutmix)
        if not self.class_weights:
            return images, targets
        weights = tf.constant(self.class_weights, tf.float32)
        return images, targets, tf.linalg.matvec(targets, weights) if self.num_classes else tf.gather(weights, labels)
