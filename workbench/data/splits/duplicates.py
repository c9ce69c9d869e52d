"""Duplicates: images of the same photo, identical, or resized, recompressed, flipped or slightly retouched.

Candidates are found with a perceptual hash, the signs of 64 low frequencies of the cosine transform (pHash, Zauner
2010). To find similar hashes in time n log n, they are sorted under several orders of their bytes, and only close
neighbours are compared (Manku, Jain and Das Sarma 2007). The correlation of 16 x 16 pixels confirms a candidate.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
from scipy.fft import dctn

HASH_SIZE, DETAIL_SIZE = 32, 16  # side in pixels of the images that are hashed and of those that confirm a candidate
TURNS = ("", "mirrored", "upside down", "turned by 180 degrees")
MAX_DISTANCE = 8  # of 64 bits
MIN_CORRELATION = 0.93  # of the grey pixels of a pair
_MIN_CONTRAST = 2.0  # standard deviation in grey levels; plain surfaces all look the same
_NEIGHBOURS = 48  # hashes that each one is compared with under each order
_CHUNK = 1 << 16
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


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


def compute_fingerprints(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute what images are compared by.

    Args:
        images: uint8 (n, 32, 32, 3), each a whole image resized to 32 x 32 pixels.

    Returns:
        (hashes, details): uint64 (n, 4), a hash for each of `TURNS`, and uint8 (n, 16, 16), the grey pixels.
    """
    grey = images.astype(np.float32) @ _GREY
    rows, columns = np.mgrid[:9, :9].reshape(2, -1)
    low = np.argsort(100 * (rows + columns) + rows)[1:65]  # diagonal by diagonal, without the mean
    rows, columns = rows[low], columns[low]
    frequencies = np.ascontiguousarray(dctn(grey, axes=(1, 2), norm="ortho")[:, rows, columns])
    signs = [np.ones(64), (-1) ** columns, (-1) ** rows, (-1) ** (rows + columns)]  # by which each turn multiplies them
    bits = [np.packbits(frequencies * sign > 1, axis=1).view(np.uint64)[:, 0] for sign in signs]
    details = grey.reshape(-1, DETAIL_SIZE, 2, DETAIL_SIZE, 2).mean((2, 4))
    return np.stack(bits, axis=1), details.round().astype(np.uint8)


def find_pairs(digests: Sequence[str], hashes: np.ndarray, details: np.ndarray, sizes: np.ndarray) -> Pairs:
    """Find the pairs of the same photo among n images.

    Of several identical files, each is paired with the first one, and only the first one is compared with other images.

    Args:
        digests: n digests of the files' bytes.
        hashes, details: of all images, as `compute_fingerprints` returns them.
        sizes: (n, 2) width and height in pixels; only the bytes of an image with a side below 32 are compared.
    """
    _, first, group = np.unique(np.asarray(digests), return_index=True, return_inverse=True)
    copies = np.flatnonzero(first[group] != np.arange(len(group)))
    plain = details.std(axis=(1, 2)) < _MIN_CONTRAST
    small = np.min(sizes, axis=1) < HASH_SIZE
    rows = np.setdiff1d(np.flatnonzero(~plain & ~small), copies)
    one, other, turn = _find_candidates(hashes[rows])
    one, other = rows[one], rows[other]
    distance = np.bitwise_count(hashes[one, 0] ^ hashes[other, turn])
    same = _correlate(details, one, other, turn) >= MIN_CORRELATION
    near = [values[same] for values in (one, other, distance, turn)]
    none = np.zeros(len(copies), np.int64)
    exact = (first[group[copies]], copies, none, none)
    first, second, distance, turn = (np.concatenate(both).astype(np.int64) for both in zip(exact, near, strict=True))
    identical = np.arange(len(first)) < len(copies)
    order = np.lexsort((second, first, distance, ~identical))
    return Pairs(first[order], second[order], distance[order], turn[order], identical[order])


def _find_candidates(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (first, second, turn) of the pairs with similar hashes, each pair of rows once, with its best turn."""
    count, turns = hashes.shape
    every = hashes.T.ravel()  # entry t * count + i is image i under turn t
    entries = every.view(np.uint8).reshape(-1, 8)
    found = np.zeros(0, np.int64)
    for leading in itertools.combinations(range(8), 2):
        order = [*leading, *(byte for byte in range(8) if byte not in leading)]
        keys = np.ascontiguousarray(entries[:, order]).view(">u8")[:, 0].astype(np.uint64)
        ranked = np.argsort(keys, kind="stable")
        steps = range(1, min(_NEIGHBOURS + 1, len(ranked)))
        near = [_find_near(every, ranked[:-step], ranked[step:], count) for step in steps]
        found = np.unique(np.concatenate([found, *near]))
    pair, rest = np.divmod(found, 64 * turns)
    pair, nearest = np.unique(pair, return_index=True)
    first, second = np.divmod(pair, count)
    return first, second, rest[nearest] % turns


def _find_near(every: np.ndarray, ones: np.ndarray, others: np.ndarray, count: int) -> np.ndarray:
    """Return the similar pairs of which one is not turned, each as a number made of first, second, distance, turn."""
    near = np.flatnonzero(np.bitwise_count(every[ones] ^ every[others]) <= MAX_DISTANCE)
    ones, others = ones[near], others[near]
    distance = np.bitwise_count(every[ones] ^ every[others]).astype(np.int64)
    turns = len(every) // count
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
