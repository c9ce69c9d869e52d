"""The page of an inspection: one HTML file that needs no other files."""

import base64
import io
import itertools
import zlib
from collections.abc import Collection
from typing import Any

import numpy as np
from PIL import Image

from workbench.data.decoding import UnreadableImage, decode
from workbench.data.inspecting.findings import Findings, summarize
from workbench.data.inspecting.scan import Scan
from workbench.data.source import Item, Source
from workbench.data.splits.duplicates import PARTS, TURNS
from workbench.files import write_text
from workbench.reporting.templates import render

MAX_PAIRS, MAX_CONTACTS = 60, 240  # pairs and images of the contact sheet that are shown
MAX_LISTED = 5_000  # pairs and repeats that are listed by name; left_out.csv has them all
_THUMBNAIL = 112  # pixels of the longer side
Thumbnail = tuple[str, int, int]  # `data:` address of a small JPEG, its width and height
Pair = tuple[int, int, int]  # row, other row, number of the pair


def write_page(findings: Findings) -> None:
    """Write the page of an inspection to `findings.page`."""
    scan = findings.scan
    pairs, contacts = choose_pairs(findings), choose_contacts(scan, len(findings.source.class_names))
    rows = {row for numbers in contacts.values() for row in numbers} | {row for pair in pairs for row in pair[:2]}
    thumbnails = _make_thumbnails(findings.source, scan, rows)
    counts = findings.count_images()
    page = render(
        "inspection.html",
        name=findings.source.name,
        summary=summarize(findings),
        parts=[(number, PARTS[number]) for number in range(len(PARTS)) if counts[:, number].any()],
        classes=list(zip(findings.source.class_names, counts.tolist(), strict=True)),
        largest=max(1, counts.sum(axis=1).max()),
        pairs=[_describe_pair(findings, pair, thumbnails) for pair in pairs],
        num_pairs=len(scan.pairs.first),
        num_repeats=len(findings.repeats),
        all_pairs=[name_pair(findings, number) for number in range(min(MAX_LISTED, len(scan.pairs.first)))],
        repeats=[
            (scan.names[row], scan.names[twin]) for row, twin in itertools.islice(findings.repeats.items(), MAX_LISTED)
        ],
        left_out=findings.left_out,
        left_out_file=findings.source.left_out_file,
        unreadable=scan.unreadable,
        others=scan.others,
        contacts=[
            (
                findings.source.class_names[label],
                [(scan.names[row], thumbnails[row]) for row in rows if thumbnails.get(row)],
            )
            for label, rows in contacts.items()
        ],
    )
    write_text(findings.page, page)


def choose_pairs(findings: Findings) -> list[Pair]:
    """Return the pairs that matter most: first those in two parts, then those in two classes, then the rest."""
    scan, pairs = findings.scan, findings.scan.pairs
    across = scan.parts[pairs.first] != scan.parts[pairs.second]
    conflict = scan.labels[pairs.first] != scan.labels[pairs.second]
    order = np.lexsort((-pairs.distance, ~conflict, ~across))[:MAX_PAIRS]
    return [(int(pairs.first[number]), int(pairs.second[number]), int(number)) for number in order]


def _describe_pair(findings: Findings, pair: Pair, thumbnails: dict[int, Thumbnail]) -> dict[str, Any]:
    """Return what the template shows of a pair."""
    scan = findings.scan
    first, second, number = pair
    return {
        "images": [(scan.names[row], thumbnails.get(row)) for row in (first, second)],
        "how": name_pair(findings, number)[2],
        "leak": scan.parts[first] != scan.parts[second],
        "conflict": scan.labels[first] != scan.labels[second],
    }


def name_pair(findings: Findings, number: int) -> tuple[str, str, str]:
    """Return the two names of a pair, and how similar they are."""
    names, pairs = findings.scan.names, findings.scan.pairs
    how = "identical file" if pairs.identical[number] else f"distance {pairs.distance[number]} of 64"
    turn = TURNS[pairs.turn[number]]
    return names[pairs.first[number]], names[pairs.second[number]], f"{how}, {turn}" if turn else how


def choose_contacts(scan: Scan, num_classes: int) -> dict[int, list[int]]:
    """Return label -> rows shown of that class, chosen by a checksum of their names: the same ones each time."""
    each = min(12, max(1, MAX_CONTACTS // num_classes))
    rows: dict[int, list[int]] = {}
    for row in sorted(range(len(scan.names)), key=lambda row: zlib.crc32(scan.names[row].encode())):
        of_class = rows.setdefault(int(scan.labels[row]), [])
        if len(of_class) < each:
            of_class.append(row)
    return dict(sorted(rows.items())[:MAX_CONTACTS])


def _make_thumbnails(source: Source, scan: Scan, rows: Collection[int]) -> dict[int, Thumbnail]:
    """Return row -> thumbnail; the images are read again, because few of them are shown."""
    wanted = {int(scan.items[row]): row for row in rows}
    thumbnails: dict[int, Thumbnail] = {}
    if not wanted:
        return thumbnails
    start = min(wanted)
    for number, item in enumerate(source.load_items(start), start):
        if number in wanted:
            row = wanted[number]
            thumbnail = _make_thumbnail(item, scan.sizes[row])
            if thumbnail is not None:
                thumbnails[row] = thumbnail
        if number >= max(wanted):
            break
    return thumbnails


def _make_thumbnail(item: Item, size: np.ndarray) -> Thumbnail | None:
    """Return a small copy of an image of this size; None if the image cannot be read any more."""
    try:
        data = item.read()
        if data is None:
            return None
        pixels = decode(data, _THUMBNAIL, "stretch")
    except (OSError, UnreadableImage):
        return None
    width, height = np.maximum(1, np.round(_THUMBNAIL * size / size.max())).astype(int).tolist()
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((width, height)).save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode(), width, height
