"""Leaks: validation and test images that training has seen, here or in an earlier run, and photos with two labels."""

import contextlib
import dataclasses
import math
import shlex
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from workbench.commandline.calls import format_call
from workbench.data.source import TEST, TRAIN, VALIDATION
from workbench.data.splits.duplicates import (
    DETAIL_SIZE,
    HASH_SIZE,
    PARTS,
    TURNS,
    Pairs,
    compute_fingerprints,
    find_earlier_twins,
    find_pairs,
    find_repeats,
    shrink_images,
)
from workbench.data.splits.earlier_runs import UsedImage
from workbench.data.splits.saved_split import Leak, SplitImage
from workbench.data.store import Store
from workbench.data.thread_pool import map_in_order
from workbench.files import replace_file
from workbench.wording import agree, format_count

_FILE = "pairs-1.npz"  # the number is raised whenever other pairs are found
_SHRUNK = 1 << 20  # bytes of images that a thread resizes at a time


def open_pairs(store: Store) -> Pairs:
    """Return the pairs of the same photo among the images of a store. They are kept in the store's folder.

    Similar images are compared by the square in their middle, as `inspect` compares them; by the whole image if it was
    stretched to a square.
    """
    path = store.folder / _FILE
    pairs = _read_pairs(path)
    if pairs is None:
        pairs = find_pairs(store.digests, *_compute_fingerprints(store), store.sides[:, 0])
        with contextlib.suppress(OSError), replace_file(path) as temporary:  # else they are found again next time
            np.savez(temporary, **vars(pairs))
    return pairs


