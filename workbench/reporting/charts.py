"""Interactive charts, for the live pages and for report pages: figures of Plotly as JSON values, and its script.

A figure is the dictionary that plotly.js takes, so that nothing has to be imported to build one. Text in it must be
escaped with `escape`, because plotly.js reads some HTML in labels.
"""

import dataclasses
import html
import importlib.util
from pathlib import Path
from typing import Any

Figure = dict[str, Any]  # keys `data`, `layout` and `config` of plotly.js
FONT = {"family": "system-ui, 'Segoe UI', Roboto, 'Noto Sans', sans-serif", "size": 13, "color": "#1b1f24"}
LINE = "#d8dee4"
CONFIG = {"displaylogo": False, "responsive": True, "displayModeBar": False, "scrollZoom": False}


@dataclasses.dataclass(frozen=True)
class Chart:
    """An interactive chart.

    Attributes:
        id: short name, different for each chart of a page.
        title, caption: its words.
        figure: for plotly.js.
        is_wide: whether it needs the whole width of a page.
    """

    id: str
    title: str
    caption: str
    figure: Figure
    is_wide: bool = False


def escape(text: object) -> str:
    """Return text for a label of a figure, without the HTML that plotly.js would read."""
    return html.escape(str(text), quote=False)


def make_figure(data: list[dict[str, Any]], **layout: Any) -> Figure:
    """Return a figure of traces in the style of all charts; `layout` holds further keys of plotly.js."""
    style = {
        "font": FONT,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 60, "r": 20, "t": 20, "b": 50},
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "bgcolor": "#ffffff", "font": FONT, "bordercolor": "#8c959f"},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
    }
    return {"data": data, "layout": {**style, **layout}, "config": CONFIG}


def make_axis(title: str, **values: Any) -> dict[str, Any]:
    """Return an axis with a title; `values` holds further keys of plotly.js."""
    label = {"text": escape(title), "standoff": 8}
    return {"title": label, "gridcolor": LINE, "linecolor": LINE, "zeroline": False, "automargin": True, **values}


def read_script() -> str | None:
    """Return plotly.js, which a page contains once; None where the library is not installed."""
    spec = importlib.util.find_spec("plotly")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "package_data" / "plotly.min.js"
    return path.read_text(encoding="utf-8") if path.exists() else None
