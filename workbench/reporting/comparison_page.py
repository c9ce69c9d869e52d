"""The report page of a comparison: the runs' results, whether they differ, and the way to each run's own page."""

import re
import shlex
import textwrap
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from workbench.commandline.calls import format_call
from workbench.console import format_duration
from workbench.evaluation.comparison import ComparedRun, CurvePoint
from workbench.files import write_text
from workbench.reporting.figures import PALETTE, open_figure, save_figure
from workbench.reporting.page import Command, Page, Section, Tile, load_pictures
from workbench.table import Column, Table
from workbench.wording import format_count

_RESULTS = ("accuracy", "95 % interval", "top-{}", "ECE", "parameters", "MB", "epochs", "training", "images/s")
_LEAKED = 3  # place of the column that follows the interval
_MARKERS = "osD^vP"  # more runs than colours have different markers
_LINE = 22  # characters of a line of a run's name
_VERY_DIFFERENT = 10  # times as long
_TEST = "By McNemar's exact test on the images that only one of both runs gets right, adjusted by Holm's method."


def build_results_table(rows: Sequence[ComparedRun]) -> Table:
    """Build the table of results, with one row per run."""
    columns = [Column("run", False), *(Column(label.format(rows[0]["top_k"])) for label in _RESULTS)]
    cells = [_format_results(row) for row in rows]
    if any(row["leaked"] for row in rows):
        columns.insert(_LEAKED, Column("without leaked"))
        for row, line in zip(rows, cells, strict=True):
            line.insert(_LEAKED, _format_without_leaked(row))
    return Table("Each run on the test images", columns, cells)


def _format_without_leaked(row: ComparedRun) -> str:
    """Return the accuracy without the test images that were also used for training or validation, and their number."""
    if row["leaked"] is None:
        return "?"
    accuracy = row["accuracy_without_leaked"]
    return f"{'none left' if accuracy is None else f'{accuracy:.1%}'} (-{row['leaked']:,})"


def _format_results(row: ComparedRun) -> list[str]:
    seconds = row["training_seconds"]
    return [
        row["name"],
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
        return f"{row['name']}: no significant difference from {first['name']} ({counts}; {p})"
    better = "better" if row["difference"] > 0 else "worse"
    return f"{row['name']}: {abs(row['difference']) * 100:.1f} points {better} than {first['name']} ({counts}; {p})"


def draw_comparison(path: Path, rows: Sequence[ComparedRun], curves: Sequence[Sequence[CurvePoint]]) -> Path:
    """Draw each run's test accuracy with its interval, and its validation accuracy over the training time.

    Args:
        path: of the PNG file; also returned.
        rows: the compared runs.
        curves: each run's validation accuracy over its training time, empty if not known.
    """
    best = max(rows, key=lambda row: row["accuracy"])
    title = (
        f"{best['name']} is right most often: {best['accuracy']:.1%} of {format_count(best['images'], 'test image')}"
    )
    if best is not rows[0]:
        title += f" (p = {best['p_adjusted']:.2g} against {rows[0]['name']})"
    caption = (
        "Each run has the same colour and marker in both panels. First: test accuracy with its 95 % interval. Second: "
        "validation accuracy after each epoch against training time, for runs with a history. Use the paired test, not "
        "the overlap of intervals, to decide whether two runs differ."
    )
    with open_figure(9.2, 2.0 + 0.45 * max(4, len(rows)), ncols=2) as (figure, (accuracy, time)):
        for place, (row, points) in enumerate(zip(rows, curves, strict=True)):
            style = {"color": PALETTE[place % len(PALETTE)], "marker": _MARKERS[place // len(PALETTE) % len(_MARKERS)]}
            accuracy.plot([row["low"], row["high"]], [place, place], color=style["color"], linewidth=3, alpha=0.5)
            accuracy.plot(row["accuracy"], place, markersize=7, **style)
            if points:
                time.plot(*zip(*points, strict=True), markersize=4, **style)
        accuracy.set_yticks(range(len(rows)), [_break_name(row["name"]) for row in rows])
        accuracy.set(ylim=(len(rows) - 0.5, -0.5), xlabel="test accuracy")
        accuracy.xaxis.set_major_locator(MaxNLocator(5))
        accuracy.xaxis.set_major_formatter(_format_share)
        time.set(xlabel="seconds of training", ylabel="validation accuracy")
        time.yaxis.set_major_formatter(_format_share)
        if any(curves):
            _scale_time(time, [points for points in curves if points])
        else:
            time.remove()
        return save_figure(figure, path, title, caption, [[[axes] for axes in figure.axes]])


def _format_share(share: float, _: object = None) -> str:
    return f"{100 * share:.4g} %"


def _break_name(name: str) -> str:
    """Return a name in lines of about `_LINE` characters, broken after a hyphen, an underscore or a slash."""
    lines = [""]
    for word in re.findall(r"[^-_/]*[-_/]?", name):
        for piece in textwrap.wrap(word, _LINE):
            if len(lines[-1] + piece) > _LINE:
                lines.append("")
            lines[-1] += piece
    return "\n".join(lines)


def _scale_time(axes: Axes, curves: Sequence[Sequence[CurvePoint]]) -> None:
    """Make the time axis logarithmic where runs took very different times, so that the short ones can be seen."""
    ends = [points[-1].seconds for points in curves]
    if min(points[0].seconds for points in curves) > 0 and max(ends) > _VERY_DIFFERENT * min(ends):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(lambda seconds, _: f"{seconds:,.4g}")
        axes.xaxis.set_minor_formatter(NullFormatter())


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
        Command(f"{row['name']}:", f"{format_call('workbench.report')} {shlex.quote(row['run'])}") for row in rows
    ]
    page = Page(
        title=folder.resolve().name,
        lead=f"{len(rows)} classifiers, tested on the same {format_count(rows[0]['images'], 'image')}.",
        tiles=[Tile(row["name"], f"{row['accuracy']:.1%}", _format_interval(row)) for row in rows],
        sections=[
            Section("results", "Results", tables=[build_results_table(rows), *tables]),
            Section("curves", "Accuracy and time", figures=load_pictures([folder / "comparison.png"])),
            Section("tests", "Are they different?", text="\n".join([*verdicts, _TEST])),
            Section("runs", "Each run's own page", commands=reports),
        ],
        command=command,
    )
    path = folder / "report.html"
    write_text(path, page.render())
    return path


def _format_interval(row: ComparedRun) -> str:
    return f"test accuracy, 95 % interval {row['low']:.1%} to {row['high']:.1%}"
