"""An array on disk that is computed once, by one process, resumed after a kill, and checked when it is opened.

A finished array is a folder with a data file (the rows, back to back) and `index.json` (notes on the rows, and the
checksum of each block of the data file). While it is computed, the folder is called `<name>.partial`: the data file
grows, and after each segment that has reached the disk a line of `journal.jsonl` says what the segment holds, with its
checksum. A killed process loses one segment at most: the next process keeps the segments whose checksums are right and
computes the rest. A `UserError` of the computation loses nothing. A lock file keeps a second process from doing the
same work.
"""

import copy
import dataclasses
import json
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import filelock
import numpy as np

from workbench.errors import UserError
from workbench.files import read_json, write_text

BLOCK = 1 << 20  # bytes that share a checksum in a finished array
BLOCKS_CHECKED = 64  # blocks that are read when an array is opened, spread evenly over the file
SEGMENT_ITEMS, SEGMENT_BYTES, SEGMENT_SECONDS = 4096, 64 << 20, 20.0  # a segment ends with the first of these
Notes = dict[str, list[Any]]  # column -> values


@dataclasses.dataclass(frozen=True)
class Block:
    """What one step of the computation adds to the array.

    Attributes:
        rows: array of shape (k, *row_shape), or None if the step has no rows.
        notes: column -> values to append to it.
        items: number of input items that the step used.
    """

    rows: np.ndarray | None
    notes: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)
    items: int = 1


ComputeBlocks = Callable[[int], Iterable[Block]]  # called with the number of items that are done already


@dataclasses.dataclass(frozen=True)
class StoredArray:
    """A finished array.

    Attributes:
        rows: array of shape (n, *row_shape), mapped from disk, read-only.
        notes: column -> values.
        items: number of input items that were computed just now, 0 if the array was there already.
        seconds: time that took.
    """

    rows: np.ndarray
    notes: Notes
    items: int = 0
    seconds: float = 0.0


@dataclasses.dataclass(frozen=True)
class ResumableArray:
    """The place of an array on disk.

    Attributes:
        folder: of the finished array; its name must change whenever the values would.
        file_name: of the data file.
        row_shape: shape of one row.
        dtype: NumPy type of the values.
        columns: names of the notes.
    """

    folder: Path
    file_name: str
    row_shape: tuple[int, ...]
    dtype: str
    columns: tuple[str, ...] = ()

    def open(self) -> StoredArray | None:
        """Return the array; None if it is missing, incomplete or damaged."""
        index = _read_index(self.folder / "index.json")
        path = self.folder / self.file_name
        if index is None or not path.is_file() or not _is_intact(path, index["checksums"]):
            return None
        num_rows, rest = divmod(path.stat().st_size, self._row_bytes)
        if rest:
            return None
        shape = (num_rows, *self.row_shape)
        rows = np.memmap(path, self.dtype, "r", shape=shape) if num_rows else np.zeros(shape, self.dtype)
        return StoredArray(rows, {column: index[column] for column in self.columns})

    def open_or_compute(self, compute_blocks: ComputeBlocks) -> StoredArray:
        """Return the array; compute it first if it cannot be opened.

        Args:
            compute_blocks: takes the number of items that an earlier process has done, and returns the blocks of the
                items after these, in order.

        Raises:
            OSError: the folder cannot be written.
            UserError: raised by the computation. The next call continues after the blocks before it.
        """
        array = self.open()
        if array is not None:
            return array
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(self.folder.with_name(f"{self.folder.name}.lock")):
            array = self.open()  # another process may have computed it while this one waited
            if array is not None:
                return array
            start = time.perf_counter()
            items = self._compute(compute_blocks)
            array = self.open()
        if array is None:
            raise OSError(f"{self.folder} was damaged while it was written")
        return dataclasses.replace(array, items=items, seconds=time.perf_counter() - start)

    def _compute(self, compute_blocks: ComputeBlocks) -> int:
        """Compute what is missing, and move the folder to its place; return the number of items that it took."""
        partial = self.folder.with_name(f"{self.folder.name}.partial")
        partial.mkdir(exist_ok=True)
        with open(partial / self.file_name, "ab+") as data, open(partial / "journal.jsonl", "ab+") as journal:
            writer = _SegmentWriter(data, journal, self.columns)
            items_before = writer.items
            try:
                for block in compute_blocks(items_before):
                    rows = None if block.rows is None else np.ascontiguousarray(block.rows, self.dtype)
                    writer.add(rows, block.notes, block.items)
            except UserError:
                writer.end_segment()
                raise
            writer.end_segment()
        _write_index(partial / "index.json", {**writer.notes, "checksums": writer.checksums.values()})
        (partial / "journal.jsonl").unlink()
        shutil.rmtree(self.folder, ignore_errors=True)
        os.replace(partial, self.folder)
        return writer.items - items_before

    @property
    def _row_bytes(self) -> int:
        return int(np.prod(self.row_shape)) * np.dtype(self.dtype).itemsize


