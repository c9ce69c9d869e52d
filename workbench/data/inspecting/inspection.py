"""Look through a data set before training on it."""

import shlex
from pathlib import Path

import numpy as np
from rich.table import Table

from workbench.commandline.calls import format_call
from workbench.console import console
from workbench.data import exclusions
from workbench.data.config import InspectConfig
from workbench.data.inspecting.findings import Findings, summarize
from workbench.data.inspecting.scan import Scan, find_scanned_repeats, scan_source
from workbench.data.source import TEST, VALIDATION, Source
from workbench.data.sources import open_source
from workbench.data.splits.duplicates import PARTS
from workbench.data.tfds_source import NATURE_12K, PREFIX
from workbench.errors import UserError
from workbench.reporting.inspection_page import write_page
from workbench.runtime import load_tensorflow

_MAX_CLASSES = 40  # listed on the screen


def inspect(config: InspectConfig) -> Findings:
    """Look at every image of a data set; print what was found and write it to a page.

    Raises:
        UserError: the data cannot be found or read, or the page or left_out.csv cannot be written.
    """
    if config.data.startswith(PREFIX) or config.data == NATURE_12K:
        load_tensorflow(use_gpu=False)  # reads these sets; a folder is read without it
    source = open_source(config.data)
    page = Path(config.page or f"inspect-{source.name}.html")
    if not page.parent.is_dir():
        raise UserError(f"--page {page}: the folder {page.parent} does not exist")
    scan = scan_source(source)
    repeats = find_scanned_repeats(scan, source.left_out)
    left_out = source.left_out
    if config.fix_splits and repeats:
        left_out = _exclude_repeats(source, scan, repeats)
    findings = Findings(source, scan, repeats, left_out, len(left_out) - len(source.left_out), page)
    write_page(findings)
    _print_findings(findings, config)
    return findings


def _exclude_repeats(source: Source, scan: Scan, repeats: dict[int, int]) -> dict[str, str]:
    """Add the images that repeat an earlier one to left_out.csv; return its new content."""
    if source.left_out_file is None:
        raise UserError(f"{source.name}: has no folder in which left-out images could be listed")
    for part in (VALIDATION, TEST):
        rows = [
            row for row in np.flatnonzero(scan.parts == PARTS.index(part)) if scan.names[row] not in source.left_out
        ]
        if rows and all(row in repeats for row in rows):
            raise UserError(
                f"every {part} image of {source.name} is also in the training set; nothing was listed: "
                f"remove the {part} images, and a part of the training set is held out instead"
            )
    reasons = {scan.names[row]: f"also {scan.names[twin]}" for row, twin in repeats.items()}
    left_out = {**source.left_out, **reasons}
    try:
        exclusions.write_exclusions(source.left_out_file, left_out)
    except OSError as error:
        raise UserError(
            f"{source.left_out_file}: {error.strerror}; the list must be in the folder of the images"
        ) from error
    return left_out


def _print_findings(findings: Findings, config: InspectConfig) -> None:
    console.print(_make_table(findings))
    for line in summarize(findings):
        console.print(line)
    if findings.added:
        console.print(f"listed in {findings.source.left_out_file}; training leaves them out from now on")
    elif findings.repeats:
        console.print(f"to fix it:  {format_call('workbench.data')} inspect {shlex.quote(config.data)} --fix-splits")
    console.print(f"page:  {findings.page}")


def _make_table(findings: Findings) -> Table:
    """Return the table of images of each class and part."""
    counts = findings.count_images()
    shown = [part for part in range(len(PARTS)) if counts[:, part].any()]
    table = Table("class", box=None, pad_edge=False)
    for part in shown:
        table.add_column(PARTS[part], justify="right")
    classes: list[int | None] = list(range(len(counts)))
    if len(classes) > _MAX_CLASSES:  # the largest and the smallest; the page has all
        by_size = np.argsort(-counts.sum(axis=1), kind="stable").tolist()
        classes = [*by_size[: _MAX_CLASSES // 2], None, *by_size[-_MAX_CLASSES // 2 :]]
    for label in classes:
        if label is None:
            table.add_row(f"... {len(counts) - _MAX_CLASSES:,} more")
        else:
            table.add_row(findings.source.class_names[label], *(f"{counts[label, part]:,}" for part in shown))
    table.add_row("in all", *(f"{counts[:, part].sum():,}" for part in shown), style="bold")
    return table
