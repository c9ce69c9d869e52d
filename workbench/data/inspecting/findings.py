"""What an inspection has found in a data set, and the sentences that say so."""

import collections
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from workbench.data.image_formats import describe_missing_decoders
from workbench.data.inspecting.scan import Scan
from workbench.data.source import Source
from workbench.data.splits.duplicates import PARTS
from workbench.wording import agree, format_count


@dataclasses.dataclass(frozen=True)
class Findings:
    """What an inspection has found.

    Attributes:
        source: the data set.
        scan: what its files are.
        repeats: row -> row of the same photo in an earlier part, see `workbench.data.splits.duplicates.find_repeats`.
        left_out: name -> reason of the images that left_out.csv lists, including those added by this inspection.
        added: how many images this inspection added to the list.
        page: path of the page.
    """

    source: Source
    scan: Scan
    repeats: dict[int, int]
    left_out: Mapping[str, str]
    added: int
    page: Path

    def count_images(self) -> np.ndarray:
        """Return the number of readable images that are used, int64 (num_classes, parts)."""
        counts = np.zeros((len(self.source.class_names), len(PARTS)), np.int64)
        used = np.array([name not in self.left_out for name in self.scan.names], bool)
        np.add.at(counts, (self.scan.labels[used], self.scan.parts[used]), 1)
        return counts

    def find_conflicts(self) -> np.ndarray:
        """Return the numbers of the pairs whose two images have different labels."""
        pairs, labels = self.scan.pairs, self.scan.labels
        return np.flatnonzero(labels[pairs.first] != labels[pairs.second])


def summarize(findings: Findings) -> list[str]:
    """Return the findings as plain sentences, one a line."""
    scan, pairs = findings.scan, findings.scan.pairs
    lines = [_describe_sizes(scan.sizes), _describe_files(scan)]
    identical = int(pairs.identical.sum())
    similar = len(pairs.first) - identical
    lines.append(
        f"the same photo twice: {format_count(identical, 'pair')} of identical files, {similar:,} of similar images"
    )
    conflicts = findings.find_conflicts()
    if len(conflicts):
        one, other = scan.names[pairs.first[conflicts[0]]], scan.names[pairs.second[conflicts[0]]]
        pairs_are = f"{len(conflicts):,} of these pairs {agree(len(conflicts), 'is', 'are')}"
        lines.append(f"{pairs_are} in two classes, such as {one} and {other}")
    lines += _describe_leaks(findings)
    lines += describe_missing_decoders(reason for _, reason in scan.unreadable)
    lines += findings.source.warnings
    if findings.left_out:
        missing = findings.left_out.keys() - set(scan.names) - {name for name, _ in scan.unreadable}
        note = f"; {len(missing):,} of them {agree(len(missing), 'does', 'do')} not exist" if missing else ""
        lines.append(
            f"left out by {findings.source.left_out_file}: {format_count(len(findings.left_out), 'image')}{note}"
        )
    return lines


def _describe_sizes(sizes: np.ndarray) -> str:
    if not len(sizes):
        return "sizes: no readable image"
    (width, height), times = collections.Counter(map(tuple, sizes.tolist())).most_common(1)[0]
    short, long = sizes.min(axis=1), sizes.max(axis=1)
    if times == len(sizes):
        return f"sizes: all {width} x {height} pixels"
    return (
        f"sizes: short side {short.min():,} to {short.max():,} pixels (median {np.median(short):,.0f}), "
        f"long side up to {long.max():,}; most often {width} x {height} ({format_count(times, 'image')})"
    )


def _describe_files(scan: Scan) -> str:
    if not (scan.unreadable or scan.others):
        return "files: every one is a readable image"
    line = f"files: {format_count(len(scan.names), 'readable image')}, {len(scan.unreadable):,} unreadable"
    if scan.unreadable:
        name, reason = scan.unreadable[0]
        line += f" (such as {name}: {reason})"
    if scan.others:
        others = agree(len(scan.others), "that is no image", "that are no images")
        line += f", {len(scan.others):,} {others} (such as {scan.others[0]})"
    return line


def _describe_leaks(findings: Findings) -> Iterator[str]:
    """Yield a sentence for each two parts that share photos."""
    scan = findings.scan
    between = collections.defaultdict(list)
    for row, twin in findings.repeats.items():
        between[PARTS[scan.parts[row]], PARTS[scan.parts[twin]]].append((scan.names[row], scan.names[twin]))
    for (part, other), names in between.items():
        name, twin_name = names[0]
        total = int((scan.parts == PARTS.index(part)).sum())
        if part == other:
            yield (
                f"{format_count(len(names), 'image')} {agree(len(names), 'repeats', 'repeat')} an earlier one, "
                f"such as {name} ({twin_name}): a split drawn at random may put one photo into training and test"
            )
        else:
            yield (
                f"LEAK: {len(names):,} of {format_count(total, f'{part} image')} "
                f"{agree(len(names), 'is', 'are')} also in "
                f"{other}, such as {name} ({twin_name})"
            )
