"""The parts of the page that only a sweep has."""

import collections
import shlex

from workbench.console import duration
from workbench.reporting.page import Column, Command, Section, Table, Tile
from workbench.sweep.figures.style import running_time
from workbench.sweep.progress import short

_MAX_IDS = 8  # trials named for a reason
_RESULTS = (
    # column, label, how it is written
    ("val_accuracy", "val acc", lambda value: f"{value:.1%}"),
    ("val_loss", "val loss", lambda value: f"{value:#.4g}"),
    ("accuracy", "train acc", lambda value: f"{value:.1%}"),
    ("epochs", "epochs", str),
    ("seconds", "seconds", lambda value: f"{value:.1f}"),
    ("parameters", "parameters", lambda value: f"{value:,}"),
)


def sweep_lead(trials, run):
    """The sweep in a sentence."""
    data, tuner = run.config.get("data", "?"), run.config.get("tuner", "grid")
    return f"A {tuner} search over {len(trials.parameters)} hyperparameters on {data}, {len(run.class_names)} classes."


def sweep_notices(trials, metrics, has_winner):
    """What a reader of the page must know about how far the sweep is."""
    if not len(trials):
        return ["No trial has ended yet."]
    if not trials.scored:
        return ["Every trial has failed; the table says why."]
    if not has_winner:
        return ["The sweep has not come to its end: this is how it stood when the page was made."]
    newer = len(trials) - (metrics.get("trials") or len(trials))
    if newer > 0:
        return [f"The sweep went on: {newer:,} trials are newer than the saved model."]
    return []


def sweep_tiles(trials):
    """The sweep in four numbers."""
    pruned = sum(trial.status == "pruned" for trial in trials.scored)
    tiles = []
    if trials.scored:
        best = trials.scored[0]
        tiles.append(Tile(f"best {trials.metric_name}", trials.text(best.score), f"trial {best.id}"))
    note = f"of {trials.points:,} points; {len(trials.failed):,} failed, {pruned:,} pruned"
    tiles.append(Tile("trials", f"{len(trials):,}", note))
    ends = running_time([*trials.scored, *trials.failed])
    if ends:
        seconds = max(ends.values())
        rate = f"{len(ends) / seconds * 3600:,.0f} trials an hour" if seconds else ""
        tiles.append(Tile("time", duration(seconds), rate))
    if trials.scored and trials.scored[0].results["parameters"]:
        tiles.append(Tile("parameters", f"{trials.scored[0].results['parameters']:,}", "of the best trial's network"))
    return tiles


def winner_section(trials, run, metrics):
    """The best trial's values, and the command that trains it again."""
    path = run.path / "best.yaml"
    heading = "Winner" if path.exists() else "Best so far"
    if not trials.scored:
        return Section("winner", heading)
    best, commands = trials.scored[0], []
    if path.exists() and "train_module" in metrics:
        line = f"python -m {metrics['train_module']} --config {shlex.quote(str(path))}"
        commands.append(Command("Train the saved winner again:", line))
    values = {name: short(value) for name, value in {**best.values, **trials.fixed}.items()}
    epoch = f"{best.results['best_epoch']} of {best.results['epochs']}"
    text = f"Trial {best.id}: {trials.text(best.score)} {trials.metric_name}, from epoch {epoch}."
    return Section("winner", heading, text, commands, values)


def trials_section(trials, run):
    """The table of all trials, the best first, the failed ones last with their reasons."""
    everyone = [*trials.scored, *trials.failed]
    if not everyone:
        return Section("trials", "Trials")
    names = [name for name in trials.parameters if name != "epochs"]  # that is a result too
    numbers = [all(_is_number(short(trial.values[name])) for trial in everyone) for name in names]
    columns = [Column("trial"), Column("status", False), *(Column(label) for _, label, _ in _RESULTS)]
    columns += [Column(name, numeric) for name, numeric in zip(names, numbers, strict=True)]
    if trials.failed:
        columns.append(Column("reason", False))
    rows = []
    for trial in everyone:
        results = [_written(trial.results[name], write) for name, _, write in _RESULTS]
        reason = [trial.reason] if trials.failed else []
        rows.append([trial.id, trial.status, *results, *(short(trial.values[name]) for name in names), *reason])
    caption = f"{len(everyone):,} trials, the best first; a column's name sorts by it"
    table = Table(caption, columns, rows, where=str(run.path / "trials.csv"))
    return Section("trials", "Trials", tables=[table, *_reasons(trials)])


def _reasons(trials):
    """Why trials failed, the most frequent reason first, as a table; none where none failed."""
    which = collections.defaultdict(list)
    for trial in trials.failed:
        which[trial.reason].append(trial.id)
    rows = [[reason, f"{len(ids):,}", _listed(ids)] for reason, ids in which.items()]
    rows.sort(key=lambda row: -len(which[row[0]]))
    columns = [Column("reason", False), Column("trials"), Column("which", False)]
    return [Table(f"Why {len(trials.failed):,} trials failed", columns, rows)] if rows else []


def _listed(ids):
    return " ".join(ids[:_MAX_IDS]) + (" ..." if len(ids) > _MAX_IDS else "")


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def _written(value, write):
    return "" if value is None else write(value)
