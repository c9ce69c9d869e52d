"""The decode-once store: every image of a source as uint8 at one size, in one file that is mapped.

A store is a folder `<cache>/<key>/` with `images.bin` (the pixels, back to back) and `index.json` (what they
are, and checksums). The key covers the source's content, the size and the resize mode. A store is written
under another name and renamed when it is complete; a lock lets one process do the work that several want.
"""

import collections
import concurrent.futures
import dataclasses
import hashlib
import itertools
import os
import shutil
import time
import zlib
from pathlib import Path

import filelock
import numpy as np

from vision.data.images import UnreadableImage, decode
from vision.errors import UserError
from vision.files import read_json, replacing_folder, write_json

FORMAT = 1  # raised whenever decoding or layout changes, so that older stores are not used
_BLOCK = 1 << 20
_BLOCKS_CHECKED = 64


@dataclasses.dataclass(frozen=True)
class Store:
    """Decoded images and what they are; row i of everything belongs to image i.

    Attributes:
        images: uint8 array of shape (n, size, size, 3), mapped from disk.
        labels: int32 array of shape (n,).
        parts: list of n part names (`train`, `validation`, `test` or `unsplit`).
        names: list of n names, paths relative to the source's folder.
        unreadable: list of [name, reason] of the images that could not be decoded.
        decode_seconds: how long the decoding took when the store was made, 0.0 where it stood already.
    """

    images: np.ndarray
    labels: np.ndarray
    parts: list
    names: list
    unreadable: list
    decode_seconds: float


def default_cache():
    """Where stores are kept unless `--cache-dir` names a folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "image-workbench"


def open_store(source, size, resize, cache_dir=None, progress=None):
    """The store of `source` at `size` pixels, decoded now if it does not stand or cannot be trusted.

    Args:
        source: a `vision.data.sources.Source`.
        size: side of the square images in pixels.
        resize: `crop` or `stretch`, see `vision.data.images.decode`.
        cache_dir: folder of all stores, `default_cache()` if None.
        progress: called with an iterable of decoded images and their number, returns the iterable to use.

    Raises:
        UserError: the cache folder cannot be written.
    """
    cache = Path(cache_dir) if cache_dir else default_cache()
    key = hashlib.sha256(f"{FORMAT} {source.key} {size} {resize}".encode()).hexdigest()[:24]
    folder = cache / key
    store = _open(folder, size)
    if store is not None:
        return store
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(cache / f"{key}.lock"):
            store = _open(folder, size)  # another process may have made it while this one waited
            if store is not None:
                return store
            for left_over in cache.glob(f"{key}.writing-*"):
                shutil.rmtree(left_over, ignore_errors=True)
            seconds = _build(folder, source, size, resize, progress)
    except OSError as error:
        raise UserError(
            f"cannot write the decoded images to {cache}: {error.strerror or error}; "
            "make room there or name another folder with --cache-dir"
        ) from error
    return dataclasses.replace(_open(folder, size), decode_seconds=seconds)


def _open(folder, size):
    """The store in `folder`, or None where it is missing, torn or damaged."""
    index = read_json(folder / "index.json")
    images = folder / "images.bin"
    if not index or not images.is_file():
        return None
    count = len(index["labels"])
    if images.stat().st_size != count * size * size * 3 or not _intact(images, index["checksums"]):
        return None
    pixels = np.memmap(images, np.uint8, "r", shape=(count, size, size, 3)) if count else _no_images(size)
    labels = np.array(index["labels"], np.int32)
    return Store(pixels, labels, index["parts"], index["names"], index["unreadable"], 0.0)


def _no_images(size):
    return np.zeros((0, size, size, 3), np.uint8)


def _build(folder, source, size, resize, progress):
    start = time.perf_counter()
    items = source.load_items()
    decoded = _decode_all(items, size, resize)
    if progress:
        decoded = progress(decoded, len(items))
    kept, unreadable, checksum = [], [], _Checksums()
    with replacing_folder(folder) as temporary:
        with open(temporary / "images.bin", "wb") as file:
            for item, result in decoded:
                if isinstance(result, np.ndarray):
                    kept.append(item)
                    pixels = np.ascontiguousarray(result).data.cast("B")
                    checksum.update(pixels)
                    file.write(pixels)
                elif result is not None:
                    unreadable.append([item.name, result])
        write_json(
            temporary / "index.json",
            {
                "labels": [item.label for item in kept],
                "parts": [item.part for item in kept],
                "names": [item.name for item in kept],
                "unreadable": unreadable,
                "checksums": checksum.blocks(),
            },
        )
    return time.perf_counter() - start


def _decode_all(items, size, resize):
    """(item, pixels | reason | None) in the order of `items`, decoded by as many threads as there are cores.

    Pillow decodes and resizes outside Python's lock. Only a window of images is in memory at a time.
    """

    def work(item):
        try:
            data = item.read()
            return item, None if data is None else decode(data, size, resize)
        except (UnreadableImage, OSError) as error:
            return item, str(error)

    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    items = iter(items)
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        window = collections.deque(pool.submit(work, item) for item in itertools.islice(items, 16 * threads))
        while window:
            yield window.popleft().result()
            window.extend(pool.submit(work, item) for item in itertools.islice(items, 1))


class _Checksums:
    """CRC-32 of each block of a file, taken while it is written."""

    def __init__(self):
        self._done, self._crc, self._filled = [], 0, 0

    def update(self, data):
        while data:
            taken = data[: _BLOCK - self._filled]
            self._crc = zlib.crc32(taken, self._crc)
            self._filled += len(taken)
            data = data[len(taken) :]
            if self._filled == _BLOCK:
                self._done.append(self._crc)
                self._crc, self._filled = 0, 0

    def blocks(self):
        return [*self._done, self._crc] if self._filled else self._done


def _intact(path, checksums):
    """Whether blocks spread evenly over the file have the checksums they were written with."""
    step = max(1, len(checksums) // _BLOCKS_CHECKED)
    with open(path, "rb") as file:
        for block in range(0, len(checksums), step):
            file.seek(block * _BLOCK)
            if zlib.crc32(file.read(_BLOCK)) != checksums[block]:
                return False
    return True
