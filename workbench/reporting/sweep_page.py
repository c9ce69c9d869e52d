"""The report page of a sweep: its search, its trials, its winner and the winner's model."""

import collections
import shlex
from collections.abc import Mapping
from typing import Any

from workbench.commandline.calls import format_call
from workbench.console import format_duration
from workbench.finished_run import FinishedRun
from workbench.reporting.page import Command, Page, Section, Tile, load_pictures
from workbench.reporting.run_page import (
    build_model_sections,
    build_test_tiles,
    list_leak_notices,
    read_model_history,
    report_command,
)
from workbench.reporting.sweep_statistics import (
    build_expected_tile,
    build_repeats_section,
    build_statistics_section,
)
from workbench.sweep.analysis.sweep_analysis import analyse_sweep
from workbench.sweep.figures.importance import estimate_importance
from workbench.sweep.figures.interactive import build_charts
from workbench.sweep.figures.overview import draw_figures
from workbench.sweep.results import (
    RESULT_COLUMNS,
    SweepResults,
    TrialResult,
    format_value,
    has_endless_space,
    measure_running_time,
    read_results,
)
from workbench.table import Column, Table
from workbench.wording import agree, format_count

_MAX_IDS = 8  # trials that are listed for one reason of failure


def build_sweep_page(run: FinishedRun) -> Page:
    """Build the page of a sweep, finished or not.

    Raises:
        UserError: the sweep's description cannot be read.
    """
    results, metrics = read_results(run.path), run.metrics
    importance, analysis = estimate_importance(results), analyse_sweep(run.path, results)
    figures = load_pictures(draw_figures(results, importance, run.results_path / "figures"))
    return Page(
        title=run.name,
        lead=_describe_sweep(results, run),
        notices=[
            *_list_notices(results, metrics, has_winner=(run.path / "best.yaml").exists()),
            *list_leak_notices(run),
        ],
        tiles=[
            *_build_tiles(results, run),
            *([build_expected_tile(analysis)] if analysis else []),
            *build_test_tiles(run, metrics),
        ],
        sections=[
            _build_winner_section(results, run, metrics),
            *([build_statistics_section(analysis, run.path)] if analysis else []),
            build_repeats_section(run.path),
            Section("search", "The search", figures=figures),
            Section("explore", "Explore the trials", charts=build_charts(results, importance)),
            _build_trials_section(results, run),
            *build_model_sections(run, metrics, read_model_history(run)),
        ],
        command=report_command(run),
    )


def _describe_sweep(results: SweepResults, run: FinishedRun) -> str:
    """Return one sentence that describes the sweep."""
    data, tuner = run.config.get("data", "?"), run.config.get("tuner", "grid")
    what = format_count(len(results.parameters), "hyperparameter")
    return f"A {tuner} search over {what} on {data}, {len(run.class_names)} classes."


def _list_notices(results: SweepResults, metrics: Mapping[str, Any], has_winner: bool) -> list[str]:
    """Return what a reader of the page must know about the state of the sweep.

    Args:
        results: the finished trials.
        metrics: content of metrics.json.
        has_winner: whether the best trial's configuration is saved, which happens at the end of the sweep.
    """
    if not len(results):
        return ["No trial has finished yet."]
    if not results.scored:
        return ["All trials have failed. The table below gives the reasons."]
    if not has_winner:
        return ["The sweep is not finished. This page shows its state at the time when the page was made."]
    newer = len(results) - (metrics.get("trials") or len(results))
    if newer > 0:
        trials_are = f"{format_count(newer, 'trial')} {agree(newer, 'is', 'are')}"
        return [f"The sweep was continued: {trials_are} newer than the saved model."]
    return []


