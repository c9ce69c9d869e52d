"""The report page of a comparison: the runs' results, whether they differ, and the way to each run's own page."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from workbench.console import format_duration
from workbench.evaluation.comparison import ComparedRun, CurvePoint
from workbench.files import write_text
from workbench.reporting.figures import PALETTE, open_figure, save_titled
from workbench.reporting.page import Command, Page, Section, Tile, load_pictures
from workbench.table import Column, Table
from workbench.wording import format_count

_RESULTS = ("accuracy", "95 % interval", "top-{}", "ECE", "parameters", "MB", "epochs", "training", "images/s")
_TEST = "By McNemar's exact test on the images that only one of both runs gets right, adjusted by Holm's method."


def build_results_table(rows: Sequence[ComparedRun]) -> Table:
    """Build the table of results, with one row per run."""
    columns = [Column("run", False), *(Column(label.format(rows[0]["top_k"])) for label in _RESULTS)]
    return Table("Each run on the test images", columns, [_format_results(row) for row in rows])


def _format_results(row: ComparedRun) -> list[str]:
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
        format_duration(seconds) if isinstance(seconds, int | float) else "?",
        f"{row['images_per_second']:,.0f}",
    ]


def format_verdict(row: ComparedRun, first: ComparedRun) -> str:
    """Return one line: whether a run differs from the first one, with the evidence."""
    counts = f"{format_count(row['only_this'], 'image')} only it has right, {row['only_first']} only the first"
    p = f"p = {row['p_adjusted']:.2g}"
    if row["p_adjusted"] >= 0.05:
        return f"{row['run']}: no significant difference from {first['run']} ({counts}; {p})"
    better = "better" if row["difference"] > 0 else "worse"
    return f"{row['run']}: {abs(row['difference']) * 100:.1f} points {better} than {first['run']} ({counts}; {p})"


def draw_comparison(path: Path, rows: Sequence[ComparedRun], curves: Sequence[Sequence[CurvePoint]]) -> Path:
    """Draw each run's test accuracy with its interval, and its validation accuracy over the training time.

    Args:
        path: of the PNG file; also returned.
        rows: the compared runs.
        curves: each run's validation accuracy over its training time, empty if not known.
    """
    best = max(rows, key=lambda row: row["accuracy"])
    title = f"{best['run']} is right most often: {best['accuracy']:.1%} of {format_count(best['images'], 'test image')}"
    if best is not rows[0]:
        title += f" (p = {best['p_adjusted']:.2g} against {rows[0]['run']})"
    caption = (
        "Left: test accuracy with its 95 % interval. Right: validation accuracy after each epoch against training "
        "time, for runs with a history. Use the paired test, not the overlap of intervals, to decide whether two runs "
        "differ."
    )
    shape = {"ncols": 2, "width_ratios": [1, 1.2]}
    with open_figure(10, 2.2 + 0.35 * max(4, len(rows)), **shape) as (figure, (accuracy, time)):
        for place, (row, points) in enumerate(zip(rows, curves, strict=True)):
            colour = PALETTE[place % len(PALETTE)]
            accuracy.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=3, alpha=0.5)
            accuracy.plot(row["accuracy"], place, "o", color=colour)
            if points:
                time.plot(*zip(*points, strict=True), "o-", markersize=3, color=colour, label=row["run"])
        accuracy.set_yticks(range(len(rows)), [row["run"] for row in rows])
        accuracy.set(ylim=(len(rows) - 0.5, -0.5), xlabel="test accuracy")
        time.set(xlabel="seconds of training", ylabel="validation accuracy")
        if any(curves):
            time.legend(loc="lower right")
        return save_titled(figure, path, title, caption)


def write_page(folder: Path, rows: Sequence[ComparedRun], command: str, tables: Sequence[Table] = ()) -> Path:
    """Write a comparison's report.html.

    Args:
        folder: contains comparison.png.
        rows: the compared runs.
        command: the command that makes the comparison again.
        tables: further tables with one row per run.

    Returns:
        Path of report.html.
    """
    verdicts = [f"{format_verdict(row, rows[0])}." for row in rows[1:]]
    reports = [
        Command(f"{Path(row['run']).name}:", f"python -m workbench.report {shlex.quote(row['run'])}") for row in rows
    ]
    page = Page(
        title=folder.resolve().name,
        lead=f"{len(rows)} classifiers, tested on the same {format_count(rows[0]['images'], 'image')}.",
        tiles=[Tile(Path(row["run"]).name, f"{row['accuracy']:.1%}", _format_interval(row)) for row in rows],
        sections=[
            Section("results", "Results", tables=[build_results_table(rows), *tables]),
            Section("curves", "Accuracy and time", figures=load_pictures([folder / "comparison.png"])),
            Section("tests", "Are they different?", text=" ".join([*verdicts, _TEST])),
            Section("runs", "Each run's own page", commands=reports),
        ],
        command=command,
    )
    path = folder / "report.html"
    write_text(path, page.render())
    return path


def _format_interval(row: ComparedRun) -> str:
    return f"test accuracy, 95 % interval {row['low']:.1%} to {row['high']:.1%}"
