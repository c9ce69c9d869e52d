"""Compare finished runs on the same test images: accuracy with intervals, a paired test, time, size, curves."""

import sys

from workbench import cli
from workbench.commandline.calls import format_call
from workbench.commands import COMPARE, CompareConfig

if __name__ == "__main__":  # parse first: the imports below are slow
    sys.exit(cli.main(COMPARE))

import shlex
from collections.abc import Sequence
from pathlib import Path

from workbench.console import console, show_table
from workbench.devices.device import announce_device
from workbench.errors import UserError
from workbench.evaluation.comparison import ComparedRun, check_same_classes, compare_scores, read_curve
from workbench.evaluation.scoring import SavedScore, find_score, score_run
from workbench.files import write_csv, write_json
from workbench.finished_run import FinishedRun, open_run
from workbench.reporting.comparison_page import build_results_table, draw_comparison, format_verdict, write_page
from workbench.runtime import load_tensorflow


def compare(config: CompareConfig) -> list[ComparedRun]:
    """Compare runs that were tested on the same images. A run that has not been tested yet is tested first.

    Returns:
        One entry per run, in the given order. The output folder gets comparison.json, comparison.csv, comparison.png
        and report.html.

    Raises:
        UserError: there are fewer than two runs, a run cannot be opened, or they were tested on different images.
    """
    return compare_runs([open_run(path) for path in config.runs], config.output)


def compare_runs(runs: Sequence[FinishedRun], output: str) -> list[ComparedRun]:
    """Compare opened runs, see `compare`. `output` is the folder of the comparison."""
    if len({run.path.resolve() for run in runs}) < max(2, len(runs)):
        raise UserError(
            f"give at least two runs, and each only once; usage: {format_call('workbench.compare')} RUN RUN ..."
        )
    check_same_classes(runs)
    if not all(map(find_score, runs)):
        load_tensorflow()  # only here: tested runs are compared without TensorFlow
        announce_device()
    rows = compare_scores(runs, [_find_or_compute_score(run) for run in runs])

    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "comparison.json", rows)
    write_csv(folder / "comparison.csv", rows)
    draw_comparison(folder / "comparison.png", rows, [read_curve(run) for run in runs])
    command = (
        f"{format_call('workbench.compare')} {shlex.join([*map(str, (run.path for run in runs)), '--output', output])}"
    )
    page = write_page(folder, rows, command)

    show_table(build_results_table(rows))
    for row in rows[1:]:
        console.print(format_verdict(row, rows[0]))
    console.print(f"\ncomparison: {folder} (comparison.json, .csv, .png)\nreport:     {page}")
    return rows


def _find_or_compute_score(run: FinishedRun) -> SavedScore:
    """Return a run's saved score; without one, test the run now."""
    score = find_score(run)
    if score is None:
        console.print(f"testing {run.path}", style="dim")
        score_run(run)
        score = find_score(run)
    if score is None:
        raise UserError(f"{run.path}: its test results changed while they were read; try again")
    return score
