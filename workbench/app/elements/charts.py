"""Charts on a live page: they are drawn by Plotly in the browser, and change in place."""

from collections.abc import Callable, Sequence

from nicegui import ui
from nicegui.events import GenericEventArguments

from workbench.app.elements.layout import Text
from workbench.reporting.charts import Chart


class ChartGrid:
    """A place for charts that may be shown again with other data. Charts that stay keep their zoom and brushes."""

    def __init__(self) -> None:
        self._grid = Text("div", classes="charts")
        self._shown: list[Chart] = []
        self._plots: dict[str, tuple[Text, Text, ui.plotly]] = {}

    def show(self, charts: Sequence[Chart]) -> None:
        """Show these charts. What the user has zoomed, brushed or reordered in a chart stays."""
        if [chart.id for chart in charts] != [chart.id for chart in self._shown]:
            self._grid.clear()
            self._plots = {}
            with self._grid:
                for chart in charts:
                    self._add(chart)
        else:
            for chart, before in zip(charts, self._shown, strict=True):
                if chart != before:
                    self._change(chart)
        self._shown = list(charts)

    def on_click(self, chart_id: str, handler: Callable[[int, int], None]) -> None:
        """Call a function with the column and the row of a cell that is clicked in a heat map."""

        def handle(event: GenericEventArguments) -> None:
            points = event.args.get("points") if isinstance(event.args, dict) else None
            number = points[0].get("pointNumber") if points else None
            if isinstance(number, list) and len(number) == 2:
                handler(int(number[1]), int(number[0]))

        self._plots[chart_id][2].on("plotly_click", handle)

    def _add(self, chart: Chart) -> None:
        with Text("figure", classes=f"chart {'wide' if chart.is_wide else ''}", id=f"chart-{chart.id}"):
            title = Text("h3", chart.title)
            with Text("div", classes="scroll", role="group", tabindex="0", aria_label=chart.title):
                plot = ui.plotly({**chart.figure, "layout": {**chart.figure["layout"], "uirevision": "kept"}})
                plot.classes("plot")
            caption = Text("figcaption", chart.caption)
        self._plots[chart.id] = title, caption, plot

    def _change(self, chart: Chart) -> None:
        title, caption, plot = self._plots[chart.id]
        title.text, caption.text = chart.title, chart.caption
        plot.update_figure({**chart.figure, "layout": {**chart.figure["layout"], "uirevision": "kept"}})
