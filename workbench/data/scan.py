"""One pass over a data set: what each file is, and which images show the same photo."""

import dataclasses
import hashlib

import numpy as np

from workbench.console import bar, console
from workbench.data.decoding import UnreadableImage, decode, dimensions
from workbench.data.duplicates import HASH_SIZE, Pairs, find_pairs, fingerprints
from workbench.data.parallel import in_order
from workbench.data.sources import TEST, TRAIN, UNSPLIT, VALIDATION

PARTS = (TRAIN, UNSPLIT, VALIDATION, TEST)  # an image that stands in two of them belongs to the first
_CHUNK = 1024  # images whose pixels are in memory at a time


@dataclasses.dataclass(frozen=True)
class Scan:
    """What a data set holds; row i of names, labels, parts, sizes and items belongs to image i.

    Rows are ordered by part as `PARTS` is, and within a part as the source has them.

    Attributes:
        names: n names.
        labels: int64 (n,) class indices.
        parts: int64 (n,) indices into `PARTS`.
        sizes: int64 (n, 2), width and height in pixels.
        items: int64 (n,), numbers of the source's items.
        unreadable: [name, reason] of the images that cannot be decoded.
        others: names of the files that are no images, by name or content.
        pairs: `workbench.data.duplicates.Pairs` of rows.
    """

    names: list
    labels: np.ndarray
    parts: np.ndarray
    sizes: np.ndarray
    items: np.ndarray
    unreadable: list
    others: list
    pairs: Pairs


def scan(source):
    """Read every item of a source once; memory grows by about a kilobyte an image."""
    rows, prints, unreadable, others, pixels = [], [], [], [], []
    for number, (item, found) in enumerate(_shown(in_order(_look_at, source.load_items()), source.num_items)):
        if found is None:
            others.append(item.name)
        elif isinstance(found, str):
            unreadable.append([item.name, found])
        else:
            small, size, digest = found
            rows.append((item.name, item.label, PARTS.index(item.part), *size, number, digest))
            pixels.append(small)
        if len(pixels) == _CHUNK:
            prints.append(fingerprints(np.stack(pixels)))
            pixels.clear()
    prints.append(fingerprints(np.array(pixels, np.uint8).reshape(-1, HASH_SIZE, HASH_SIZE, 3)))
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
        pairs=find_pairs([row[6] for row in rows], hashes[order], details[order], numbers[:, 2:4]),
    )


def _look_at(item):
    """(item, (pixels, size, digest) | reason | None) of an image, of one that is unreadable, of no image."""
    try:
        data = item.read()
        if data is None:
            return item, None
        digest = hashlib.blake2b(data if isinstance(data, bytes) else repr(data.shape).encode() + data.tobytes())
        return item, (decode(data, HASH_SIZE, "stretch"), dimensions(data), digest.digest()[:16])
    except UnreadableImage as error:
        return item, str(error)
    except OSError as error:
        return item, error.strerror or str(error)


def _shown(results, total):
    with bar() as progress:
        task = progress.add_task("reading", total=total)
        if not console.is_terminal:
            console.print(f"reading {total:,} files")
        for result in results:
            progress.advance(task)
            yield result


def repeats(found, left_out):
    """Images that stand in an earlier part already: row -> the row that it repeats.

    A training image repeats none. A validation or test image does if the same photo is in an earlier part, and in
    a set that is not split yet every image but the first of a photo does.

    Args:
        found: a `Scan`.
        left_out: names that are out of use; they neither repeat nor are repeated.
    """
    pairs, group = found.pairs, np.arange(len(found.names))
    group[pairs.second[pairs.identical]] = pairs.first[pairs.identical]
    near = {}
    for one, other in zip(pairs.first[~pairs.identical], pairs.second[~pairs.identical], strict=True):
        near.setdefault(one, []).append(other)
        near.setdefault(other, []).append(one)
    repeated, kept = {}, {}
    unsplit = PARTS.index(UNSPLIT)
    for row, part in enumerate(found.parts):
        if found.names[row] in left_out:
            continue
        twins = [kept[other] for other in (group[row], *near.get(group[row], ())) if other in kept]
        earlier = [twin for twin in twins if found.parts[twin] < part or part == unsplit]
        if earlier:
            repeated[row] = min(earlier)
        else:
            kept.setdefault(group[row], row)
    return repeated
