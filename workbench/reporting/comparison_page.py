"""The page of a comparison: the runs side by side, what tells them apart, and where each one's own page is."""

import shlex
from pathlib import Path

from workbench.console import duration
from workbench.files import write_text
from workbench.reporting.page import Column, Command, Page, Section, Table, Tile, pictures

_RESULTS = ("accuracy", "95 % interval", "top-{}", "ECE", "parameters", "MB", "epochs", "training", "images/s")


def results_table(rows):
    """What `workbench.compare.compare` found out, as a `Table` with a row a run."""
    columns = [Column("run", False), *(Column(label.format(rows[0]["top_k"])) for label in _RESULTS)]
    return Table("Each run on the test images", columns, [_results(row) for row in rows])


def _results(row):
    seconds = row["training_seconds"]
    return [
        row["run"],
        f"{row['accuracy']:.1%}",
        f"{row['low']:.1%} to {row['high']:.1%}",
        f"{row['top_k_accuracy']:.1%}",
        f"{row['ece']:.1%}",
        f"{row['parameters']:,}",
        f"{row['megabytes']:.1f}",
        str(row["epochs"] or "?"),
        duration(seconds) if isinstance(seconds, int | float) else "?",
        f"{row['images_per_second']:,.0f}",
    ]


def verdict(row, first):
    """One line: whether a run differs from the first one, and on what evidence."""
    counts = f"{row['only_this']} images only it has right, {row['only_first']} only the first"
    p = f"p = {row['p_adjusted']:.2g}"
    if row["p_adjusted"] >= 0.05:
        return f"{row['run']}: not told apart from {first['run']} ({counts}; {p})"
    better = "better" if row["difference"] > 0 else "worse"
    return f"{row['run']}: {abs(row['difference']) * 100:.1f} points {better} than {first['run']} ({counts}; {p})"


def write_page(folder, rows, command, tables=()):
    """Write a comparison's report.html.

    Args:
        folder: that holds comparison.png.
        rows: of `workbench.compare.compare`.
        command: that makes the comparison again.
        tables: further `workbench.reporting.page.Table`s, with a row a run.

    Returns:
        Path of report.html.
    """
    folder = Path(folder)
    verdicts = [f"{verdict(row, rows[0])}." for row in rows[1:]]
    pages = [
        Command(f"{Path(row['run']).name}:", f"python -m workbench.report {shlex.quote(row['run'])}") for row in rows
    ]
    page = Page(
        title=folder.resolve().name,
        lead=f"{len(rows)} classifiers, tested on the same {rows[0]['images']:,} images.",
        tiles=[Tile(Path(row["run"]).name, f"{row['accuracy']:.1%}", _interval(row)) for row in rows],
        sections=[
            Section("results", "Results", tables=[results_table(rows), *tables]),
            Section("curves", "Accuracy and time", figures=pictures([folder / "comparison.png"])),
            Section("tests", "Are they different?", text=" ".join([*verdicts, _HOW])),
            Section("runs", "Each run's own page", commands=pages),
        ],
        command=command,
    )
    path = folder / "report.html"
    write_text(path, page.html())
    return path


def _interval(row):
    return f"test accuracy, 95 % interval {row['low']:.1%} to {row['high']:.1%}"


_HOW = "By McNemar's exact test on the images that one alone has right, adjusted after Holm for the number of tests."
