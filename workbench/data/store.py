"""The decode-once store: every image of a source as uint8 at one size, in one file that is mapped.

A store is a folder `<cache>/<key>/` with `images.bin` (the pixels, back to back) and `index.json` (what they
are, and checksums). The key covers the source's content, the size and the resize mode. A store is made
under another name and renamed when it is complete; a lock lets one process do the work that several want.
"""

import dataclasses
import hashlib
import json
import os
import time
import zlib
from pathlib import Path

import filelock
import numpy as np

from workbench.data.resumable_array import BLOCK, build
from workbench.errors import UserError
from workbench.files import read_json

FORMAT = 2  # raised whenever decoding or layout changes, so that older stores are not used
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
        source: a `workbench.data.sources.Source`.
        size: side of the square images in pixels.
        resize: `crop` or `stretch`, see `workbench.data.decoding.decode`.
        cache_dir: folder of all stores, `default_cache()` if None.
        progress: called with an iterable of decoded images and their number, returns the iterable to use.

    Raises:
        UserError: the cache folder cannot be written.
    """
    cache = Path(cache_dir) if cache_dir else default_cache()
    key = hashlib.sha256(f"{FORMAT} {source.key} {size} {resize}".encode()).hexdigest()[:24]
    folder = cache / key
    try:
        store = _open(folder, size)
        if store is not None:
            return store
        cache.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(cache / f"{key}.lock"):
            store = _open(folder, size)  # another process may have made it while this one waited
            if store is not None:
                return store
            start = time.perf_counter()
            build(folder, source, size, resize, progress)
            seconds = time.perf_counter() - start
    except OSError as error:
        raise UserError(
            f"cannot write the decoded images to {cache}: {error.strerror or error}; "
            "make room there or name another folder with --cache-dir"
        ) from error
    return dataclasses.replace(_open(folder, size), decode_seconds=seconds)


def _open(folder, size):
    """The store in `folder`, or None where it is missing, torn or damaged."""
    index = read_index(folder / "index.json")
    images = folder / "images.bin"
    if index is None or not images.is_file():
        return None
    count = len(index["labels"])
    if images.stat().st_size != count * size * size * 3 or not intact(images, index["checksums"]):
        return None
    pixels = np.memmap(images, np.uint8, "r", shape=(count, size, size, 3)) if count else _no_images(size)
    labels = np.array(index["labels"], np.int32)
    return Store(pixels, labels, index["parts"], index["names"], index["unreadable"], 0.0)


def read_index(path):
    """A store's index, None where it is missing or does not have the checksum it was written with."""
    index = read_json(path)
    if not isinstance(index, dict) or index.keys() != {"content", "checksum"}:
        return None
    return index["content"] if zlib.crc32(json.dumps(index["content"]).encode()) == index["checksum"] else None


def _no_images(size):
    return np.zeros((0, size, size, 3), np.uint8)


def intact(path, checksums):
    """Whether blocks spread evenly over the file have the checksums they were written with."""
    step = max(1, len(checksums) // _BLOCKS_CHECKED)
    with open(path, "rb") as file:
        for block in range(0, len(checksums), step):
            file.seek(block * BLOCK)
            if zlib.crc32(file.read(BLOCK)) != checksums[block]:
                return False
    return True
