"""Duplicates: images of the same photo, identical, or resized, recompressed, flipped or slightly retouched.

Candidates are found with a perceptual hash, the signs of 64 low frequencies of the cosine transform (pHash, Zauner
2010). To find similar hashes in time n log n, they are sorted under several orders of their bytes, and only close
neighbours are compared (Manku, Jain and Das Sarma 2007). The correlation of 16 x 16 pixels confirms a candidate.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from PIL import Image

from workbench.data.source import TEST, TRAIN, UNSPLIT, VALIDATION

PARTS = (TRAIN, UNSPLIT, VALIDATION, TEST)  # a photo that is in two of them belongs to the first
HASH_SIZE, DETAIL_SIZE = 32, 16  # side in pixels of the images that are hashed and of those that confirm a candidate
TURNS = ("", "mirrored", "upside down", "turned by 180 degrees")
MAX_DISTANCE = 8  # of 64 bits
MIN_CORRELATION = 0.93  # of the grey pixels of a pair
_MIN_CONTRAST = 2.0  # standard deviation in grey levels; plain surfaces all look the same
_NEIGHBOURS = 48  # hashes that each one is compared with under each order
_CHUNK = 1 << 14  # pairs whose pixels are compared at a time
_BITS = np.unpackbits(np.arange(1 << 16, dtype=np.uint16).view(np.uint8)).reshape(-1, 16).sum(1, np.uint8)  # of 16
_HASHED = 4096  # images whose grey pixels are in memory at a time


def _compute_cosines(count: int, size: int) -> np.ndarray:
    """Return the `count` lowest frequencies of the orthonormal cosine transform (DCT-II), float32 (count, size)."""
    angles = np.pi * np.outer(np.arange(count), 2 * np.arange(size) + 1) / (2 * size)
    scales = np.sqrt(np.where(np.arange(count) == 0, 1, 2) / size)
    return (scales[:, None] * np.cos(angles)).astype(np.float32)


_COSINES = _compute_cosines(9, HASH_SIZE)


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Pairs of rows that show the same photo; entry i of everything belongs to pair i.

    Attributes:
        first, second: int64 row numbers, first < second.
        distance: bits of the hash that differ, 0 for identical files.
        turn: index into `TURNS`, how the second must be turned to match the first.
        identical: whether the files are the same byte by byte.
    """

    first: np.ndarray
    second: np.ndarray
    distance: np.ndarray
    turn: np.ndarray
    identical: np.ndarray


