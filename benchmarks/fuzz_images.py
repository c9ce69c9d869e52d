"""Mutated image files through every command that reads images: no crash, no hang, every file used or listed.

    python -m benchmarks.fuzz_images [--files 5000] [--seed 0]

Writes JPEG, PNG, GIF, BMP and WebP files with flipped bits, cut short, named wrongly, empty, filled with zeros or
noise, put together from two files, or declaring enormous sizes, among whole ones; then looks through them with
`python -m workbench.data inspect`, trains a tiny network on them and classifies each. Prints what became of the files,
how long it took and the most memory that was resident.
"""

import argparse
import contextlib
import functools
import io
import os
import struct
import tempfile
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

CLASSES = ("first", "second")
KINDS = {"JPEG": ".jpg", "PNG": ".png", "GIF": ".gif", "BMP": ".bmp", "WEBP": ".webp"}
MEMORY_LIMIT = 1.5e9  # over what was resident before; one image of 120 million pixels takes 0.5 GB


def write_fuzzed(root, count, seed):
    """Write `count` files into two class folders below `root`; the first 20 of each folder are whole images.

    Returns:
        name -> mutation of every file, paths relative to `root`.
    """
    rng, made = np.random.default_rng(seed), {}
    names = list(MUTATIONS)
    for name in CLASSES:
        (Path(root) / name).mkdir(parents=True)
    for number in range(count):
        kind = list(KINDS)[rng.integers(len(KINDS))]
        mutation = "whole" if number < 40 else names[number % len(names)]
        data, suffix = MUTATIONS[mutation](_image(rng, kind), rng), KINDS[kind]
        if mutation == "wrong name" or rng.integers(10) == 0:
            suffix = (*KINDS.values(), ".txt", "", ".JPEG", ".heic")[rng.integers(len(KINDS) + 4)]
        path = Path(CLASSES[number % 2]) / f"{number:05d}{suffix}"
        (Path(root) / path).write_bytes(data)
        made[str(path)] = mutation
    return made


def _image(rng, kind):
    """The bytes of a whole small image of noise and colour, in one of the modes that its format has."""
    height, width = rng.integers(1, 80, 2)
    modes = {"JPEG": ("RGB", "L", "CMYK"), "PNG": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"), "GIF": ("P", "L")}
    mode = modes.get(kind, ("RGB",))[rng.integers(len(modes.get(kind, ("RGB",))))]
    pixels = rng.integers(0, 256, (height, width, 3)) // 2 + rng.integers(0, 128, 3)
    image = Image.fromarray(pixels.astype(np.uint8))
    image = Image.fromarray((pixels[..., 0] * 257).astype(np.uint16)) if mode == "I;16" else image.convert(mode)
    options = {"progressive": bool(rng.integers(2))} if kind == "JPEG" else {}
    if kind in ("JPEG", "PNG", "WEBP") and rng.integers(2):
        exif = Image.Exif()
        exif[0x0112] = int(rng.integers(0, 10))
        options["exif"] = exif.tobytes()
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _flip_bits(data, rng, count=None):
    data = np.frombuffer(data, np.uint8).copy()
    for _ in range(count or int(rng.integers(1, 30))):
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    return data.tobytes()


def _flip_header_bits(data, rng):
    return data[:4] + _flip_bits(data[4:60], rng, int(rng.integers(1, 6))) + data[60:]


def _cut(data, rng):
    return data[: rng.integers(len(data))]


def _hole(data, rng):
    start = int(rng.integers(len(data)))
    return data[:start] + data[start + int(rng.integers(1, 100)) :]


def _zeros_inside(data, rng):
    start, length = int(rng.integers(len(data))), int(rng.integers(1, 200))
    return data[:start] + bytes(len(data[start : start + length])) + data[start + length :]


def _two_in_one(data, rng):
    return data[: rng.integers(len(data))] + _image(rng, list(KINDS)[rng.integers(len(KINDS))])


def _zeros(data, rng):
    return bytes(int(rng.integers(1, 3000)))


def _noise(data, rng):
    return data[: rng.integers(13)] + rng.bytes(int(rng.integers(1, 3000)))


def _bomb(data, rng):
    """An image that declares a size far beyond its bytes, or that unpacks to hundreds of megabytes."""
    side = int((2_000, 9_000, 20_000, 65_535)[rng.integers(4)])
    kind = rng.integers(4)
    if kind == 0:  # a PNG of zeros that is whole up to 9,000 pixels
        rows = _packed_zeros((side + 1) * side if side <= 9_000 else 100_000)
        header = _chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
        return b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")
    if kind == 1:  # a PNG whose text unpacks without end
        header = _chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
        text = _chunk(b"zTXt", b"Comment\0\0" + _packed_zeros(100_000_000))
        return b"\x89PNG\r\n\x1a\n" + header + text + _chunk(b"IDAT", zlib.compress(bytes(72))) + _chunk(b"IEND", b"")
    if kind == 2:
        return (
            b"GIF89a" + struct.pack("<HHBBB", side, side, 0, 0, 0) + b"," + struct.pack("<HHHHB", 0, 0, side, side, 0)
        )
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)


