"""The page that sets runs side by side: their test accuracy, whether they differ, and their curves."""

import asyncio
import dataclasses
import shlex
from collections.abc import Sequence

from nicegui import ui
from starlette.requests import Request

from workbench.app.catalogue import Entry
from workbench.app.elements.charts import ChartGrid
from workbench.app.elements.layout import PATIENCE, Text, add_command, add_notice, frame
from workbench.app.elements.report_section import add_table
from workbench.app.run_charts import build_comparison, build_time_curves
from workbench.app.state import AppState
from workbench.commandline.calls import format_call
from workbench.errors import UserError
from workbench.evaluation.comparison import ComparedRun, check_same_classes, compare_scores, read_curve
from workbench.evaluation.scoring import find_score
from workbench.finished_run import open_run
from workbench.reporting.charts import Chart
from workbench.reporting.comparison_page import build_results_table, format_verdict
from workbench.table import Table

_MAX_RUNS = 8


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What the page shows.

    Attributes:
        table: the runs' results; None if they cannot be compared.
        verdicts: one sentence for each run but the first.
        charts: of the runs.
        problems: why something is missing.
        untested: folders of the runs that have to be tested first.
    """

    table: Table | None
    verdicts: Sequence[str]
    charts: Sequence[Chart]
    problems: Sequence[str]
    untested: Sequence[str]


def add_page(state: AppState) -> None:
    """Add the page to the application."""

    @ui.page("/compare", response_timeout=PATIENCE)
    async def show(request: Request) -> None:
        names = [*dict.fromkeys(request.query_params.getlist("run"))]
        entries = [await asyncio.to_thread(state.catalogue.find, name) for name in names[:_MAX_RUNS]]
        found = [entry for entry in entries if entry]
        with frame("Compare runs", ""):
            Text("h1", "Runs side by side")
            if len(found) < 2:
                Text("p", "Tick two or more finished runs on the page Runs, then press Compare.")
                Text("a", "All runs and sweeps", href="/")
                return
            if len(names) > _MAX_RUNS:
                add_notice(f"Only the first {_MAX_RUNS} of the {len(names)} runs are compared.")
            comparison = await asyncio.to_thread(compare, found)
            for problem in comparison.problems:
                add_notice(problem)
            for folder in comparison.untested:
                add_command("Test it first:", f"{format_call('workbench.evaluate')} {shlex.quote(folder)}")
            if comparison.table:
                add_table(comparison.table, "run", shows_caption=False)
            for verdict in comparison.verdicts:
                Text("p", verdict)
            if comparison.charts:
                Text("h2", "In charts")
                ChartGrid().show(comparison.charts)


def compare(entries: Sequence[Entry]) -> Comparison:
    """Compare runs. What is missing, such as a test, becomes a sentence."""
    try:
        runs = [open_run(entry.path) for entry in entries]
        curves = [read_curve(opened) for opened in runs]
        check_same_classes(runs)
        scores = [find_score(opened) for opened in runs]
        tested = [score for score in scores if score]
        if len(tested) == len(runs):
            rows: list[ComparedRun] = compare_scores(runs, tested)
            verdicts = [format_verdict(row, rows[0]) for row in rows[1:]]
            return Comparison(build_results_table(rows), verdicts, build_comparison(rows, curves), [], [])
    except UserError as error:
        return Comparison(None, [], [], [str(error)], [])
    chart = build_time_curves([opened.name for opened in runs], curves)
    untested = [str(opened.path) for opened, score in zip(runs, scores, strict=True) if not score]
    problem = "Runs are compared by their test, and not all of these are tested."
    return Comparison(None, [], [chart] if chart else [], [problem], untested)
