"""Train on 200,000 images and on 2,000: the same speed an image, and memory that does not grow with the data.

    python -m benchmarks.store_scale [--images 200000] [--size 32]

Writes JPEGs of 10 classes into a temporary folder, decodes them into a store (images a second), and reads epochs of
both sizes through the training pipeline, each in a process of its own. Prints the ratio of their speeds and the
memory beyond what TensorFlow takes by itself: "own" memory can be used by this process only; resident memory includes
pages of the store, which the operating system drops when it needs the room.
"""

import argparse
import concurrent.futures
import itertools
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from PIL import Image

from workbench.runtime import load_tensorflow

load_tensorflow()  # quietly, before an import below does it

from workbench.config import DataConfig
from workbench.data.dataset import load_dataset
from workbench.data.pipeline import count_steps, make_training_batches

NUM_CLASSES, SMALL, BATCH = 10, 2_000, 64
SEEN_IMAGES = 160_000  # read at least, or one epoch
MEMORY_LIMIT, SPEED_LIMIT = 1e9, 0.8


class Memory(NamedTuple):
    """Memory of a process in bytes."""

    own: int
    resident: int


class Measurement(NamedTuple):
    """What reading a data set costs; memory is beyond TensorFlow's, at most."""

    decode_seconds: float
    images_per_second: float
    memory: Memory


def write_images(root: Path, count: int, size: int) -> None:
    """Write `count` JPEGs, a tenth of them into each class folder, no two alike."""
    rng = np.random.default_rng(0)
    colours = rng.integers(40, 216, (NUM_CLASSES, 3))
    texture = rng.integers(-40, 40, (size * 8, size * 8, 3))
    for label in range(NUM_CLASSES):
        folder = root / f"class-{label}"
        folder.mkdir(parents=True)
        for number in range(label, count, NUM_CLASSES):
            y, x = divmod(number * 7919 % (49 * size * size), 7 * size)
            patch = texture[y : y + size, x : x + size] + colours[label]
            Image.fromarray(patch.clip(0, 255).astype(np.uint8)).save(folder / f"{number:07d}.jpg", quality=85)


def measure(data: Path, size: int, cache: Path) -> Measurement:
    """Decode a data set and read epochs of it."""
    idle = read_memory()
    dataset = load_dataset(DataConfig(data=str(data), image_size=size, cache_dir=str(cache)), seed=0)
    steps = count_steps(dataset, BATCH)
    batches = iter(make_training_batches(dataset, BATCH, augmentation=None, seed=0).make_on_host())
    for _ in itertools.islice(batches, steps):  # an epoch to warm up
        pass
    epochs, images, memory = max(1, SEEN_IMAGES // len(dataset.train)), 0, [read_memory()]
    start = time.perf_counter()
    for step, (shown, _) in enumerate(itertools.islice(batches, epochs * steps)):
        images += len(shown)
        if step % 500 == 0:
            memory.append(read_memory())
    seconds = time.perf_counter() - start
    assert images == epochs * len(dataset.train), (images, epochs, len(dataset.train))
    own, resident = (max(values) for values in zip(*memory, strict=True))
    return Measurement(dataset.decode_seconds, images / seconds, Memory(own - idle.own, resident - idle.resident))


def read_memory() -> Memory:
    """Return the memory of this process."""
    memory = psutil.Process().memory_info()
    return Memory(memory.rss - memory.shared, memory.rss)


def measure_in_new_process(data: Path, size: int, cache: Path) -> Measurement:
    """Call `measure` in a process of its own."""
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, data, size, cache).result()


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--size", type=int, default=32, help="side of the images in pixels")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        start = time.perf_counter()
        counts, measured = {"small": SMALL, "large": options.images}, {}
        for name, count in counts.items():
            write_images(folder / name, count, options.size)
        print(f"wrote {options.images:,} JPEGs of {options.size} px in {time.perf_counter() - start:.0f} s", flush=True)
        for name, count in counts.items():
            measured[name] = measure_in_new_process(folder / name, options.size, folder / "cache")
            seconds, speed, memory = measured[name]
            print(
                f"{count:,} images: decoded in {seconds:.1f} s ({count / seconds:,.0f} images/s), read at {speed:,.0f} "
                f"images/s; memory beyond TensorFlow's: {memory.own / 1e6:,.0f} MB own, "
                f"{memory.resident / 1e6:,.0f} MB resident",
                flush=True,
            )
    small, large = measured["small"], measured["large"]
    ratio = large.images_per_second / small.images_per_second
    print(f"speed an image, {options.images:,} over {SMALL:,}: {ratio:.2f}", flush=True)
    assert large.memory.own < MEMORY_LIMIT, "memory grows with the data"
    assert ratio > SPEED_LIMIT, "large data is read more slowly"


if __name__ == "__main__":
    main()