@functools.cache
def _packed_zeros(count):
    return zlib.compress(bytes(count), 9)


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


MUTATIONS = {
    "whole": lambda data, rng: data,
    "flipped bits": _flip_bits,
    "flipped bits in the header": _flip_header_bits,
    "cut short": _cut,
    "a hole": _hole,
    "zeros inside": _zeros_inside,
    "two in one": _two_in_one,
    "wrong name": lambda data, rng: data,
    "empty": lambda data, rng: b"",
    "zeros": _zeros,
    "noise": _noise,
    "bomb": _bomb,
}


def train_on(root, folder):
    """Train one epoch of a tiny network on the files; (images used, images listed as unreadable, run folder)."""
    from cnn_scratch.train import TrainConfig, train
    from workbench.files import read_csv

    places = {name: os.path.join(folder, name) for name in ("runs", "logs", "cache")}
    config = TrainConfig(
        data=str(root),
        image_size=32,
        max_unreadable=1.0,
        num_filters=2,
        dense_units=8,
        epochs=1,
        runs_dir=places["runs"],
        logs_dir=places["logs"],
        cache_dir=places["cache"],
    )
    from workbench.data.dataset import load_dataset

    run = train(config)
    listed = {row["image"] for row in read_csv(run / "unreadable.csv")}
    return set(load_dataset(config, config.seed).names), listed, run


class Watch:
    """Measures a block: seconds, and the most memory that was resident over what was before, in bytes."""

    def __enter__(self):
        self._process, self._over = psutil.Process(), threading.Event()
        self._before, self.memory, self._start = self._process.memory_info().rss, 0, time.perf_counter()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._over.set()
        self._thread.join()
        self.seconds = time.perf_counter() - self._start

    def _look(self):
        while not self._over.wait(0.01):
            self.memory = max(self.memory, self._process.memory_info().rss - self._before)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    from workbench.runtime import load_tensorflow

    load_tensorflow()
    from workbench.data.inspection import InspectConfig, inspect
    from workbench.predict import PredictConfig, predict

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "fuzzed"
        files = set(write_fuzzed(root, options.files, options.seed))
        with Watch() as watch:
            findings = inspect(InspectConfig(data=str(root), page=os.path.join(folder, "page.html")))
        scan = findings.scan
        used, listed = set(scan.names), {name for name, _ in scan.unreadable}
        assert used | listed | set(scan.others) == files, "a file is neither used nor listed"
        assert len(used) + len(listed) + len(scan.others) == len(files), "a file is counted twice"
        page = findings.page.read_text()
        assert all(name in page for name in listed | set(scan.others)), "a file is not on the page"
        _tell("inspect", watch, f"{len(used):,} used, {len(listed):,} unreadable, {len(scan.others):,} no images")
        with Watch() as watch:
            trained, skipped, run = train_on(root, folder)
        assert (trained, skipped) == (used, listed), "training and inspect disagree on what is readable"
        _tell("train", watch, f"{len(trained):,} used, {len(skipped):,} listed in unreadable.csv")
        silence = io.StringIO()
        with Watch() as watch, contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
            classified, reported = predict(PredictConfig(str(run), [str(root)]))
        assert (classified, reported) == (len(used), len(listed)), "predict and inspect disagree on what is readable"
        _tell("predict", watch, f"{classified:,} classified, {reported:,} reported")


def _tell(name, watch, what):
    print(f"{name}: {what}; {watch.seconds:.1f} s, {watch.memory / 1e6:,.0f} MB more at most", flush=True)
    assert watch.memory < MEMORY_LIMIT, "memory is not bounded"


if __name__ == "__main__":
    main()
