"""Make the report of a run or a sweep: one HTML file with its figures, results and options."""

import sys

from workbench import cli
from workbench.commands import REPORT, ReportConfig

if __name__ == "__main__":  # parse first: the imports below are slow
    sys.exit(cli.main(REPORT))

import time
from pathlib import Path

from workbench.console import console
from workbench.reporting.run_report import write_report


def report(config: ReportConfig) -> Path:
    """Make the report of a run folder, and print its path.

    Returns:
        Path of report.html.

    Raises:
        UserError: the folder is not a run folder, or is incomplete.
    """
    start = time.perf_counter()
    path = write_report(config.run, config.out)
    size = path.stat().st_size / 1e6
    console.print(f"report: {path}   ({size:.1f} MB, made in {time.perf_counter() - start:.1f} s)")
    return path