def _read_pairs(path: Path) -> Pairs | None:
    """Return saved pairs; None if there are none, or if they are damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Pairs(**{field.name: arrays[field.name] for field in dataclasses.fields(Pairs)})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _compute_fingerprints(store: Store) -> tuple[np.ndarray, np.ndarray]:
    """Compute the fingerprints of all images; those of images that are too small to be compared may remain zero."""
    count = len(store.names)
    hashes = np.zeros((count, len(TURNS)), np.uint64)
    details = np.zeros((count, DETAIL_SIZE, DETAIL_SIZE), np.uint8)
    step = max(1, _SHRUNK // math.prod(store.images.shape[1:]))
    parts = [slice(first, first + step) for first in range(0, count, step)]
    parts = [part for part in parts if (store.sides[part, 0] >= HASH_SIZE).any()]
    prints = map_in_order(lambda part: compute_fingerprints(_shrink(store, part)), parts)
    for part, (part_hashes, part_details) in zip(parts, prints, strict=True):
        hashes[part], details[part] = part_hashes, part_details
    return hashes, details


def _shrink(store: Store, part: slice) -> np.ndarray:
    """Return images of a store in the size of fingerprints; of padded ones the square in their middle is shrunk."""
    if not store.is_padded:
        return shrink_images(store.images[part])
    shrunk, size = [], store.images.shape[1]
    for image, (short, long) in zip(store.images[part], store.sides[part].tolist(), strict=True):
        side = max(1, round(size * short / long))
        cut = slice((size - side) // 2, (size - side) // 2 + side)
        shrunk.append(shrink_images(image[None, cut, cut]))
    return np.concatenate(shrunk)


def find_copies(store: Store, others: Store, is_used: np.ndarray) -> dict[int, int]:
    """Return row of a store -> row of another store that shows the same photo.

    Args:
        store, others: images of one size and resize mode.
        is_used: bool (n,), which images of `others` are compared.
    """
    prints = [np.concatenate(both) for both in zip(*map(_compute_fingerprints, (others, store)), strict=True)]
    sides = np.concatenate([others.sides[:, 0], store.sides[:, 0]])
    pairs = find_pairs([*others.digests, *store.digests], prints[0], prints[1], sides)
    # All used images count as training images: of two parts, a copy of a copy in the other part would be missed.
    own_ranks = np.where(is_used, PARTS.index(TRAIN), -1)
    ranks = np.concatenate([own_ranks, np.full(len(store.names), PARTS.index(TEST))])
    first = len(others.names)
    return {row - first: other for row, other in find_repeats(pairs, ranks).items() if row >= first}


def find_leaks(
    store: Store, pairs: Pairs, parts: Mapping[str, np.ndarray], used: Mapping[str, UsedImage]
) -> dict[int, Leak]:
    """Return row -> what is wrong with the image, for validation images that are in train, test images in either, ...

    Args:
        store: the images.
        pairs: of the same photo, see `open_pairs`.
        parts: part -> rows.
        used: digest -> use of the images that an earlier run has used whose network is fine-tuned.
    """
    ranks = np.full(len(store.names), -1)
    for part, rows in parts.items():
        ranks[rows] = PARTS.index(part)
    repeats = {row: store.names[other] for row, other in find_earlier_twins(pairs, ranks).items()}
    conflicts = _find_conflicts(pairs, store.labels, ranks >= 0)
    seen = {
        row: used[digest].description
        for part, rows in parts.items()
        for row, digest in ((row, store.digests[row]) for row in rows.tolist())
        if digest in used and used[digest].is_leak(part)
    }
    return {
        row: Leak(repeats.get(row, ""), store.names[conflicts[row]] if row in conflicts else "", seen.get(row, ""))
        for row in {*repeats, *conflicts, *seen}
    }


def describe_leaks(split: Sequence[SplitImage], data: str) -> list[str]:
    """Return one line that warns of leaks and of photos with two labels; none if there are none.

    Args:
        split: the images of all parts.
        data: value of `--data`.
    """
    found = [*_describe_repeats(split), *_describe_conflicts(split)]
    if found:
        found[-1] += f"; {format_call('workbench.data')} inspect {shlex.quote(data)} lists such photos"
    found += _describe_seen(split)
    return [f"warning: {'; '.join(found)}"] if found else []


def _describe_repeats(split: Sequence[SplitImage]) -> Iterator[str]:
    part_of = {image.name: image.part for image in split}
    for part in (TEST, VALIDATION):
        images = [image for image in split if image.part == part]
        repeats = [image for image in images if image.repeats]
        if repeats:
            earlier = {part_of.get(image.repeats, TRAIN) for image in repeats}
            where = " or ".join(name for name in (TRAIN, VALIDATION) if name in earlier)
            of_images = f"{len(repeats):,} of {format_count(len(images), f'{part} image')}"
            also = f"{agree(len(repeats), 'is', 'are')} also in {where}"
            example = f", such as {repeats[0].name} ({repeats[0].repeats})" if part == TEST else ""
            yield f"{of_images} {also}{example}"


def _describe_conflicts(split: Sequence[SplitImage]) -> Iterator[str]:
    images = [image for image in split if image.conflicts_with]
    if images:
        photos = f"{format_count(len(images), 'photo')} {agree(len(images), 'is', 'are')} in two classes"
        yield f"{photos}, such as {images[0].conflicts_with} and {images[0].name}"


def _describe_seen(split: Sequence[SplitImage]) -> Iterator[str]:
    for part in (TEST, VALIDATION):
        images = [image for image in split if image.part == part]
        seen = [image for image in images if image.seen_in]
        if seen:
            of_images = f"{len(seen):,} of {format_count(len(images), f'{part} image')}"
            use = f"{agree(len(seen), 'was', 'were')} already used to train or validate the network that --from names"
            yield f"{of_images} {use}, such as {seen[0].name} ({seen[0].seen_in})"


def _find_conflicts(pairs: Pairs, labels: np.ndarray, is_used: np.ndarray) -> dict[int, int]:
    """Return row -> an earlier row that shows the same photo under another label.

    Args:
        pairs: of the rows of the store.
        labels: (n,) class indices.
        is_used: bool (n,), whether a row is in any part.
    """
    differ = labels[pairs.first] != labels[pairs.second]
    numbers = np.flatnonzero(differ & is_used[pairs.first] & is_used[pairs.second])[::-1]
    return dict(zip(pairs.second[numbers].tolist(), pairs.first[numbers].tolist(), strict=True))
