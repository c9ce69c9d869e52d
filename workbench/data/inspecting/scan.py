"""A scan of a data set in one pass: what each file is, and which images show the same photo."""

import dataclasses
from collections.abc import Container, Iterable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np

from workbench.console import console, open_bar
from workbench.data.decoding import UnreadableImage, compute_digest, decode, read_dimensions
from workbench.data.source import Item, Source
from workbench.data.splits.duplicates import (
    HASH_SIZE,
    PARTS,
    Pairs,
    compute_fingerprints,
    find_pairs,
    find_repeats,
    shrink_images,
)
from workbench.data.thread_pool import map_in_order
from workbench.wording import format_count

Result = TypeVar("Result")
_CHUNK = 1024  # images whose pixels are in memory at a time


@dataclasses.dataclass(frozen=True)
class Scan:
    """What a data set holds; row i of names, labels, parts, sizes and items belongs to image i.

    Rows are in the order of `PARTS`, and within a part in the order of the source.

    Attributes:
        names: n names.
        labels: int64 (n,) class indices.
        parts: int64 (n,) indices into `PARTS`.
        sizes: int64 (n, 2), width and height in pixels.
        items: int64 (n,), number of its item in the source.
        unreadable: [name, reason] of the images that cannot be decoded.
        others: names of the files that are no images, by name or content.
        pairs: `workbench.data.splits.duplicates.Pairs` of rows.
    """

    names: list[str]
    labels: np.ndarray
    parts: np.ndarray
    sizes: np.ndarray
    items: np.ndarray
    unreadable: list[list[str]]
    others: list[str]
    pairs: Pairs


class _Look(NamedTuple):
    """What is read of one image.

    Attributes:
        pixels: the square in its middle in the size of fingerprints, to compare it by.
        size: (width, height).
        digest: of its bytes.
    """

    pixels: np.ndarray
    size: tuple[int, int]
    digest: str


def scan_source(source: Source) -> Scan:
    """Read every item of a source once; memory grows by about a kilobyte an image."""
    rows, prints, unreadable, others, pixels = [], [], [], [], []
    looks = map_in_order(_look_at, source.load_items())
    for number, (item, look) in enumerate(_show_progress(looks, source.num_items)):
        if look is None:
            others.append(item.name)
        elif isinstance(look, str):
            unreadable.append([item.name, look])
        else:
            rows.append((item.name, item.label, PARTS.index(item.part), *look.size, number, look.digest))
            pixels.append(look.pixels)
        if len(pixels) == _CHUNK:
            prints.append(compute_fingerprints(np.concatenate(pixels)))
            pixels.clear()
    prints.append(compute_fingerprints(np.array(pixels, np.uint8).reshape(-1, HASH_SIZE, HASH_SIZE)))
    hashes, details = (np.concatenate(both) for both in zip(*prints, strict=True))
    numbers = np.array([row[1:6] for row in rows], np.int64).reshape(-1, 5)
    order = np.argsort(numbers[:, 1], kind="stable")
    numbers, rows = numbers[order], [rows[row] for row in order]
    return Scan(
        names=[row[0] for row in rows],
        labels=numbers[:, 0],
        parts=numbers[:, 1],
        sizes=numbers[:, 2:4],
        items=numbers[:, 4],
        unreadable=unreadable,
        others=others,
        pairs=find_pairs([row[6] for row in rows], hashes[order], details[order], numbers[:, 2:4].min(axis=1)),
    )


def _look_at(item: Item) -> tuple[Item, _Look | str | None]:
    """Return the item with its look, or the reason why it is unreadable, or None if it is no image."""
    try:
        data = item.read()
        if data is None:
            return item, None
        pixels = shrink_images(decode(data, HASH_SIZE, "crop")[None])
        return item, _Look(pixels, read_dimensions(data), compute_digest(data))
    except UnreadableImage as error:
        return item, str(error)
    except OSError as error:
        return item, error.strerror or str(error)


def _show_progress(results: Iterable[Result], total: int) -> Iterator[Result]:
    with open_bar() as progress:
        task = progress.add_task("reading", total=total)
        if not console.is_terminal:
            console.print(f"reading {format_count(total, 'file')}")
        for result in results:
            progress.advance(task)
            yield result


def find_scanned_repeats(scan: Scan, left_out: Container[str]) -> dict[int, int]:
    """Return row -> row that it repeats, see `workbench.data.splits.duplicates.find_repeats`.

    Args:
        scan: of the data set.
        left_out: names of images that are not used; they neither repeat others nor are repeated.
    """
    is_left_out = np.array([name in left_out for name in scan.names], bool)
    return find_repeats(scan.pairs, np.where(is_left_out, -1, scan.parts))
