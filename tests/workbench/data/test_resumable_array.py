"""An array on disk: computed once, resumed from its complete segments, and never read when it is damaged."""

import json
import os
import zlib

import numpy as np
import pytest

from workbench.data import resumable_array
from workbench.data.resumable_array import Block, ResumableArray

VALUES = np.arange(40 * 3, dtype=np.int32).reshape(40, 3)


@pytest.fixture
def array(tmp_path):
    return ResumableArray(tmp_path / "cache" / "key", "values.bin", (3,), "int32", ("names",))


class Computation:
    """Compute the rows of VALUES one by one; every fourth item has a note and no row."""

    def __init__(self, stop_at=None):
        self.starts, self._stop_at = [], stop_at

    def __call__(self, items_done):
        self.starts.append(items_done)
        for item in range(items_done, 40):
            if item == self._stop_at:
                raise KeyboardInterrupt
            yield Block(None if item % 4 == 3 else VALUES[item : item + 1], {"names": [f"item {item}"]})


def assert_right(stored):
    np.testing.assert_array_equal(stored.rows, VALUES[np.arange(40) % 4 != 3])
    assert stored.notes == {"names": [f"item {item}" for item in range(40)]}


def test_computed_once(array):
    computation = Computation()
    stored = array.open_or_compute(computation)
    assert_right(stored)
    assert stored.items == 40
    assert stored.seconds > 0
    again = array.open_or_compute(computation)
    assert_right(again)
    assert (again.items, again.seconds) == (0, 0.0)
    assert computation.starts == [0]


def test_nothing_is_opened_before_it_is_complete(array):
    assert array.open() is None
    with pytest.raises(KeyboardInterrupt):
        array.open_or_compute(Computation(stop_at=39))
    assert array.open() is None


@pytest.mark.parametrize("limit", [("SEGMENT_ITEMS", 8), ("SEGMENT_BYTES", 72), ("SEGMENT_SECONDS", 0.0)])
def test_an_interrupted_computation_continues_after_its_last_segment(array, monkeypatch, limit):
    monkeypatch.setattr(resumable_array, *limit)
    with pytest.raises(KeyboardInterrupt):
        array.open_or_compute(Computation(stop_at=20))
    rest = Computation()
    stored = array.open_or_compute(rest)
    assert_right(stored)
    assert 15 <= rest.starts[0] <= 20
    assert stored.items == 40 - rest.starts[0]


@pytest.mark.parametrize("num_rows", [0, 1, 1999])
def test_a_file_that_lost_whole_rows_is_not_opened(tmp_path, monkeypatch, num_rows):
    """Only some of many blocks are read when an array is opened; the last one is always among them."""
    monkeypatch.setattr(resumable_array, "BLOCK", 24)
    array = ResumableArray(tmp_path / "key", "values.bin", (3,), "int32")
    assert len(array.open_or_compute(lambda done: [Block(np.ones((2000, 3), np.int32))]).rows) == 2000
    os.truncate(tmp_path / "key" / "values.bin", num_rows * 12)
    assert array.open() is None


def test_the_format_of_finished_arrays_is_the_one_of_existing_caches(array):
    """Caches hold large arrays; a change of this format would compute them all again."""
    array.folder.mkdir(parents=True)
    (array.folder / "values.bin").write_bytes(VALUES.tobytes())
    content = {"names": ["a"], "checksums": [zlib.crc32(VALUES.tobytes())]}
    checksum = zlib.crc32(json.dumps(content).encode())
    (array.folder / "index.json").write_text(json.dumps({"content": content, "checksum": checksum}))
    stored = array.open()
    np.testing.assert_array_equal(stored.rows, VALUES)
    assert stored.notes == {"names": ["a"]}
