"""Arrays that are computed once and kept on disk: whole or not at all, checked, resumed after a kill.

An array is a folder `<cache>/features-<key>/` with `features.bin` and `index.json`. It grows in
`features-<key>.partial/`, where `progress.json` says up to which row it has reached the disk and with which checksum; a
lock lets one process do the work that several want.
"""

import os
import shutil
import time
import zlib
from pathlib import Path

import filelock
import numpy as np

from workbench.data.resumable_array import Checksums, write_index
from workbench.data.store import default_cache, intact, read_index
from workbench.errors import UserError
from workbench.files import read_json, write_json

SECONDS_LOST = 20  # of work, by a killed process, at most


def open_array(key, shape, dtype, cache_dir, blocks):
    """The array kept under a key, computed now if it is not there or cannot be trusted.

    Args:
        key: hexadecimal; must change whenever the values would.
        shape: (rows, ...).
        dtype: NumPy's.
        cache_dir: folder of all of them, `default_cache()` if None.
        blocks: takes a number of rows that are done, which is the end of one of its blocks; returns an iterable of
            the following blocks of rows.

    Returns:
        (array mapped from disk, number of rows computed just now).

    Raises:
        UserError: there is no room, or the folder cannot be written.
    """
    cache = Path(cache_dir) if cache_dir else default_cache()
    folder = cache / f"features-{key}"
    try:
        array = _open(folder, shape, dtype)
        if array is not None:
            return array, 0
        cache.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(cache / f"features-{key}.lock"):
            array = _open(folder, shape, dtype)  # another process may have made it while this one waited
            if array is not None:
                return array, 0
            computed = _build(folder, shape, dtype, blocks)
    except OSError as error:
        raise UserError(
            f"cannot write features of {_megabytes(num_bytes(shape, dtype))} to {cache}: {error.strerror or error}; "
            "make room there, name another folder with --cache-dir, or store none with --views 0"
        ) from error
    return _open(folder, shape, dtype), computed


def num_bytes(shape, dtype):
    """Bytes of an array."""
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


def _megabytes(count):
    return f"{count / 1e6:,.1f} MB"


def _open(folder, shape, dtype):
    """The array in `folder`, or None where it is missing, torn or damaged."""
    index, path = read_index(folder / "index.json"), folder / "features.bin"
    if index is None or not path.is_file() or path.stat().st_size != num_bytes(shape, dtype):
        return None
    return np.memmap(path, dtype, "r", shape=shape) if intact(path, index["checksums"]) else None


def _build(folder, shape, dtype, blocks):
    partial = folder.with_name(f"{folder.name}.partial")
    partial.mkdir(exist_ok=True)
    row_bytes = num_bytes(shape[1:], dtype)
    with open(partial / "features.bin", "ab+") as file:
        done, checksums, crc = _restore(file, partial / "progress.json", row_bytes)
        _check_room(partial, (shape[0] - done) * row_bytes)
        rows, saved = done, time.monotonic()
        for block in blocks(done):
            data = np.ascontiguousarray(block, dtype).data.cast("B")
            file.write(data)
            checksums.update(data)
            crc = zlib.crc32(data, crc)
            rows += len(block)
            if time.monotonic() - saved > SECONDS_LOST:
                _flush(file)
                write_json(partial / "progress.json", {"rows": rows, "crc": crc})
                saved = time.monotonic()
        _flush(file)
    write_index(partial / "index.json", {"checksums": checksums.blocks()})
    (partial / "progress.json").unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)
    return shape[0] - done


def _restore(file, progress_path, row_bytes):
    """(rows, checksums, CRC-32) of what an earlier try left; nothing where the file does not hold what it says."""
    progress = read_json(progress_path) or {"rows": 0, "crc": 0}
    checksums, crc, left = Checksums(), 0, progress["rows"] * row_bytes
    file.seek(0)
    while left and (data := file.read(min(left, 1 << 20))):
        checksums.update(memoryview(data))
        crc = zlib.crc32(data, crc)
        left -= len(data)
    if left or crc != progress["crc"]:
        progress, checksums, crc = {"rows": 0}, Checksums(), 0
    file.truncate(progress["rows"] * row_bytes)
    return progress["rows"], checksums, crc


def _check_room(folder, needed):
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(f"only {_megabytes(free)} are free")


def _flush(file):
    file.flush()
    os.fsync(file.fileno())
