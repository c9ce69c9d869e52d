"""The parts of the page that every run has: its model's training, its test, its settings, what to do next."""

import shlex

from workbench.console import duration
from workbench.evaluate import model_digest
from workbench.files import read_csv, read_json
from workbench.reporting.page import Column, Command, Section, Table, Tile
from workbench.sweep.results import format_value

TEST_FIGURES = ("prediction_grid", "confusion_matrix", "per_class", "reliability", "most_wrong")
_INSIGHTS = (
    *("filters", "first_feature_maps", "feature_maps", "maximised"),
    *("guided_backprop", "gradcam", "integrated_gradients"),
)
_EPOCH = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "seconds")
_MAX_PAIRS = 10


def read_history(run):
    """The epochs of a run's model as rows of numbers: history.csv or, of a sweep, the winner's."""
    rows = read_csv(run.path / "history.csv")
    if not rows:
        trial = run.metrics.get("trial")
        rows = (read_json(run.path / "tuner" / f"trial_{trial}" / "result.json") or {}).get("history", [])
    try:
        return [{name: float(row[name]) for name in _EPOCH} for row in rows]
    except (TypeError, ValueError, KeyError):  # torn, or another program's
        return []


def run_lead(run):
    """The run in a sentence."""
    size = f" at {run.config['image_size']} px" if run.config.get("image_size") else ""
    return f"A classifier of {len(run.class_names)} classes, trained on {run.config.get('data', '?')}{size}."


def run_notices(run, rows, metrics):
    """What a reader of the page must know about how far the training is."""
    if metrics:
        return []
    epochs = run.config.get("epochs", "?")
    return [f"The training has not come to its end: {len(rows)} of {epochs} epochs are done."]


def run_tiles(rows, metrics):
    """The training in a few numbers."""
    if not rows:
        return []
    best = max(rows, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    points = 100 * (best["accuracy"] - best["val_accuracy"])
    gap = f"{abs(points):.1f} points {'above' if points > 0 else 'below'} validation"
    tiles = [
        Tile("validation accuracy", f"{best['val_accuracy']:.1%}", f"epoch {best['epoch']:.0f} of {len(rows)}"),
        Tile("training accuracy", f"{best['accuracy']:.1%}", gap),
    ]
    if "parameters" in metrics:
        adds = metrics.get("multiply_adds")
        tiles.append(
            Tile("parameters", f"{metrics['parameters']:,}", f"{adds / 1e6:,.1f} million multiply-adds" if adds else "")
        )
    seconds = sum(row["seconds"] for row in rows)
    speed = metrics.get("images_per_second")
    return [*tiles, Tile("training time", duration(seconds), f"{speed:,.0f} images/s" if speed else "")]


def test_tiles(metrics):
    """The test's accuracy, where there is one."""
    test = metrics.get("test")
    if not test:
        return []
    low, high = test["accuracy_interval"]
    return [Tile("test accuracy", f"{test['accuracy']:.1%}", f"95 % interval {low:.1%} to {high:.1%}")]


def training_section(figures):
    """The learning curves."""
    return Section("training", "Training", figures=figures)


def test_section(metrics, figures):
    """What the model is worth on images that nothing was tuned on."""
    test = metrics.get("test")
    if not test:
        return Section("test", "Test")
    text = (
        f"{test['images']:,} images that neither training nor any choice has seen: top-1 {test['accuracy']:.1%}, "
        f"top-{test['top_k']} {test['top_k_accuracy']:.1%}, calibration error {test['ece']:.1%}."
    )
    columns = [Column("class", False), Column("images"), Column("precision"), Column("recall"), Column("F1")]
    rows = [
        [row["class"], f"{row['images']:,}", f"{row['precision']:.1%}", f"{row['recall']:.1%}", f"{row['f1']:.3f}"]
        for row in test["per_class"]
    ]
    tables = [Table("Each class", columns, rows)]
    if test["confused"]:
        columns = [Column("true class", False), Column("taken for", False), Column("images")]
        pairs = [[pair["true"], pair["predicted"], f"{pair['count']:,}"] for pair in test["confused"][:_MAX_PAIRS]]
        tables.append(Table("What is confused most", columns, pairs))
    return Section("test", "Test", text, figures=figures, tables=tables)


def insight_order(path):
    """Where a figure of the network's inside stands: from the first filter to the last decision, others after."""
    places = [place for place, name in enumerate(_INSIGHTS) if path.stem.startswith(name)]
    return (places or [len(_INSIGHTS)])[0], path.stem


def settings_section(run):
    """config.yaml."""
    values = {name: "none" if value is None else format_value(value) for name, value in run.config.items()}
    return Section("settings", "Settings", values=values)


def next_section(run, metrics, has_explanations):
    """Commands that would add to the page, and the one that trains the run again."""
    if not (run.path / "model.keras").exists():
        return Section("next", "What can be done next")
    folder, commands = shlex.quote(str(run.path)), []
    if not metrics.get("test"):
        what = "Test the model on the held-out images (accuracy, confusions, calibration):"
        commands.append(Command(what, f"python -m workbench.evaluate {folder}"))
    elif _is_stale(run, metrics):
        what = "The model has changed since it was tested. Test it again:"
        commands.append(Command(what, f"python -m workbench.evaluate {folder}"))
    if not has_explanations:
        what = "See what the network sees (filters, feature maps, guided backpropagation, Grad-CAM):"
        commands.append(Command(what, f"python -m workbench.explain {folder}"))
    if commands:
        commands.append(Command("Then make this page again:", f"python -m workbench.report {folder}"))
    commands.append(Command("Classify photos:", f"python -m workbench.predict {folder} PHOTO_OR_FOLDER"))
    if "train_module" in metrics and not (run.path / "best.yaml").exists():
        path, name = shlex.quote(str(run.path / "config.yaml")), shlex.quote(f"{run.path.resolve().name}-again")
        line = f"python -m {metrics['train_module']} --config {path} --name {name}"
        commands.append(Command("Train it again:", line))
    return Section("next", "What can be done next", commands=commands)


def _is_stale(run, metrics):
    """Whether the model is another one than was tested."""
    tested = metrics.get("test", {}).get("model_sha256")
    return tested is not None and tested != model_digest(run)
