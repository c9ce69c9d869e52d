"""The help text of a command: plain text in two columns that fits the terminal's width."""

import re

from cyclopts.help import HelpEntry, HelpPanel
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

_NAMES = 29  # characters of the column that names the options
_WIDEST = 110  # longer lines are hard to read


class HelpText:
    """Prints what cyclopts collects for a help text. Cyclopts' own formatters draw boxes or do not indent."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print one group of options, or the list of sub-commands."""
        if not panel.entries:
            return
        table = Table.grid(padding=(0, 1, 0, 0))
        is_list = panel.format == "command"
        table.add_column(width=None if is_list else _NAMES, no_wrap=is_list)
        table.add_column()
        for entry in panel.entries:
            table.add_row(f"  {_name(entry)}", _describe(entry))
        _print(console, f"{panel.title}:")
        _print_wrapped(console, table)

    def render_usage(self, console: Console, options: ConsoleOptions, usage: RenderableType) -> None:
        """Print how the command is called."""
        _print(console, f"usage: {usage}")

    def render_description(self, console: Console, options: ConsoleOptions, description: RenderableType) -> None:
        """Print what the command does."""
        _print_wrapped(console, description)


def _print(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)


def _print_wrapped(console: Console, content: RenderableType) -> None:
    """Print a paragraph or a table, wrapped at the terminal's width, without the spaces that rich fills lines with."""
    with console.capture() as captured:
        console.print(content, width=min(console.width, _WIDEST), highlight=False)
    _print(console, "\n".join(line.rstrip() for line in captured.get().rstrip().split("\n")) + "\n")


def _name(entry: HelpEntry) -> str:
    """Return `RUN`, `--image-size INT` or `--data-aug`."""
    value = re.sub(r"(\w+)\.\.\.", r"[\1,...]", entry.metavar or "")  # a list is given as [3,3,5]
    return value if entry.positional_label else " ".join([*entry.positive_names, value])


def _describe(entry: HelpEntry) -> Text:
    """Return what an option does, and its default."""
    text = Text(str(getattr(entry.description, "primary_renderable", entry.description) or ""))
    if entry.default == "True":
        text.append(f" (default: yes; {' '.join(entry.negative_names)} turns it off)")
    elif entry.default:
        text.append(f" (default: {entry.default})")
    return text
