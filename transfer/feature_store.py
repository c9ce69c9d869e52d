"""Features on disk: the array that the frozen layers compute once, kept under a key in the cache folder."""

import dataclasses
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from workbench.cache import find_cache_dir
from workbench.data.resumable_array import Block, ResumableArray
from workbench.errors import UserError


@dataclasses.dataclass(frozen=True)
class StoredFeatures:
    """Features that are on disk.

    Attributes:
        key: under which they are stored.
        values: array mapped from disk.
        seconds: how long computing them took, whenever that was.
        computed: number of rows computed just now; 0 if all were stored already.
    """

    key: str
    values: np.ndarray
    seconds: float
    computed: int


def open_features(
    key: str,
    shape: tuple[int, ...],
    dtype: str,
    cache_dir: str | Path | None,
    compute_features: Callable[[int], Iterable[np.ndarray]],
) -> StoredFeatures:
    """Return the features kept under a key; compute them first if they are missing, incomplete or damaged.

    Args:
        key: hexadecimal; must change whenever the values would.
        shape: (rows, ...).
        dtype: NumPy type of the values.
        cache_dir: folder of all features; by default the user's cache folder.
        compute_features: takes the number of rows that an earlier process has computed (whole blocks), and returns the
            blocks of rows after these.

    Raises:
        UserError: there is no room, or the folder cannot be written.
    """
    cache = find_cache_dir(cache_dir)
    array = ResumableArray(cache / f"features-{key}", "features.bin", shape[1:], dtype, columns=("seconds",))

    def compute_blocks(rows_done: int) -> Iterator[Block]:
        _check_room(cache, count_bytes((shape[0] - rows_done, *shape[1:]), dtype))
        start = time.perf_counter()
        for rows in compute_features(rows_done):
            seconds = time.perf_counter() - start
            yield Block(rows, {"seconds": [seconds]}, items=len(rows))
            start += seconds  # so that the next block's time includes writing this one

    try:
        stored = array.open_or_compute(compute_blocks)
    except OSError as error:
        raise UserError(
            f"cannot write features of {_format_bytes(count_bytes(shape, dtype))} to {cache}: "
            f"{error.strerror or error}; "
            "make room there, name another folder with --cache-dir, or store none with --views 0"
        ) from error
    return StoredFeatures(key, stored.rows, sum(stored.notes["seconds"]), stored.items)


def count_bytes(shape: tuple[int, ...], dtype: str) -> int:
    """Return the number of bytes of an array."""
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


def _format_bytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(f"only {_format_bytes(free)} are free")
