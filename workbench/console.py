"""Output for the user: progress bars on a terminal, plain lines elsewhere."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table as RichTable
from rich.text import Text

from workbench.table import Table
from workbench.wording import format_count

PLAIN_WIDTH = 120  # characters, if the output is not a terminal
Item = TypeVar("Item")
DecodingProgress = Callable[[Iterable[Item], int], Iterator[Item]]  # such as `show_decoding`
ShowTransfer = Callable[[int, int | None], None]  # called with the bytes so far, and the total where it is known

console = Console(highlight=False, soft_wrap=True, markup=False)  # names and paths may contain [brackets]
if console.is_jupyter:  # plain lines, not a block of HTML for each
    console = Console(highlight=False, soft_wrap=True, markup=False, force_jupyter=False, force_terminal=False)
if not console.is_terminal:
    console.width = PLAIN_WIDTH


def open_bar(*columns: ProgressColumn) -> Progress:
    """Return a progress bar, a context manager. It is shown on a terminal only, and removed at the end."""
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


def show_decoding(images: Iterable[Item], total: int) -> Iterator[Item]:
    """Yield `images`, and show meanwhile how many of `total` are decoded and, at the end, how fast."""
    console.print(f"decoding {format_count(total, 'image')} once (kept for later runs)", style="dim")
    start = time.perf_counter()
    rate = TextColumn("{task.fields[rate]:,.0f} images/s")
    with open_bar(rate) as progress:
        task = progress.add_task("decoding", total=total, rate=0.0)
        for count, image in enumerate(images, 1):
            if count % 64 == 0:
                progress.update(task, completed=count, rate=count / (time.perf_counter() - start))
            yield image
    seconds = time.perf_counter() - start
    speed = f"{total / seconds:,.0f} images/s"
    console.print(f"decoded {format_count(total, 'image')} in {seconds:.1f} s ({speed})", style="dim")


@contextlib.contextmanager
def show_transfer(description: str) -> Iterator[ShowTransfer]:
    """Show the progress of a download, as a bar or as one line for each tenth.

    Yields:
        A function of (bytes so far, bytes in total or None).
    """
    tenths = set[int]()

    def show(done: int, total: int | None) -> None:
        progress.update(task, completed=done, total=total)
        tenth = 10 * done // total if total else 0
        if tenth not in tenths and not console.is_terminal:
            console.print(f"{description}: {done / 1e6:,.0f} MB" + (f" of {total / 1e6:,.0f}" if total else ""))
        tenths.add(tenth)

    with open_bar(DownloadColumn(), TransferSpeedColumn()) as progress:
        task = progress.add_task(description, total=None)
        yield show


def show_table(table: Table) -> None:
    """Print a table."""
    shown = RichTable(box=None, pad_edge=False)
    for column in table.columns:
        shown.add_column(column.label, justify="right" if column.numeric else "left", overflow="fold")
    for row in table.rows:
        shown.add_row(*row)
    console.print(shown, soft_wrap=False)


def print_line(line: str | Text) -> None:
    """Print one line. On a terminal it is cut off at the right edge."""
    if console.is_terminal:
        console.print(line, no_wrap=True, overflow="ellipsis", soft_wrap=False)
    else:
        console.print(line)


def format_duration(seconds: float) -> str:
    """Return a number of seconds in a readable form: `8.1 s`, `2:05`, `1:02:05`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
