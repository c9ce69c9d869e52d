"""Duplicates are found after the usual changes of photos, and different photos are not called duplicates."""

import io
import tracemalloc

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from workbench.data.decoding import decode
from workbench.data.sources import open_source
from workbench.data.splits.duplicates import HASH_SIZE, TURNS, compute_fingerprints, find_pairs, shrink_images


def photo(seed, width=160, height=120):
    """A generated photo: smooth shapes of random colours."""
    pixels = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


def encoded(image, kind="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pairs_of(files, size=64):
    """(first, second, distance, turn, identical) of each pair among encoded images."""
    prints = compute_fingerprints(shrink_images(np.stack([decode(data, HASH_SIZE, "stretch") for data in files])))
    pairs = find_pairs(files, *prints, np.full(len(files), size))
    columns = (pairs.first, pairs.second, pairs.distance, pairs.turn, pairs.identical)
    return list(zip(*(values.tolist() for values in columns), strict=True))


CHANGES = {
    "recompressed": lambda image: encoded(image, quality=20),
    "another format": lambda image: encoded(image, "PNG"),
    "made smaller": lambda image: encoded(image.resize((50, 40))),
    "made larger": lambda image: encoded(image.resize((500, 400))),
    "grey": lambda image: encoded(image.convert("L")),
    "brighter": lambda image: encoded(ImageEnhance.Brightness(image).enhance(1.15)),
    "paler": lambda image: encoded(ImageEnhance.Contrast(image).enhance(0.7)),
    "cut at the edges": lambda image: encoded(image.crop((1, 1, 159, 119))),
}


@pytest.mark.parametrize("change", CHANGES)
def test_found_after(change):
    files = [encoded(photo(seed), quality=90) for seed in range(40)]
    changed = [CHANGES[change](photo(seed)) for seed in range(40)]
    found = pairs_of(files + changed)
    assert [(first, second) for first, second, *_ in sorted(found)] == [(row, row + 40) for row in range(40)]
    assert not any(turn or identical for *_, turn, identical in found)
    assert max(distance for _, _, distance, *_ in found) <= 8


@pytest.mark.parametrize(
    ("turn", "method"),
    [
        ("mirrored", Image.Transpose.FLIP_LEFT_RIGHT),
        ("upside down", Image.Transpose.FLIP_TOP_BOTTOM),
        ("turned by 180 degrees", Image.Transpose.ROTATE_180),
    ],
)
def test_found_after_a_turn(turn, method):
    files = [encoded(photo(seed)) for seed in range(20)]
    found = pairs_of(files + [encoded(photo(seed).transpose(method), quality=60) for seed in range(20)])
    assert [(first, second) for first, second, *_ in sorted(found)] == [(row, row + 20) for row in range(20)]
    assert {TURNS[turn] for *_, turn, _ in found} == {turn}


def test_identical_files_are_paired_with_the_first():
    one, other = encoded(photo(0)), encoded(photo(1))
    found = pairs_of([other, one, one, encoded(photo(2)), one, other])
    assert found == [(0, 5, 0, 0, True), (1, 2, 0, 0, True), (1, 4, 0, 0, True)]


def test_different_photos_are_not_paired():
    assert pairs_of([encoded(photo(seed)) for seed in range(500)]) == []


def test_plain_and_tiny_images_are_compared_byte_by_byte_alone():
    plain = [encoded(Image.new("RGB", (64, 64), (shade, shade, shade))) for shade in (0, 30, 30, 255)]
    assert pairs_of(plain) == [(1, 2, 0, 0, True)]
    assert pairs_of([encoded(photo(0), quality=quality) for quality in (50, 90)], size=31) == []
    assert len(pairs_of([encoded(photo(0), quality=quality) for quality in (50, 90)], size=32)) == 1


def test_no_images_and_one():
    assert pairs_of([encoded(photo(0))]) == []
    nothing = compute_fingerprints(shrink_images(np.zeros((0, HASH_SIZE, HASH_SIZE, 3), np.uint8)))
    assert len(find_pairs([], *nothing, np.zeros(0, int)).first) == 0


def test_many_hashes_are_searched_without_comparing_all_with_all(monkeypatch):
    """30,000 random hashes, and 300 of them again with six bits changed: those and no others are found.

    Also with NumPy 1, which NVIDIA's container for the newest cards has: it has no `bitwise_count`.
    """
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 1 << 63, (30_300, 4)).astype(np.uint64)
    details = rng.integers(0, 256, (30_300, 16, 16), np.uint8)
    chosen = rng.choice(30_000, 300, replace=False)
    for row, original in enumerate(chosen, 30_000):
        bits = rng.choice(64, 6, replace=False).astype(np.uint64)
        hashes[row, 0] = hashes[original, 0] ^ np.bitwise_or.reduce(np.uint64(1) << bits)
        details[row] = details[original]
    pairs = find_pairs(np.arange(30_300), hashes, details, np.full(30_300, 64))
    assert pairs.second.tolist() == [30_000 + int(np.flatnonzero(chosen == first)[0]) for first in pairs.first]
    assert len(pairs.first) == 300
    assert set(pairs.distance) == {6}


def test_the_memory_for_photos_that_resemble_each_other_is_bounded():
    """The frames of a fixed camera: a pair is found under many orders, and is kept once."""
    rng = np.random.default_rng(0)
    scene = np.asarray(photo(0, HASH_SIZE, HASH_SIZE).convert("L"))
    frames = np.clip(scene + rng.normal(0, 22, (600, HASH_SIZE, HASH_SIZE)), 0, 255).astype(np.uint8)
    prints = compute_fingerprints(frames)
    tracemalloc.start()
    try:
        pairs = find_pairs(np.arange(600), *prints, np.full(600, 64))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(pairs.first) > 20_000
    assert peak < 100e6


def test_real_photos(flowers):
    """These pairs were checked by eye: each is the same photo, some cut or mirrored."""
    items = list(open_source(str(flowers)).load_items())
    names = [item.name for item in items]
    pairs = pairs_of([item.read() for item in items], size=224)
    assert len(pairs) == 64
    found = {(names[first], names[second]): (distance, TURNS[turn]) for first, second, distance, turn, _ in pairs}
    assert found["train/bluebell/image_0242.jpg", "test/bluebell/image_0243.jpg"] == (0, "mirrored")
    assert all(items[first].label == items[second].label for first, second, *_ in pairs)
