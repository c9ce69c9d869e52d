"""What a person sees while waiting: bars on a terminal, plain lines elsewhere."""

import contextlib
import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

PLAIN_WIDTH = 120  # characters, where there is no terminal to ask

console = Console(highlight=False, soft_wrap=True, markup=False)  # names and paths may hold [brackets]
if not console.is_terminal:
    console.width = PLAIN_WIDTH


def bar(*columns):
    """A progress bar that vanishes when it is done; shown on a terminal only."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        TextColumn("{task.percentage:>3.0f}%"),
        *columns,
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def decoding_progress(images, total):
    """Pass `images` on while showing how many of `total` are decoded, and at the end how fast."""
    console.print(f"decoding {total:,} images once (kept for later runs)", style="dim")
    start = time.perf_counter()
    rate = TextColumn("{task.fields[rate]:,.0f} images/s")
    with bar(rate) as progress:
        task = progress.add_task("decoding", total=total, rate=0.0)
        for count, image in enumerate(images, 1):
            if count % 64 == 0:
                progress.update(task, completed=count, rate=count / (time.perf_counter() - start))
            yield image
    seconds = time.perf_counter() - start
    console.print(f"decoded {total:,} images in {seconds:.1f} s ({total / seconds:,.0f} images/s)", style="dim")


@contextlib.contextmanager
def transfer_bar(description):
    """A bar of bytes, or a line each tenth of the way; gives a function of (bytes so far, bytes in all or None)."""
    tenths = set()

    def show(done, total):
        progress.update(task, completed=done, total=total)
        tenth = 10 * done // total if total else 0
        if tenth not in tenths and not console.is_terminal:
            console.print(f"{description}: {done / 1e6:,.0f} MB" + (f" of {total / 1e6:,.0f}" if total else ""))
        tenths.add(tenth)

    with bar(DownloadColumn(), TransferSpeedColumn()) as progress:
        task = progress.add_task(description, total=None)
        yield show


def show_table(table):
    """Print a `workbench.reporting.page.Table`."""
    shown = Table(box=None, pad_edge=False)
    for column in table.columns:
        shown.add_column(column.label, justify="right" if column.numeric else "left", overflow="fold")
    for row in table.rows:
        shown.add_row(*row)
    console.print(shown, soft_wrap=False)


def print_line(line):
    """Print one line: cut off at the edge of a terminal, whole elsewhere."""
    if console.is_terminal:
        console.print(line, no_wrap=True, overflow="ellipsis", soft_wrap=False)
    else:
        console.print(line)


def duration(seconds):
    """Seconds as a person says them: `8.1 s`, `2:05`, `1:02:05`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
