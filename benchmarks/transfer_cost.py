"""What fine-tuning ResNet50 costs when each frozen layer is paid for once, against the plain float32 way.

    python -m benchmarks.transfer_cost [IMAGES] [EPOCHS]

On random images at 224 px without pretrained weights (the arithmetic is the same); 512 images and 10 epochs by
default. Of the plain way and of first_k two epochs are measured, and the others taken to be as long as the second.
"""

import dataclasses
import sys
import tempfile
import time

import numpy as np

from transfer.config import TransferConfig, resolve
from workbench.data.dataset import Dataset
from workbench.runtime import load_tensorflow

SIZE, CLASSES, MEASURED = 224, 10, 2


def random_images(count, folder):
    """A data set of noise, mapped from a file as those of photos are; four fifths of it to train on."""
    rng = np.random.default_rng(0)
    rows, train = np.arange(count), count * 4 // 5
    images = np.memmap(f"{folder}/{count}.bin", np.uint8, "w+", shape=(count, SIZE, SIZE, 3))
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
        key=f"noise {count}",
    )


@dataclasses.dataclass(frozen=True)
class Cost:
    """Seconds of a fine-tuning, from the built network on: all, the stored features', the last epoch's."""

    total: float
    features: float
    epoch: float

    def of(self, epochs, done):
        """Seconds of `epochs` epochs, of which `done` were measured; the others take as long as the last one."""
        return self.total + (epochs - done) * self.epoch


def cost(config, dataset):
    """The `Cost` of a fine-tuning."""
    from transfer.finetune import FineTuning
    from workbench.training.loop import fit

    tuning = FineTuning(config, dataset)
    start = time.perf_counter()
    model = tuning.compile()
    rows, _ = fit(model, tuning.settings(), tuning.examples())
    return Cost(time.perf_counter() - start, tuning.facts["feature_seconds"], rows[-1]["seconds"])


def main(images=512, epochs=10):
    load_tensorflow()
    with tempfile.TemporaryDirectory() as cache:
        dataset = random_images(images, cache)
        config = resolve(TransferConfig(weights="none", image_size=SIZE, epochs=epochs, cache_dir=cache))
        cost(config, random_images(10, cache))  # so that the fastest arithmetic, measured once a machine, is known
        first = cost(config, dataset)
        again = cost(dataclasses.replace(config, learning_rate=1e-2), dataset)
        whole = dataclasses.replace(config, views=0, precision="float32", epochs=MEASURED)
        plain = cost(whole, dataset).of(epochs, MEASURED)
        part = TransferConfig(weights="none", image_size=SIZE, mode="first_k", k=143, epochs=MEASURED, cache_dir=cache)
        part = resolve(part)
        stored_part = cost(part, dataset).of(epochs, MEASURED)
        whole_part = dataclasses.replace(part, views=0, precision="float32")
        plain_part = cost(whole_part, dataset).of(epochs, MEASURED)
    print(f"\nResNet50, {SIZE} px, {images} images, {epochs} epochs, seconds")
    print(
        f"last_layer, stored: {first.total:.1f} ({first.features:.1f} for the features: "
        f"{images / first.features:.0f} images/s); {first.total / first.features:.2f} x one forward pass"
    )
    print(f"last_layer, plain: {plain:.1f}; {plain / first.total:.1f} x as much")
    print(f"last_layer, another learning rate: {again.total:.1f}; {again.total / first.total:.3f} of the first")
    print(
        f"first_k at 143, stored: {stored_part:.1f}; plain: {plain_part:.1f}; {plain_part / stored_part:.1f} x as much"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