def _build_tiles(results: SweepResults, run: FinishedRun) -> list[Tile]:
    """Return the most important numbers of a sweep: best score, trials, time, parameters of the best network."""
    pruned = sum(trial.status == "pruned" for trial in results.scored)
    best, tiles = results.best, []
    if best and best.score is not None:
        tiles.append(Tile(f"best {results.metric_name}", results.format_score(best.score), f"trial {best.id}"))
    note = f"{len(results.failed):,} failed, {pruned:,} pruned"
    if not has_endless_space(run.path, run.config):
        note = f"of {format_count(results.num_points, 'point')}; {note}"
    tiles.append(Tile("trials", f"{len(results):,}", note))
    ends = measure_running_time(results.trials)
    if ends:
        seconds = max(ends.values())
        rate = f"{format_count(round(len(ends) / seconds * 3600), 'trial')} an hour" if seconds else ""
        tiles.append(Tile("time", format_duration(seconds), rate))
    if best and best.parameters:
        tiles.append(Tile("parameters", f"{best.parameters:,}", "of the best trial's network"))
    return tiles


def _build_winner_section(results: SweepResults, run: FinishedRun, metrics: Mapping[str, Any]) -> Section:
    """Return the section with the best trial's values and the command that trains it again."""
    path = run.path / "best.yaml"
    heading = "Winner" if path.exists() else "Best so far"
    best, commands = results.best, []
    if best is None or best.score is None:
        return Section("winner", heading)
    if path.exists() and "train_module" in metrics:
        line = f"{format_call(metrics['train_module'])} --config {shlex.quote(str(path))}"
        commands.append(Command("Train the saved winner again:", line))
    values = {name: format_value(value) for name, value in {**best.values, **results.fixed}.items()}
    score = f"{results.format_score(best.score)} {results.metric_name}"
    text = f"Trial {best.id}: {score}, from epoch {best.best_epoch} of {best.epochs}."
    return Section("winner", heading, text, commands, values)


def _build_trials_section(results: SweepResults, run: FinishedRun) -> Section:
    """Return the section with the table of all trials, the best first, and the failed ones last with their reasons."""
    trials = results.trials
    if not trials:
        return Section("trials", "Trials")
    names = [name for name in results.parameters if name != "epochs"]  # its column is among the results
    columns = [Column("trial"), Column("status", False), *(Column(column.label) for column in RESULT_COLUMNS)]
    columns += [Column(name, all(_is_number(format_value(trial.values[name])) for trial in trials)) for name in names]
    if results.failed:
        columns.append(Column("reason", False))
    caption = f"{format_count(len(trials), 'trial')}, the best first. Click on a column's name to sort by it."
    rows = [_build_row(trial, names, has_reason=bool(results.failed)) for trial in trials]
    table = Table(caption, columns, rows, where=str(run.path / "trials.csv"))
    return Section("trials", "Trials", tables=[table, *_tabulate_failures(results)])


def _build_row(trial: TrialResult, names: list[str], *, has_reason: bool) -> list[str]:
    cells = [column.write(trial) for column in RESULT_COLUMNS]
    values = [format_value(trial.values[name]) for name in names]
    return [trial.id, trial.status, *cells, *values, *([trial.reason] if has_reason else [])]


def _tabulate_failures(results: SweepResults) -> list[Table]:
    """Return a table of the reasons of failures, the most frequent first; no table if no trial has failed."""
    if not results.failed:
        return []
    ids: dict[str, list[str]] = collections.defaultdict(list)
    for trial in results.failed:
        ids[trial.reason].append(trial.id)
    by_count = sorted(ids.items(), key=lambda item: -len(item[1]))
    rows = [[reason, f"{len(found):,}", _format_ids(found)] for reason, found in by_count]
    columns = [Column("reason", False), Column("trials"), Column("which", False)]
    return [Table(f"Why {format_count(len(results.failed), 'trial')} failed", columns, rows)]


def _format_ids(ids: list[str]) -> str:
    return " ".join(ids[:_MAX_IDS]) + (" ..." if len(ids) > _MAX_IDS else "")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
