"""Make the page of a run or a sweep: one HTML file with its figures, results and settings, readable anywhere."""

import dataclasses
import shlex
import time

from workbench import cli
from workbench.files import write_text
from workbench.finished_run import open_run

SWEEP_FIGURES = ("sweep_progress", "sweep_parallel", "sweep_importance", "sweep_effects", "sweep_pareto")
CURVES = "learning_curves"


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """Report.

    Args:
        run: Folder of a run or a sweep, finished or not.
    """

    run: str | None = cli.positional()


def report(config):
    """Make the page of a run folder, and say where it is.

    Args:
        config: a `ReportConfig`.

    Returns:
        Path of report.html.

    Raises:
        UserError: the folder is no run's or is not complete.
    """
    from workbench.console import console

    start = time.perf_counter()
    path = write_report(config.run)
    size = path.stat().st_size / 1e6
    console.print(f"report: {path}   ({size:.1f} MB, made in {time.perf_counter() - start:.1f} s)")
    return path


def write_report(folder):
    """Draw what can be drawn from a run folder, and write its report.html.

    Returns:
        Path of report.html.

    Raises:
        UserError: the folder is no run's or is not complete.
    """
    from workbench.sweep.results import is_sweep

    run = open_run(folder)
    page = _sweep_page(run) if is_sweep(run.path) else _run_page(run)
    path = run.path / "report.html"
    write_text(path, page.html())
    return path


def leave_report(folder):
    """Make the page at the end of a run that must not fail on its account.

    Returns:
        The path as text, or why there is none.
    """
    try:
        return str(write_report(folder))
    except Exception as error:  # whatever it is, the run itself is done and whole
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return f"none ({reason}); again with python -m workbench.report {shlex.quote(str(folder))}"


def _sweep_page(run):
    from workbench.reporting import page, sweep_page
    from workbench.reporting import run_page as parts
    from workbench.sweep.figures.overview import draw_figures
    from workbench.sweep.results import read_results

    results, metrics = read_results(run.path), run.metrics
    figures = page.pictures(draw_figures(results, run.path / "figures"))
    return page.Page(
        title=run.path.resolve().name,
        lead=sweep_page.describe_sweep(results, run),
        notices=sweep_page.list_notices(results, metrics, (run.path / "best.yaml").exists()),
        tiles=[*sweep_page.build_tiles(results), *parts.test_tiles(metrics)],
        sections=[
            sweep_page.build_winner_section(results, run, metrics),
            page.Section("search", "The search", figures=figures),
            sweep_page.build_trials_section(results, run),
            *_model_sections(run, metrics, parts.read_history(run)),
        ],
        command=_command(run),
    )


def _run_page(run):
    from workbench.reporting import page
    from workbench.reporting import run_page as parts

    rows, metrics = parts.read_history(run), run.metrics
    return page.Page(
        title=run.path.resolve().name,
        lead=parts.run_lead(run),
        notices=parts.run_notices(run, rows, metrics),
        tiles=[*parts.run_tiles(rows, metrics), *parts.test_tiles(metrics)],
        sections=_model_sections(run, metrics, rows),
        command=_command(run),
    )


def _model_sections(run, metrics, rows):
    """What there is about a run's model: training, test, explanations, settings, what comes next."""
    from workbench.reporting import run_page as parts
    from workbench.reporting.curves import draw_curves
    from workbench.reporting.page import Section, pictures

    folder = run.path / "figures"
    if len(rows) > 1:
        folder.mkdir(exist_ok=True)
        draw_curves(rows, folder / f"{CURVES}.png")
    known = {*SWEEP_FIGURES, CURVES, *parts.TEST_FIGURES}
    seen = pictures(path for path in sorted(folder.glob("*.png"), key=parts.insight_order) if path.stem not in known)
    test = [folder / f"{name}.png" for name in parts.TEST_FIGURES]
    return [
        parts.training_section(pictures([folder / f"{CURVES}.png"]) if len(rows) > 1 else []),
        parts.test_section(metrics, pictures(test)),
        Section("insight", "What the network sees", figures=seen),
        parts.next_section(run, metrics, bool(seen)),
        parts.settings_section(run),
    ]


def _command(run):
    return f"python -m workbench.report {shlex.quote(str(run.path))}"


def main(argv=None):
    """Run the command line."""
    cli.main(report, ReportConfig, prog="python -m workbench.report", description=__doc__, argv=argv)


if __name__ == "__main__":
    main()
