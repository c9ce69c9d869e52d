"""Decoding a source into a store: parallel, and resumed where an earlier try was cut off.

Work goes on in `<key>.partial/` beside the store's place: `images.bin` grows, and after each segment that has
reached the disk a line of `journal.jsonl` says what it holds, with its checksum. What a killed process left is
read up to the last segment whose checksum holds, and the rest is decoded.
"""

import copy
import json
import os
import shutil
import zlib

import numpy as np

from workbench.data.decoding import UnreadableImage, decode
from workbench.data.parallel import in_order
from workbench.files import write_text

BLOCK = 1 << 20  # bytes that share a checksum in a finished store
SEGMENT_ITEMS, SEGMENT_BYTES = 4096, 64 << 20  # work that a killed process loses at most


def build(folder, source, size, resize, progress):
    """Decode `source` into `folder`; the arguments are those of `workbench.data.store.open_store`."""
    partial = folder.with_name(f"{folder.name}.partial")
    partial.mkdir(exist_ok=True)
    with open(partial / "images.bin", "ab+") as images, open(partial / "journal.jsonl", "ab+") as journal:
        writer = _Writer(images, journal)
        decoded = decode_all(source.load_items(writer.items), size, resize)
        if progress:
            decoded = progress(decoded, source.num_items - writer.items)
        for item, result in decoded:
            writer.add(item, result)
        writer.end_segment()
    write_index(partial / "index.json", {**writer.index, "checksums": writer.checksums.blocks()})
    (partial / "journal.jsonl").unlink()
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)


def write_index(path, content):
    """Write a store's index whole, with a checksum of itself."""
    text = json.dumps(content)
    write_text(path, json.dumps({"content": content, "checksum": zlib.crc32(text.encode())}))


class _Writer:
    """Adds results to the files of a store in the making; begins with what they hold already.

    Attributes:
        items: how many items are done.
        index: labels, parts and names of the images whose pixels are written, and unreadable: [name, reason]
            of those that could not be decoded.
        checksums: of the pixels so far.
    """

    def __init__(self, images, journal):
        self.items, self.index, self.checksums = 0, _no_index(), Checksums()
        self._images, self._journal = images, journal
        self._restore()
        self._begin_segment()

    def add(self, item, result):
        """Add the next item with its pixels, the reason (text) why it has none, or None for what is no image."""
        if isinstance(result, np.ndarray):
            pixels = np.ascontiguousarray(result).data.cast("B")
            self._images.write(pixels)
            self.checksums.update(pixels)
            self._crc = zlib.crc32(pixels, self._crc)
            self._bytes += len(pixels)
            for key, value in (("labels", item.label), ("parts", item.part), ("names", item.name)):
                self._segment[key].append(value)
        elif result is not None:
            self._segment["unreadable"].append([item.name, result])
        self.items += 1
        if self.items - self._first >= SEGMENT_ITEMS or self._bytes >= SEGMENT_BYTES:
            self.end_segment()

    def end_segment(self):
        """Bring what was added to the disk, then say so in the journal."""
        self._images.flush()
        os.fsync(self._images.fileno())
        segment = {"items": self.items, "index": self._segment, "bytes": self._bytes, "crc": self._crc}
        self._journal.write(json.dumps(segment).encode() + b"\n")
        self._journal.flush()
        _extend(self.index, self._segment)
        self._begin_segment()

    def _begin_segment(self):
        self._first, self._segment = self.items, _no_index()
        self._bytes, self._crc = 0, 0

    def _restore(self):
        self._images.seek(0)
        self._journal.seek(0)
        whole_images = whole_journal = 0
        for line in self._journal:
            segment = _segment(line)
            if segment is None or not self._take(segment["bytes"], segment["crc"]):
                break
            self.items = segment["items"]
            _extend(self.index, segment["index"])
            whole_images += segment["bytes"]
            whole_journal += len(line)
        self._images.truncate(whole_images)
        self._journal.truncate(whole_journal)

    def _take(self, size, crc):
        """Whether the next `size` bytes of the images have this checksum; if so they are counted as written."""
        checksums, found = copy.deepcopy(self.checksums), 0
        for length in _lengths(size):
            data = self._images.read(length)
            found = zlib.crc32(data, found)
            checksums.update(memoryview(data))
        if found != crc:
            return False
        self.checksums = checksums
        return True


def _no_index():
    return {"labels": [], "parts": [], "names": [], "unreadable": []}


def _extend(index, other):
    for key, values in other.items():
        index[key].extend(values)


def _lengths(size):
    return [BLOCK] * (size // BLOCK) + [size % BLOCK] * (size % BLOCK > 0)


def _segment(line):
    """What a line of the journal says, None where it is torn."""
    try:
        return json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None


class Checksums:
    """CRC-32 of each block of a file, taken while it is written."""

    def __init__(self):
        self._done, self._crc, self._filled = [], 0, 0

    def update(self, data):
        while data:
            taken = data[: BLOCK - self._filled]
            self._crc = zlib.crc32(taken, self._crc)
            self._filled += len(taken)
            data = data[len(taken) :]
            if self._filled == BLOCK:
                self._done.append(self._crc)
                self._crc, self._filled = 0, 0

    def blocks(self):
        return [*self._done, self._crc] if self._filled else self._done


def decode_all(items, size, resize):
    """(item, pixels | reason | None) for each of `items` in order, decoded on all cores."""

    def work(item):
        try:
            data = item.read()
            return item, None if data is None else decode(data, size, resize)
        except UnreadableImage as error:
            return item, str(error)
        except OSError as error:
            return item, error.strerror or str(error)

    return in_order(work, items)
