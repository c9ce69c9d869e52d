"""Look through a data set before training on it."""

import collections
import dataclasses
from pathlib import Path

import numpy as np

from workbench import cli
from workbench.errors import UserError

_MAX_CLASSES = 40  # listed on the screen


@dataclasses.dataclass(frozen=True)
class InspectConfig:
    """Inspection.

    Args:
        data: What to look through, as for training: a folder, `nature_12k`, `tfds:NAME[:VERSION]` or `digits`.
        page: HTML file to write; by default inspect-NAME.html in the working folder.
        fix_splits: List the held-out images that also stand in the training set in the data's left_out.csv,
            which every later command honours. No image is moved or deleted.
    """

    data: str | None = cli.positional()
    page: str | None = None
    fix_splits: bool = False


@dataclasses.dataclass(frozen=True)
class Findings:
    """What an inspection found.

    Attributes:
        source: the `workbench.data.sources.Source`.
        scan: its `workbench.data.scan.Scan`.
        repeats: row -> row that it repeats, see `workbench.data.scan.repeats`.
        left_out: name -> reason of the images that left_out.csv lists, the ones added just now included.
        added: how many were added just now.
        page: path of the page.
    """

    source: object
    scan: object
    repeats: dict
    left_out: dict
    added: int
    page: Path

    def counts(self):
        """int64 (num_classes, parts): readable images that are in use."""
        counts = np.zeros((len(self.source.class_names), 4), np.int64)
        used = np.array([name not in self.left_out for name in self.scan.names], bool)
        np.add.at(counts, (self.scan.labels[used], self.scan.parts[used]), 1)
        return counts

    def conflicts(self):
        """Numbers of the pairs whose two images have different labels."""
        pairs, labels = self.scan.pairs, self.scan.labels
        return np.flatnonzero(labels[pairs.first] != labels[pairs.second])


def inspect(config):
    """Look at every image of a data set; tell what was found on the screen and in a page.

    Args:
        config: an `InspectConfig`.

    Returns:
        The `Findings`.

    Raises:
        UserError: the data cannot be found or read, or the page or left_out.csv cannot be written.
    """
    from workbench.data.scan import repeats, scan
    from workbench.data.sources import open_source
    from workbench.reporting.inspection_page import write_page

    if config.data.startswith("tfds:") or config.data == "nature_12k":
        from workbench.runtime import load_tensorflow

        load_tensorflow(use_gpu=False)
    source = open_source(config.data)
    page = Path(config.page or f"inspect-{source.name}.html")
    if not page.parent.is_dir():
        raise UserError(f"--page {page}: the folder {page.parent} does not exist")
    found = scan(source)
    repeated = repeats(found, source.left_out)
    left_out, added = source.left_out, 0
    if config.fix_splits:
        left_out = _fixed(source, found, repeated)
        added = len(left_out) - len(source.left_out)
    findings = Findings(source, found, repeated, left_out, added, page)
    write_page(findings)
    _tell(findings, config)
    return findings


def _fixed(source, found, repeated):
    """The new content of left_out.csv, written where it differs from the old."""
    from workbench.data import left_out
    from workbench.data.scan import PARTS

    reasons = {found.names[row]: f"also {found.names[twin]}" for row, twin in repeated.items()}
    if not reasons:
        return source.left_out
    if source.left_out_file is None:
        raise UserError(f"{source.name}: there is no folder to list left-out images in")
    for part in range(1, 4):
        rows = [row for row in np.flatnonzero(found.parts == part) if found.names[row] not in source.left_out]
        if rows and part != PARTS.index("unsplit") and all(row in repeated for row in rows):
            raise UserError(
                f"every {PARTS[part]} image of {source.name} also stands in the training set; nothing was listed: "
                f"take the {PARTS[part]} folder away, and a part of the training set is held out instead"
            )
    try:
        left_out.write(source.left_out_file, {**source.left_out, **reasons})
    except OSError as error:
        raise UserError(f"{source.left_out_file}: {error.strerror}; the list belongs beside the images") from error
    return {**source.left_out, **reasons}


