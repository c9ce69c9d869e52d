"""Charts on a live page: they are drawn by Plotly in the browser, and change in place."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from nicegui import ui
from nicegui.events import GenericEventArguments

from workbench.app.elements.layout import Text
from workbench.reporting.charts import Chart, Figure

_EMIT_AXES = """() => emit(document.querySelector(".plot:has(.parcoords)").data[0].dimensions.map(
  (axis) => ({ label: axis.label, brush: axis.constraintrange ?? null })))"""


class _Parts(NamedTuple):
    """The elements of a chart."""

    figure: Text
    title: Text
    caption: Text
    plot: ui.plotly


class ChartGrid:
    """A place for charts that may be shown again with other data. Charts that stay keep their zoom and brushes."""

    def __init__(self) -> None:
        self._grid = Text("div", classes="charts")
        self._shown: dict[str, Chart] = {}
        self._parts: dict[str, _Parts] = {}
        self._axes: dict[str, dict[str, Any]] = {}  # id of a chart -> label of an axis -> what is brushed

    def show(self, charts: Sequence[Chart]) -> None:
        """Show these charts. What the user has zoomed, brushed or reordered in a chart stays."""
        for name in self._shown.keys() - {chart.id for chart in charts}:
            self._parts.pop(name).figure.delete()
        for place, chart in enumerate(charts):
            if chart.id not in self._parts:
                with self._grid:
                    self._add(chart)
                self._parts[chart.id].figure.move(target_index=place)
            elif chart != self._shown[chart.id]:
                self._change(chart)
        self._shown = {chart.id: chart for chart in charts}

    def on_click(self, chart_id: str, handler: Callable[[int, int], None]) -> None:
        """Call a function with the column and the row of a cell that is clicked in a heat map."""

        def handle(event: GenericEventArguments) -> None:
            points = event.args.get("points") if isinstance(event.args, dict) else None
            number = points[0].get("pointNumber") if points else None
            if isinstance(number, list) and len(number) == 2:
                handler(int(number[1]), int(number[0]))

        self._parts[chart_id].plot.on("plotly_click", handle)

    def _add(self, chart: Chart) -> None:
        with Text("figure", classes=f"chart {'wide' if chart.is_wide else ''}", id=f"chart-{chart.id}") as figure:
            title = Text("h3", chart.title)
            with Text("div", classes="scroll", role="group", tabindex="0", aria_label=chart.title):
                plot = ui.plotly(self._make_figure(chart))
                plot.classes("plot")
                height = chart.figure["layout"].get("height")
                if height:
                    plot.style(f"height: {height}px")
                if _has_axes(chart):
                    plot.on("plotly_restyle", lambda event: self._keep_axes(chart.id, event), js_handler=_EMIT_AXES)
            caption = Text("figcaption", chart.caption)
        self._parts[chart.id] = _Parts(figure, title, caption, plot)

    def _change(self, chart: Chart) -> None:
        parts = self._parts[chart.id]
        parts.title.text, parts.caption.text = chart.title, chart.caption
        parts.plot.update_figure(self._make_figure(chart))

    def _keep_axes(self, chart_id: str, event: GenericEventArguments) -> None:
        """Remember the order of the axes of parallel coordinates, and what is brushed on each."""
        self._axes[chart_id] = {str(axis["label"]): axis["brush"] for axis in event.args}

    def _make_figure(self, chart: Chart) -> Figure:
        """Return the figure of a chart with what the user has changed in it.

        Plotly keeps zooms by itself, but not the axes of parallel coordinates.
        """
        if not _has_axes(chart):
            return {**chart.figure, "layout": {**chart.figure["layout"], "uirevision": "kept"}}
        axes, (trace,) = self._axes.get(chart.id, {}), chart.figure["data"]
        places = {label: place for place, label in enumerate(axes)}
        ordered = sorted(trace["dimensions"], key=lambda axis: places.get(axis["label"], len(places)))
        brushed = [{**axis, "constraintrange": axes.get(axis["label"])} for axis in ordered]
        return {**chart.figure, "data": [{**trace, "dimensions": brushed}]}


def _has_axes(chart: Chart) -> bool:
    """Return whether a chart shows parallel coordinates."""
    return bool(chart.figure["data"][0]["type"] == "parcoords")
