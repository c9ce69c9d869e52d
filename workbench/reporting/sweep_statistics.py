"""The part of a sweep's page about new images: what its winner is worth, which trials equal it, and an ensemble."""

import shlex
from pathlib import Path

from workbench.commandline.calls import format_call
from workbench.reporting.page import Command, Section, Tile
from workbench.sweep.analysis.repeated_trial import read_repeats
from workbench.sweep.analysis.sweep_analysis import EqualTrial, SweepAnalysis, TrialEnsemble
from workbench.table import Column, Table
from workbench.wording import format_count


def build_expected_tile(analysis: SweepAnalysis) -> Tile:
    """Return the accuracy to expect on new images, with its interval."""
    found = analysis.honest_winner
    return Tile("expected on new images", f"{found.expected:.1%}", f"{found.low:.1%} to {found.high:.1%}")


def build_statistics_section(analysis: SweepAnalysis, sweep: Path) -> Section:
    """Return the section with the winner on new images, the trials that equal it, and the ensemble."""
    commands = []
    ensemble = analysis.describe_ensemble()
    if ensemble and analysis.ensemble and analysis.ensemble.gain > 0:
        line = f"{format_call('workbench.export')} {shlex.quote(str(sweep))} --ensemble"
        commands.append(Command("Export the ensemble as one model:", line))
    tables = [_tabulate_equal(analysis)] if analysis.equal else []
    if analysis.ensemble and ensemble:
        tables.append(_tabulate_ensemble(analysis.ensemble))
    lines = [_explain_winner(analysis), _explain_equal(analysis), ensemble and _explain_ensemble(ensemble)]
    return Section("new-images", "On new images", "\n".join(filter(None, lines)), commands, tables=tables)


def build_repeats_section(sweep: Path) -> Section:
    """Return the section with the best trials that were trained again with other seeds; empty without them."""
    repeated = read_repeats(sweep)
    if not repeated:
        return Section("repeats", "Other seeds")
    text = (
        "The best trials are trained again with other seeds, and validated on the same images. The score in the sweep "
        "was chosen because it was high; these are not."
    )
    lines = [text, *(f"{_capitalize(trial.describe())}." for trial in repeated)]
    if any(trial.unfinished for trial in repeated):
        lines.append(
            "If the repeats were stopped, the same command continues them, and leaves finished ones as they are."
        )
    return Section("repeats", "Other seeds", "\n".join(lines))


def _explain_winner(analysis: SweepAnalysis) -> str:
    found = analysis.honest_winner
    missing = analysis.trials - found.trials
    line = (
        f"{_capitalize(analysis.describe_winner())}. The best of many trials is partly the luckiest on the "
        f"{format_count(found.images, 'validation image')}, so its accuracy there is too good. The expected accuracy "
        "comes from a bootstrap, which chooses the best trial on resampled images and scores it on the others. In 95 "
        f"of 100 such sweeps the accuracy on {format_count(found.new_images, 'new image')} of the same kind is in the "
        "interval. The choice of each trial's best epoch is not part of it."
    )
    return f"{line} {format_count(missing, 'trial')} of an earlier call left no predictions." if missing else line


def _explain_equal(analysis: SweepAnalysis) -> str:
    line = f"{_capitalize(analysis.describe_equal())}."
    if not analysis.equal:
        return line
    return (
        f"{line} Each trial was compared with the winner, trial {analysis.winner}, on the same images (McNemar's exact "
        "test, with Holm's correction for the number of trials, 5 %)."
    )


def _explain_ensemble(line: str) -> str:
    return (
        f"{_capitalize(line)}. It averages the probabilities of several trials, which were selected one after the "
        "other. The interval comes from a bootstrap that repeats the selection."
    )


def _tabulate_equal(analysis: SweepAnalysis) -> Table:
    columns = [
        Column("trial"),
        Column("val acc"),
        Column("only winner right"),
        Column("only trial right"),
        Column("p"),
        Column("p (Holm)"),
        Column("parameters"),
        Column("seconds"),
    ]
    caption = f"{format_count(len(analysis.equal), 'trial')} not distinguishable from the winner"
    return Table(caption, columns, [_build_row(trial) for trial in analysis.equal])


def _build_row(trial: EqualTrial) -> list[str]:
    return [
        trial.trial,
        f"{trial.accuracy:.1%}",
        str(trial.only_winner),
        str(trial.only_trial),
        f"{trial.p:.3f}",
        f"{trial.p_adjusted:.3f}",
        "" if trial.parameters is None else f"{trial.parameters:,}",
        "" if trial.seconds is None else f"{trial.seconds:.1f}",
    ]


def _tabulate_ensemble(ensemble: TrialEnsemble) -> Table:
    rows = [[trial, f"{weight:.0%}"] for trial, weight in ensemble.weights.items()]
    caption = (
        f"The ensemble: {ensemble.accuracy:.1%} on the validation images, the best single trial of it "
        f"{ensemble.single:.1%}"
    )
    return Table(caption, [Column("trial"), Column("weight")], rows)


def _capitalize(line: str) -> str:
    return line[:1].upper() + line[1:]