def shrink_images(images: np.ndarray) -> np.ndarray:
    """Return square images, uint8 (n, size, size, 3), as grey ones of 32 x 32 pixels, uint8 (n, 32, 32).

    Pillow gets all images as one, above each other, because a call for each of them takes longer than the work.
    """
    count, size = images.shape[:2]
    if not count:
        return np.zeros((0, HASH_SIZE, HASH_SIZE), np.uint8)
    factor = next(factor for factor in range(max(1, size // (2 * HASH_SIZE)), 0, -1) if size % factor == 0)
    grey = Image.fromarray(images.reshape(count * size, size, 3)).convert("L").reduce(factor)
    pixels = np.asarray(grey).reshape(count, size // factor, size // factor)
    while pixels.shape[2] != HASH_SIZE:  # resize the rows, then the columns
        rows = Image.fromarray(np.ascontiguousarray(pixels).reshape(-1, pixels.shape[2]))
        resized = np.asarray(rows.resize((HASH_SIZE, rows.height), Image.Resampling.BILINEAR))
        pixels = resized.reshape(count, -1, HASH_SIZE).transpose(0, 2, 1)
    return pixels


def compute_fingerprints(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute what images are compared by.

    Args:
        images: uint8 (n, 32, 32), as `shrink_images` returns them.

    Returns:
        (hashes, details): uint64 (n, 4), a hash for each of `TURNS`, and uint8 (n, 16, 16), the grey pixels.
    """
    rows, columns = np.mgrid[:9, :9].reshape(2, -1)
    low = np.argsort(100 * (rows + columns) + rows)[1:65]  # diagonal by diagonal, without the mean
    rows, columns = rows[low], columns[low]
    kept = [
        np.ones(64, bool),
        columns % 2 == 0,
        rows % 2 == 0,
        (rows + columns) % 2 == 0,
    ]  # others: a turn negates them
    masks = [np.packbits(mask).view(np.uint64)[0] for mask in kept]
    hashes = np.zeros((len(images), len(TURNS)), np.uint64)
    details = np.zeros((len(images), DETAIL_SIZE, DETAIL_SIZE), np.uint8)
    for first in range(0, len(images), _HASHED):
        part = slice(first, first + _HASHED)
        grey = images[part].astype(np.float32)
        by_column = (grey.reshape(-1, HASH_SIZE) @ _COSINES.T).reshape(-1, HASH_SIZE, len(_COSINES))
        frequencies = (np.ascontiguousarray(by_column.transpose(0, 2, 1)) @ _COSINES.T)[:, columns, rows]
        high, negative = (_pack(frequencies > 1), _pack(frequencies < -1))
        hashes[part] = np.stack([(high & mask) | (negative & ~mask) for mask in masks], axis=1)
        pairs = grey[:, ::2] + grey[:, 1::2]
        details[part] = ((pairs[:, :, ::2] + pairs[:, :, 1::2]) / 4).round()
    return hashes, details


def _pack(bits: np.ndarray) -> np.ndarray:
    """Return 64 bits of each image as one number; uint64 (n,)."""
    return np.packbits(np.ascontiguousarray(bits), axis=1).view(np.uint64)[:, 0]


def find_pairs(digests: Sequence[str], hashes: np.ndarray, details: np.ndarray, short_sides: np.ndarray) -> Pairs:
    """Find the pairs of the same photo among n images.

    Of several identical files, each is paired with the first one, and only the first one is compared with other images.

    Args:
        digests: n digests of the files' bytes.
        hashes, details: of all images, as `compute_fingerprints` returns them.
        short_sides: (n,) short side of each image in pixels; if it is below 32, only the files are compared.
    """
    _, first, group = np.unique(np.asarray(digests), return_index=True, return_inverse=True)
    copies = np.flatnonzero(first[group] != np.arange(len(group)))
    plain = details.std(axis=(1, 2)) < _MIN_CONTRAST
    small = short_sides < HASH_SIZE
    rows = np.setdiff1d(np.flatnonzero(~plain & ~small), copies)
    one, other, turn = _find_candidates(hashes[rows])
    one, other = rows[one], rows[other]
    distance = _count_bits(hashes[one, 0] ^ hashes[other, turn])
    same = _correlate(details, one, other, turn) >= MIN_CORRELATION
    near = [values[same] for values in (one, other, distance, turn)]
    none = np.zeros(len(copies), np.int64)
    exact = (first[group[copies]], copies, none, none)
    first, second, distance, turn = (np.concatenate(both).astype(np.int64) for both in zip(exact, near, strict=True))
    identical = np.arange(len(first)) < len(copies)
    order = np.lexsort((second, first, distance, ~identical))
    return Pairs(first[order], second[order], distance[order], turn[order], identical[order])


def _count_bits(numbers: np.ndarray) -> np.ndarray:
    """Return the number of ones in each uint64; uint32. NumPy's `bitwise_count` needs NumPy 2."""
    counts = _BITS[numbers.view(np.uint16)].view(np.uint32)
    return counts * np.uint32(0x01010101) >> np.uint32(24)  # the sum of the four bytes


def _find_candidates(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (first, second, turn) of the pairs with similar hashes, each pair of rows once, with its best turn."""
    count, turns = hashes.shape
    unsorted = hashes.T.ravel()  # entry t * count + i is image i under turn t
    places = np.argsort(unsorted)
    every = unsorted[places]
    entries = every.view(np.uint8).reshape(-1, 8)
    numbers = np.zeros(0, np.int64)  # of the pairs so far; a pair is found under several orders
    for one, other in itertools.combinations(range(8), 2):
        leads = entries[:, one].astype(np.uint16) << 8 | entries[:, other]
        ranked = np.argsort(leads, kind="stable")  # of equal leading bytes, similar hashes are still neighbours
        leads, ranked_hashes, ranked_entries = leads[ranked], every[ranked], places[ranked]
        found = [numbers]
        rest = np.arange(len(ranked))  # entries whose neighbours so far had the same leading bytes
        for step in range(1, _NEIGHBOURS + 1):
            rest = rest[rest + step < len(ranked)]
            rest = rest[leads[rest] == leads[rest + step]]
            if not len(rest):
                break
            distance = _count_bits(ranked_hashes[rest] ^ ranked_hashes[rest + step])
            is_near = distance <= MAX_DISTANCE
            near = rest[is_near]
            ones, others = ranked_entries[near], ranked_entries[near + step]
            found.append(_number_pairs(ones, others, distance[is_near], count, turns))
        numbers = np.sort(np.concatenate(found))  # np.unique is several times slower with NumPy 2.3
        numbers = numbers[np.diff(numbers, prepend=-1) > 0]
    pair, rest = np.divmod(numbers, 64 * turns)
    pair, nearest = np.unique(pair, return_index=True)
    first, second = np.divmod(pair, count)
    return first, second, rest[nearest] % turns


def _number_pairs(ones: np.ndarray, others: np.ndarray, distance: np.ndarray, count: int, turns: int) -> np.ndarray:
    """Return the pairs of which one is not turned, each as a number made of first, second, distance, turn."""
    first, second = np.minimum(ones % count, others % count), np.maximum(ones % count, others % count)
    numbers = ((first * count + second) * 64 + distance) * turns + np.maximum(ones, others) // count
    return numbers[(np.minimum(ones, others) < count) & (first != second)]


def _correlate(details: np.ndarray, ones: np.ndarray, others: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Return the correlation of the pixels of each pair, the second image turned; float32 (pairs,)."""
    result = np.zeros(len(ones), np.float32)
    for start in range(0, len(ones), _CHUNK):
        part = slice(start, start + _CHUNK)
        one, other = details[ones[part]], details[others[part]].copy()
        mirrored, upside_down = turns[part] % 2 == 1, turns[part] >= 2
        other[mirrored] = other[mirrored][:, :, ::-1]
        other[upside_down] = other[upside_down][:, ::-1]
        one, other = (_normalize(pixels.reshape(len(pixels), -1)) for pixels in (one, other))
        result[part] = (one * other).sum(axis=1)
    return result


def _normalize(pixels: np.ndarray) -> np.ndarray:
    pixels = pixels - pixels.mean(axis=1, keepdims=True, dtype=np.float32)
    return pixels / np.linalg.norm(pixels, axis=1, keepdims=True)


def find_repeats(pairs: Pairs, parts: np.ndarray) -> dict[int, int]:
    """Return row -> row that it repeats, for the images whose photo is already in an earlier part.

    A training image repeats none. A validation or test image does if the same photo is in an earlier part. In a set
    without a split, every image of a photo but the first one does.

    Args:
        pairs: of the same photo.
        parts: int (n,) indices into `PARTS`; -1 for images that are not used, which neither repeat others nor are
            repeated.
    """
    group = np.arange(len(parts))
    group[pairs.second[pairs.identical]] = pairs.first[pairs.identical]
    near = pairs.first[~pairs.identical], pairs.second[~pairs.identical]
    ones, others = np.concatenate(near), np.concatenate(near[::-1])
    others = others[np.argsort(ones, kind="stable")]
    ends = np.cumsum(np.bincount(ones, minlength=len(parts)))  # of the neighbours of each row
    repeated: dict[int, int] = {}
    kept = np.full(len(parts), -1)  # of each group, the row that repeats none
    unsplit = PARTS.index(UNSPLIT)
    rows = np.unique(np.concatenate([pairs.first, pairs.second]))
    for row in rows[np.argsort(parts[rows], kind="stable")].tolist():
        if parts[row] < 0:
            continue
        own = group[row]
        twins = kept[np.append(others[ends[own - 1] if own else 0 : ends[own]], own)]
        earlier = twins[(twins >= 0) & ((parts[twins] < parts[row]) | (parts[row] == unsplit))]
        if len(earlier):
            repeated[row] = int(earlier.min())
        elif kept[own] < 0:
            kept[own] = row
    return repeated


def find_earlier_twins(pairs: Pairs, parts: np.ndarray) -> dict[int, int]:
    """Return row -> a row of the same photo in an earlier part: the first row in the earliest such part.

    Unlike in `find_repeats`, images that repeat others count: of three photos of a series, the second may resemble the
    first and the third, and the first not resemble the third.

    Args:
        pairs: of the same photo.
        parts: int (n,) indices into `PARTS`; -1 for images that are not used, which neither repeat others nor are
            repeated.
    """
    count, none = len(parts), len(parts)
    group = np.arange(count)
    group[pairs.second[pairs.identical]] = pairs.first[pairs.identical]
    used = np.flatnonzero(parts >= 0)
    own = np.full((count, len(PARTS)), none)  # of each group of identical files, the first row in each part
    np.minimum.at(own, (group[used], parts[used]), used)
    twins = own.copy()  # also among the similar images
    first, second = pairs.first[~pairs.identical], pairs.second[~pairs.identical]
    np.minimum.at(twins, first, own[second])
    np.minimum.at(twins, second, own[first])
    is_earlier = np.arange(len(PARTS)) < parts[:, None]
    found = np.where(is_earlier & (twins[group] < none), twins[group], none)
    earliest = found[np.arange(count), (found < none).argmax(axis=1)]
    return {row: int(earliest[row]) for row in np.flatnonzero(earliest < none).tolist()}