class _SegmentWriter:
    """Appends to the files of an unfinished array, after the segments that an earlier process has completed.

    Attributes:
        items: number of items that are done.
        notes: on these items.
        checksums: of the data file's blocks.
    """

    def __init__(self, data: IO[bytes], journal: IO[bytes], columns: Sequence[str]) -> None:
        self.items, self.checksums = 0, _BlockChecksums()
        self.notes: Notes = {column: [] for column in columns}
        self._data, self._journal = data, journal
        self._crc = self._bytes = 0  # of the segment so far
        self._restore()
        self._begin_segment()

    def add(self, rows: np.ndarray | None, notes: Mapping[str, Sequence[Any]], items: int) -> None:
        """Append rows and notes; end the segment if it is large enough."""
        if rows is not None:
            values = rows.data.cast("B") if rows.size else memoryview(b"")
            self._data.write(values)
            self.checksums.update(values)
            self._crc = zlib.crc32(values, self._crc)
            self._bytes += len(values)
        _extend(self._segment, notes)
        self.items += items
        if (
            self.items - self._first_item >= SEGMENT_ITEMS
            or self._bytes >= SEGMENT_BYTES
            or time.monotonic() - self._start >= SEGMENT_SECONDS
        ):
            self.end_segment()

    def end_segment(self) -> None:
        """Wait until the segment is on the disk, then note it in the journal."""
        self._data.flush()
        os.fsync(self._data.fileno())
        segment = {"items": self.items, "index": self._segment, "bytes": self._bytes, "crc": self._crc}
        self._journal.write(json.dumps(segment).encode() + b"\n")
        self._journal.flush()
        _extend(self.notes, self._segment)
        self._begin_segment()

    def _begin_segment(self) -> None:
        self._first_item, self._start = self.items, time.monotonic()
        self._segment: Notes = {column: [] for column in self.notes}
        self._bytes, self._crc = 0, 0

    def _restore(self) -> None:
        """Read the journal, and cut both files off after the last segment whose checksum is right."""
        self._data.seek(0)
        self._journal.seek(0)
        data_end = journal_end = 0
        for line in self._journal:
            segment = _parse_segment(line)
            if segment is None or not self._check_data(segment["bytes"], segment["crc"]):
                break
            self.items = segment["items"]
            _extend(self.notes, segment["index"])
            data_end += segment["bytes"]
            journal_end += len(line)
        self._data.truncate(data_end)
        self._journal.truncate(journal_end)

    def _check_data(self, size: int, crc: int) -> bool:
        """Read the next `size` bytes of the data; if their checksum is `crc`, add them to the block checksums."""
        checksums, found, left = copy.deepcopy(self.checksums), 0, size
        while left and (values := self._data.read(min(left, BLOCK))):
            found = zlib.crc32(values, found)
            checksums.update(memoryview(values))
            left -= len(values)
        if left or found != crc:
            return False
        self.checksums = checksums
        return True


class _BlockChecksums:
    """Computes the CRC-32 of each block of a file while the file is written."""

    def __init__(self) -> None:
        self._complete: list[int] = []
        self._crc, self._filled = 0, 0

    def update(self, values: memoryview) -> None:
        """Add the file's next bytes."""
        while values:
            part = values[: BLOCK - self._filled]
            self._crc = zlib.crc32(part, self._crc)
            self._filled += len(part)
            values = values[len(part) :]
            if self._filled == BLOCK:
                self._complete.append(self._crc)
                self._crc, self._filled = 0, 0

    def values(self) -> list[int]:
        """Return the checksums; the last block may be shorter than the others."""
        return [*self._complete, self._crc] if self._filled else list(self._complete)


def _extend(notes: Notes, added: Mapping[str, Sequence[Any]]) -> None:
    for column, values in added.items():
        notes[column].extend(values)


def _parse_segment(line: bytes) -> dict[str, Any] | None:
    """Return what a line of the journal says; None if the line is incomplete."""
    try:
        return json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None


def _write_index(path: Path, content: dict[str, Any]) -> None:
    """Write an index with a checksum of itself."""
    text = json.dumps(content)
    write_text(path, json.dumps({"content": content, "checksum": zlib.crc32(text.encode())}))


def _read_index(path: Path) -> dict[str, Any] | None:
    """Return an index; None if it is missing or does not have the checksum that it was written with."""
    index = read_json(path)
    if not isinstance(index, dict) or index.keys() != {"content", "checksum"}:
        return None
    return index["content"] if zlib.crc32(json.dumps(index["content"]).encode()) == index["checksum"] else None


def _is_intact(path: Path, checksums: Sequence[int]) -> bool:
    """Return whether a file has as many blocks as checksums, and the blocks that are read have these checksums.

    The last block is always read: its checksum shows whether the file ends where it should.
    """
    size, count = path.stat().st_size, len(checksums)
    if -(-size // BLOCK) != count:
        return False
    blocks = [*range(0, count, max(1, count // BLOCKS_CHECKED)), count - 1] if count else []
    with open(path, "rb") as file:
        for block in blocks:
            file.seek(block * BLOCK)
            if zlib.crc32(file.read(BLOCK)) != checksums[block]:
                return False
    return True
