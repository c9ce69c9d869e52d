import shutil

import numpy as np
import pytest

from transfer.feature_store import open_features
from workbench.errors import UserError

VALUES = np.arange(12 * 5, dtype=np.float16).reshape(12, 5)


class Computation:
    """Blocks of four rows of VALUES; stops with an error before the row `killed_at`."""

    def __init__(self, killed_at=None):
        self.begins, self._killed_at = [], killed_at

    def __call__(self, done):
        self.begins.append(done)
        for first in range(done, 12, 4):
            if first == self._killed_at:
                raise KeyboardInterrupt
            yield VALUES[first : first + 4]


def open_values(cache, blocks):
    return open_features("aa", VALUES.shape, "float16", cache, blocks)


def test_computed_once(cache):
    first, second = Computation(), Computation()
    features = open_values(cache, first)
    np.testing.assert_array_equal(features.values, VALUES)
    again = open_values(cache, second)
    np.testing.assert_array_equal(again.values, VALUES)
    assert (features.computed, again.computed) == (12, 0)
    assert again.seconds == features.seconds > 0  # what they cost is kept with them
    assert (first.begins, second.begins) == ([0], [])


def test_an_interrupted_computation_is_resumed_where_it_stopped(cache, monkeypatch):
    monkeypatch.setattr("workbench.data.resumable_array.SEGMENT_SECONDS", 0)
    with pytest.raises(KeyboardInterrupt):
        open_values(cache, Computation(killed_at=8))
    assert not (cache / "features-aa").exists()
    rest = Computation()
    features = open_values(cache, rest)
    np.testing.assert_array_equal(features.values, VALUES)
    assert (rest.begins, features.computed) == ([8], 4)


def test_what_was_left_is_not_trusted_blindly(cache, monkeypatch):
    monkeypatch.setattr("workbench.data.resumable_array.SEGMENT_SECONDS", 0)
    with pytest.raises(KeyboardInterrupt):
        open_values(cache, Computation(killed_at=8))
    path = cache / "features-aa.partial" / "features.bin"
    path.write_bytes(b"\x00" * path.stat().st_size)
    again = Computation()
    np.testing.assert_array_equal(open_values(cache, again).values, VALUES)
    assert again.begins == [0]


@pytest.mark.parametrize("damage", [lambda data: data[:-2], lambda data: b"\xff" + data[1:]])
def test_damaged_features_are_computed_again(cache, damage):
    open_values(cache, Computation())
    path = cache / "features-aa" / "features.bin"
    path.write_bytes(damage(path.read_bytes()))
    again = Computation()
    np.testing.assert_array_equal(open_values(cache, again).values, VALUES)
    assert again.begins == [0]


def test_a_full_disk_is_one_line(cache, monkeypatch):
    usage = shutil.disk_usage(cache.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100))
    with pytest.raises(UserError, match=r"features of 0.0 MB to .*only 0.0 MB are free; make room .* --views 0"):
        open_values(cache, Computation())
