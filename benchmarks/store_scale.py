"""Train on 200,000 images as on 2,000: the same speed an image, and memory that does not grow with the data.

    python -m benchmarks.store_scale [--images 200000] [--size 32]

Writes JPEGs of 10 classes into a temporary folder, decodes them into a store (images a second), and reads epochs of
both sizes through the training pipeline, each in a process of its own. Prints the ratio of their speeds and the
memory over what the framework takes on its own: "own" is what only this process can use; resident memory also
counts pages of the store that the kernel drops whenever it needs the room.
"""

import argparse
import concurrent.futures
import itertools
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

NUM_CLASSES, SMALL, BATCH = 10, 2_000, 64
MEMORY_LIMIT, SPEED_LIMIT = 1e9, 0.8


def write_images(root, count, size):
    """Write `count` JPEGs, a tenth in each class folder, each different."""
    rng = np.random.default_rng(0)
    colours = rng.integers(40, 216, (NUM_CLASSES, 3))
    texture = rng.integers(-40, 40, (size * 8, size * 8, 3))
    for label in range(NUM_CLASSES):
        folder = Path(root) / f"class-{label}"
        folder.mkdir(parents=True)
        for number in range(label, count, NUM_CLASSES):
            y, x = divmod(number * 7919 % (49 * size * size), 7 * size)
            patch = texture[y : y + size, x : x + size] + colours[label]
            Image.fromarray(patch.clip(0, 255).astype(np.uint8)).save(folder / f"{number:07d}.jpg", quality=85)


def measure(data, size, cache):
    """(seconds to decode, images a second, own memory, resident memory in bytes) of a data set in a new process."""
    from workbench.runtime import load_tensorflow

    load_tensorflow()
    from workbench.data.dataset import DataConfig, load_dataset
    from workbench.data.pipeline import steps_per_epoch, training_batches

    idle_own, idle_resident = _memory()
    dataset = load_dataset(DataConfig(data=data, image_size=size, cache_dir=cache), seed=0)
    steps = steps_per_epoch(dataset, BATCH)
    batches = iter(training_batches(dataset, BATCH, data_aug=False, seed=0))
    for _ in itertools.islice(batches, steps):  # an epoch to warm up
        pass
    epochs, images, seen = max(1, 160_000 // len(dataset.train)), 0, [_memory()]
    start = time.perf_counter()
    for step, (shown, _) in enumerate(itertools.islice(batches, epochs * steps)):
        images += len(shown)
        if step % 500 == 0:
            seen.append(_memory())
    seconds = time.perf_counter() - start
    assert images == epochs * len(dataset.train), (images, epochs, len(dataset.train))
    own, resident = (max(values) for values in zip(*seen, strict=True))
    return dataset.decode_seconds, images / seconds, own - idle_own, resident - idle_resident


def _memory():
    """(own, resident) memory of this process in bytes."""
    memory = psutil.Process().memory_info()
    return memory.rss - memory.shared, memory.rss


def _in_new_process(*arguments):
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, *arguments).result()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--size", type=int, default=32, help="side of the images in pixels")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        large, small, cache = (os.path.join(folder, name) for name in ("large", "small", "cache"))
        start = time.perf_counter()
        write_images(large, options.images, options.size)
        write_images(small, SMALL, options.size)
        print(f"wrote {options.images:,} JPEGs of {options.size} px in {time.perf_counter() - start:.0f} s", flush=True)
        speeds = []
        for count, data in ((SMALL, small), (options.images, large)):
            decode_seconds, speed, own, resident = _in_new_process(data, options.size, cache)
            speeds.append(speed)
            print(
                f"{count:,} images: decoded in {decode_seconds:.1f} s ({count / decode_seconds:,.0f} images/s), read "
                f"at {speed:,.0f} images/s; memory over TensorFlow's: {own / 1e6:,.0f} MB own, "
                f"{resident / 1e6:,.0f} MB resident",
                flush=True,
            )
        ratio = speeds[1] / speeds[0]
        print(f"speed an image, {options.images:,} over {SMALL:,}: {ratio:.2f}", flush=True)
    assert own < MEMORY_LIMIT, "memory grows with the data"
    assert ratio > SPEED_LIMIT, "large data is read more slowly"


if __name__ == "__main__":
    main()
