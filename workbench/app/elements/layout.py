"""The frame of every page, and the small elements that they share: text, notices, tiles, commands."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from nicegui import ui
from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement

from workbench.errors import UserError
from workbench.failures import describe_failure
from workbench.reporting import templates

_STYLES = (Path(templates.__file__).parent / "colours.css", Path(__file__).parent / "app.css")
PATIENCE = 60  # seconds that a page may take to be built, such as from 500 runs on a slow disk
_COPY = """(event) => {
  getSelection().selectAllChildren(event.target.previousElementSibling);
  if (document.execCommand("copy")) emit();
}"""  # the newer way is allowed only at localhost and with https
_PAGES = (("Runs", "/"), ("Try it", "/try"), ("Data", "/data"))


class Text(TextElement):
    """An HTML element with text, which is escaped.

    Args:
        tag: of the element.
        text: what it says.
        classes: CSS classes.
        attributes: of the element; `aria_label` is `aria-label`.
    """

    def __init__(self, tag: str, text: str = "", classes: str = "", **attributes: Any) -> None:
        super().__init__(tag=tag, text=text)
        self.classes(classes)
        for name, value in attributes.items():
            self.props[name.replace("_", "-")] = value


@contextlib.contextmanager
def frame(title: str, current: str) -> Iterator[None]:
    """Show the head of a page, and yield where its content belongs.

    Args:
        title: of the page; also its heading.
        current: address of the page among those of the head.
    """
    for style in _STYLES:
        ui.add_css(style)
    ui.page_title(f"{title} · image-workbench")
    with ui.header(elevated=False), Text("nav", classes="top", aria_label="Pages"):
        Text("span", "image-workbench", "brand")
        for name, href in _PAGES:
            link = Text("a", name, href=href)
            if href == current:
                link.props["aria-current"] = "page"
    with Text("div", classes="page"):
        yield


def add_notice(text: str, kind: str = "") -> Text:
    """Add a sentence that the reader must not miss.

    Args:
        text: the sentence.
        kind: `bad` for what is broken.
    """
    return Text("p", text, f"notice {kind}", role="status")


def describe_problem(error: Exception) -> str:
    """Return one line about any error, such as of a model for which the memory is too small."""
    if isinstance(error, UserError):
        return str(error)
    known = describe_failure(error, ())
    return known or f"this cannot be computed ({type(error).__name__}: {' '.join(str(error).split())})"[:300]


def add_tiles(tiles: Sequence[tuple[str, str, str]]) -> None:
    """Add the most important numbers: (label, value, note) of each."""
    with Text("dl", classes="tiles"):
        for label, value, note in tiles:
            with Text("div"):
                Text("dt", label)
                Text("dd", value, "value")
                Text("dd", note, "note")


def add_command(what: str, line: str) -> None:
    """Add a command line, which can be copied, and its purpose."""
    with Text("div", classes="step"):
        Text("span", what)
        with Text("div", classes="command"):
            Text("code", line)
            button = Text("button", "Copy", "button", type="button", aria_label=f"Copy the command: {what}")
            button.on("click", lambda: ui.notify("Copied"), js_handler=_COPY)


def add_button(label: str, on_click: Any, kind: str = "", **attributes: Any) -> Text:
    """Add a button; `kind` is `primary` or `danger`."""
    button = Text("button", label, f"button {kind}", type="button", **attributes)
    button.on("click", on_click)
    return button


def add_choice(label: str, options: Sequence[str], chosen: str, on_change: Any) -> Element:
    """Add a labelled list of which one entry is chosen; `on_change` is called with an event whose `args` is the entry.

    Args:
        label: what is chosen.
        options: the entries.
        chosen: the one that is chosen at first.
        on_change: called with the event.
    """
    with Text("label", classes="choice"):
        Text("span", label)
        with Text("select") as select:
            for option in options:
                entry = Text("option", option or "(none)", value=option)
                if option == chosen:
                    entry.props["selected"] = True
        select.on("change", on_change, js_handler="(event) => emit(event.target.value)")
    return select


def add_empty(text: str, commands: Sequence[tuple[str, str]] = ()) -> None:
    """Add what is shown where there is nothing yet: a sentence, and commands as (purpose, line)."""
    with Text("div", classes="empty"):
        Text("p", text)
        for what, line in commands:
            add_command(what, line)
