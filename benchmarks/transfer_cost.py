"""What fine-tuning ResNet50 costs when each frozen layer is paid for once, against the plain float32 way.

    python -m benchmarks.transfer_cost [IMAGES] [EPOCHS]

On random images at 224 px without pretrained weights (the arithmetic is the same); 128 images and 10 epochs by
default. The plain way and the epochs of first_k are measured over one epoch, its set-up included. Prints seconds.
"""

import dataclasses
import sys
import tempfile
import time

import numpy as np

from transfer.settings import TransferConfig, resolve
from vision.data.dataset import Dataset
from vision.runtime import load_tensorflow

SIZE, CLASSES = 224, 10


def random_images(count, folder):
    """A data set of noise, mapped from a file as those of photos are; four fifths of it to train on."""
    rng = np.random.default_rng(0)
    rows, train = np.arange(count), count * 4 // 5
    images = np.memmap(f"{folder}/noise.bin", np.uint8, "w+", shape=(count, SIZE, SIZE, 3))
    images[:] = rng.integers(0, 256, images.shape)
    return Dataset(
        name="noise",
        class_names=[str(number) for number in range(CLASSES)],
        images=images,
        labels=rng.integers(0, CLASSES, count).astype(np.int32),
        names=[str(row) for row in rows],
        train=rows[:train],
        validation=rows[train:],
        test=rows[:0],
        unreadable=[],
        decode_seconds=0.0,
        key="noise",
    )


def seconds(config, dataset):
    """(seconds of a fine-tuning from the built network to the last epoch, of them for the stored features)."""
    from transfer.finetuning import FineTuning
    from vision.fitting import fit

    tuning = FineTuning(config, dataset)
    start = time.perf_counter()
    model = tuning.compile()
    fit(model, tuning.settings(), tuning.examples())
    return time.perf_counter() - start, tuning.facts["feature_seconds"]


def main(images=128, epochs=10):
    load_tensorflow()
    with tempfile.TemporaryDirectory() as cache:
        dataset = random_images(images, cache)
        config = resolve(TransferConfig(weights="none", image_size=SIZE, epochs=epochs, cache_dir=cache))
        last, once = seconds(config, dataset)
        again, _ = seconds(dataclasses.replace(config, learning_rate=1e-2), dataset)
        part = TransferConfig(weights="none", image_size=SIZE, mode="first_k", k=143, epochs=1, cache_dir=cache)
        part = resolve(part)
        stored_one, part_once = seconds(part, dataset)
        plain, _ = seconds(dataclasses.replace(config, views=0, epochs=1), dataset)
        plain_part, _ = seconds(dataclasses.replace(part, views=0), dataset)
    stored_part = part_once + epochs * (stored_one - part_once)
    print(f"\nResNet50, {SIZE} px, {images} images, {epochs} epochs, seconds")
    print(
        f"last_layer, stored: {last:.1f} ({once:.1f} for the features: {images / once:.0f} images/s); "
        f"{last / once:.2f} x one forward pass"
    )
    print(f"last_layer, plain: {epochs * plain:.1f} ({plain:.1f} an epoch); {epochs * plain / last:.1f} x as much")
    print(f"last_layer, another learning rate: {again:.1f}; {again / last:.2f} of the first")
    print(
        f"first_k at 143, stored: {stored_part:.1f}; plain: {epochs * plain_part:.1f}; "
        f"{epochs * plain_part / stored_part:.1f} x as much"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
