"""The report of a run or a sweep: report.html in its folder."""

import shlex
from pathlib import Path

from workbench.commandline.calls import format_call
from workbench.files import write_text
from workbench.finished_run import open_run
from workbench.reporting.run_page import build_run_page
from workbench.sweep.results import is_sweep


def write_report(folder: str | Path, output: str | Path | None = None) -> Path:
    """Draw the figures that a run folder has data for, and write its report.html.

    Args:
        folder: of the run.
        output: folder to write to in place of the run folder.

    Returns:
        Path of report.html.

    Raises:
        UserError: the folder is not a run folder, is that of a cross-validation, or is incomplete.
    """
    run = open_run(folder, output=output)
    run.check_is_single()
    if is_sweep(run.path):  # imported late: only a sweep's page needs Matplotlib and scikit-learn
        from workbench.reporting.sweep_page import build_sweep_page

        page = build_sweep_page(run)
    else:
        page = build_run_page(run)
    path = run.results_path / "report.html"
    write_text(path, page.render())
    return path


def leave_report(folder: str | Path, output: str | Path | None = None) -> str:
    """Write the report at the end of a run. An error in it must not make the run fail.

    Args:
        folder: of the run.
        output: folder to write to in place of the run folder.

    Returns:
        Path of report.html, or the reason why there is none.
    """
    try:
        return str(write_report(folder, output))
    except Exception as error:  # the run itself is finished and saved, whatever fails here
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return f"none ({reason}); try again with {format_call('workbench.report')} {shlex.quote(str(folder))}"
