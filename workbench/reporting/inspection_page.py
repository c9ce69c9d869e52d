"""The page of an inspection: one HTML file that needs no other."""

import base64
import io
import itertools
import zlib

import numpy as np
from PIL import Image

from workbench.data.decoding import UnreadableImage, decode
from workbench.data.duplicates import TURNS
from workbench.data.inspection import summary
from workbench.data.scan import PARTS
from workbench.files import write_text
from workbench.reporting.templates import render

MAX_PAIRS, MAX_CONTACTS = 60, 240  # shown with their images
MAX_LISTED = 5_000  # pairs and repeats listed by name; left_out.csv has them all
_THUMBNAIL = 112  # pixels of the longer side


def write_page(findings):
    """Write the page of `Findings` to its place."""
    scan = findings.scan
    pairs, contacts = _pairs_shown(findings), _contacts(scan, len(findings.source.class_names))
    rows = {row for numbers in contacts.values() for row in numbers} | {row for pair in pairs for row in pair[:2]}
    pictures = _pictures(findings.source, scan, rows)
    counts = findings.counts()
    page = render(
        "inspection.html",
        name=findings.source.name,
        summary=summary(findings),
        parts=[(number, PARTS[number]) for number in range(4) if counts[:, number].any()],
        classes=list(zip(findings.source.class_names, counts.tolist(), strict=True)),
        largest=max(1, counts.sum(axis=1).max()),
        pairs=[_pair(findings, pair, pictures) for pair in pairs],
        num_pairs=len(scan.pairs.first),
        num_repeats=len(findings.repeats),
        all_pairs=[_words(findings, number) for number in range(min(MAX_LISTED, len(scan.pairs.first)))],
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
                [(scan.names[row], pictures[row]) for row in rows if pictures.get(row)],
            )
            for label, rows in contacts.items()
        ],
    )
    write_text(findings.page, page)


def _pairs_shown(findings):
    """(row, other row, number of the pair) of the pairs that matter most: two parts, two classes, then the rest."""
    scan, pairs = findings.scan, findings.scan.pairs
    across = scan.parts[pairs.first] != scan.parts[pairs.second]
    conflict = scan.labels[pairs.first] != scan.labels[pairs.second]
    order = np.lexsort((-pairs.distance, ~conflict, ~across))[:MAX_PAIRS]
    return [(int(pairs.first[number]), int(pairs.second[number]), int(number)) for number in order]


def _pair(findings, pair, pictures):
    scan = findings.scan
    first, second, number = pair
    return {
        "images": [(scan.names[row], pictures.get(row)) for row in (first, second)],
        "how": _words(findings, number)[2],
        "leak": scan.parts[first] != scan.parts[second],
        "conflict": scan.labels[first] != scan.labels[second],
    }


def _words(findings, number):
    """The two names of a pair, and how it is alike."""
    names, pairs = findings.scan.names, findings.scan.pairs
    how = "identical file" if pairs.identical[number] else f"distance {pairs.distance[number]} of 64"
    turn = TURNS[pairs.turn[number]]
    return names[pairs.first[number]], names[pairs.second[number]], f"{how}, {turn}" if turn else how


def _contacts(scan, num_classes):
    """label -> rows shown of that class, drawn evenly by their names; the same ones each time."""
    each = min(12, max(1, MAX_CONTACTS // num_classes))
    rows = {}
    for row in sorted(range(len(scan.names)), key=lambda row: zlib.crc32(scan.names[row].encode())):
        of_class = rows.setdefault(int(scan.labels[row]), [])
        if len(of_class) < each:
            of_class.append(row)
    return dict(sorted(rows.items())[:MAX_CONTACTS])


def _pictures(source, scan, rows):
    """row -> (data address of a small JPEG, width, height); read anew, since few of all images are shown."""
    wanted, pictures = {int(scan.items[row]): row for row in rows}, {}
    if not wanted:
        return pictures
    start = min(wanted)
    for number, item in enumerate(source.load_items(start), start):
        if number in wanted:
            row = wanted[number]
            picture = _picture(item, scan.sizes[row])
            if picture is not None:
                pictures[row] = picture
        if number >= max(wanted):
            break
    return pictures


def _picture(item, size):
    """An image as it stands in its file, small; None where it has vanished meanwhile."""
    try:
        pixels = decode(item.read(), _THUMBNAIL, "stretch")
    except (OSError, UnreadableImage):
        return None
    width, height = np.maximum(1, np.round(_THUMBNAIL * size / size.max())).astype(int).tolist()
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((width, height)).save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode(), width, height