def _tell(findings, config):
    from rich.markup import escape

    from workbench.console import console

    console.print(_table(findings))
    for line in summary(findings):
        console.print(escape(line))
    if findings.added:
        console.print(escape(f"listed in {findings.source.left_out_file}; training leaves them out from now on"))
    elif findings.repeats:
        console.print(f"mend it:  python -m workbench.data inspect {escape(config.data)} --fix-splits")
    console.print(f"page:  {escape(str(findings.page))}")


def _table(findings):
    from rich.markup import escape
    from rich.table import Table

    from workbench.data.scan import PARTS

    counts = findings.counts()
    shown = [part for part in range(4) if counts[:, part].any()]
    table = Table("class", box=None, pad_edge=False)
    for part in shown:
        table.add_column(PARTS[part], justify="right")
    classes = np.arange(len(counts))
    if len(classes) > _MAX_CLASSES:  # the largest and the smallest; the page has all
        classes = np.argsort(-counts.sum(axis=1), kind="stable")
        classes = [*classes[: _MAX_CLASSES // 2], None, *classes[-_MAX_CLASSES // 2 :]]
    for label in classes:
        if label is None:
            table.add_row(f"... {len(counts) - _MAX_CLASSES:,} more")
        else:
            table.add_row(escape(findings.source.class_names[label]), *(f"{counts[label, part]:,}" for part in shown))
    table.add_row("in all", *(f"{counts[:, part].sum():,}" for part in shown), style="bold")
    return table


def summary(findings):
    """The findings as plain sentences, one a line."""
    scan, pairs = findings.scan, findings.scan.pairs
    lines = [_sizes(scan.sizes), _files(scan)]
    identical = int(pairs.identical.sum())
    lines.append(
        f"the same photo twice: {identical:,} pairs of identical files, {len(pairs.first) - identical:,} alike"
    )
    conflicts = findings.conflicts()
    if len(conflicts):
        one, other = scan.names[pairs.first[conflicts[0]]], scan.names[pairs.second[conflicts[0]]]
        lines.append(f"{len(conflicts):,} of them stand in two classes, such as {one} and {other}")
    lines += _leaks(findings)
    if findings.left_out:
        missing = findings.left_out.keys() - set(scan.names) - {name for name, _ in scan.unreadable}
        gone = f"; {len(missing):,} of them are not there" if missing else ""
        lines.append(f"left out by {findings.source.left_out_file}: {len(findings.left_out):,} images{gone}")
    return lines


def _sizes(sizes):
    if not len(sizes):
        return "sizes: no readable image"
    (width, height), times = collections.Counter(map(tuple, sizes.tolist())).most_common(1)[0]
    short, long = sizes.min(axis=1), sizes.max(axis=1)
    if times == len(sizes):
        return f"sizes: all {width} x {height} pixels"
    return (
        f"sizes: short side {short.min():,} to {short.max():,} pixels (median {np.median(short):,.0f}), "
        f"long side up to {long.max():,}; most often {width} x {height} ({times:,} images)"
    )


def _files(scan):
    if not (scan.unreadable or scan.others):
        return "files: every one is a readable image"
    line = f"files: {len(scan.names):,} readable images, {len(scan.unreadable):,} unreadable"
    if scan.unreadable:
        name, reason = scan.unreadable[0]
        line += f" (such as {name}: {reason})"
    return line + (f", {len(scan.others):,} that are no images (such as {scan.others[0]})" if scan.others else "")


def _leaks(findings):
    """A sentence for each two parts that share photos."""
    from workbench.data.scan import PARTS

    scan = findings.scan
    between = collections.defaultdict(list)
    for row, twin in findings.repeats.items():
        between[PARTS[scan.parts[row]], PARTS[scan.parts[twin]]].append((scan.names[row], scan.names[twin]))
    for (part, other), names in between.items():
        if part == other:
            yield (
                f"{len(names):,} images repeat an earlier one, such as {names[0][0]} ({names[0][1]}): a split drawn "
                "at random may put one photo into training and test"
            )
        else:
            yield (
                f"LEAK: {len(names):,} of {(scan.parts == PARTS.index(part)).sum():,} {part} images also stand in "
                f"{other}, such as {names[0][0]} ({names[0][1]})"
            )
