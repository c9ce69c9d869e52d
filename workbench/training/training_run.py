"""What every training command does around `fit`: its run folder, resuming, saving, and what it leaves behind."""

import contextlib
import dataclasses
import math
import shlex
import statistics
import time
from pathlib import Path

from workbench.config import option_name
from workbench.data.dataset import describe
from workbench.errors import UserError
from workbench.files import read_csv, write_json
from workbench.runtime import peak_memory
from workbench.training.config import seconds
from workbench.training.run_folder import RunFolder, claim_name, read_config

_FREE = ("resume", "name", "runs_dir", "overwrite", "epochs", "cache_dir", "wandb")  # may differ in a resumed run


_PAGE = 400_000  # bytes of a run's page, figures, logs and what else is small


@dataclasses.dataclass(frozen=True)
class ResumeConfig:
    """Resume.

    Args:
        resume: Run folder of an interrupted training to continue; its configuration holds, and --epochs may
            be raised.
    """

    resume: str | None = None


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a model, fitted in its place.

    Attributes:
        whole: the model that the run is to keep; shares the part's layers.
        config: what the part is fitted with.
        dataset: what it is fitted on.
    """

    whole: object
    config: object
    dataset: object


def resumed(config):
    """The configuration of the run to go on with; only more epochs may be asked of it.

    Args:
        config: has `resume` and the fields of `RunConfig` and `TrainingConfig`.

    Raises:
        UserError: there is no such run, or another option differs from what it was made with.
    """
    path = Path(config.resume)
    saved = read_config(path, type(config))
    saved = dataclasses.replace(saved, name=path.resolve().name, runs_dir=str(path.resolve().parent))
    defaults = type(config)()
    for field in dataclasses.fields(config):
        asked, had = getattr(config, field.name), getattr(saved, field.name)
        if field.name not in _FREE and asked not in (getattr(defaults, field.name), had):
            option = option_name(field.name)
            raise UserError(f"{option} {asked}: {path} was made with {had}, and a resumed run keeps its configuration")
    epochs = saved.epochs if config.epochs == defaults.epochs else max(saved.epochs, config.epochs)
    cache_dir = config.cache_dir or saved.cache_dir
    return dataclasses.replace(saved, resume=config.resume, epochs=epochs, cache_dir=cache_dir, wandb=config.wandb)


def run_folder(config, base_name):
    """The run's folder: the resumed one, the named one, or a new one called `base_name`, perhaps with a number."""
    if not config.resume and config.name is None:
        return RunFolder(dataclasses.replace(config, name=claim_name(base_name, config.runs_dir)))
    folder = RunFolder(config)
    if folder.path.exists() and not (config.resume or config.overwrite):
        raise UserError(f"{folder.path} exists: resume it with --resume, replace it with --overwrite, or change --name")
    return folder


def train_in(folder, config, dataset, make_model, facts, *, module, started, lines=(), make_part=None):
    """Train in a run folder, and leave there what evaluates, explains, predicts or resumes it.

    Nothing in the folder changes before the first step: a run that is to be overwritten stands until then.

    Args:
        folder: a `workbench.training.run_folder.RunFolder`.
        config: has the fields of `TrainingConfig`, `RecipeConfig`, `BudgetConfig`, `ResumeConfig` and `RunConfig`.
        dataset: a `workbench.data.dataset.Dataset`.
        make_model: returns the compiled model as it is before the first step.
        facts: name -> further values for metrics.json, such as the number of parameters; read after the training.
        module: the command, such as `cnn_scratch.train`.
        started: `time.perf_counter()` when it was called, from which a budget counts.
        lines: what to print before the training, after what the data set holds.
        make_part: returns the `Part` that the compiled model is, where it is one.

    Raises:
        UserError: another process holds the folder, all epochs are done, none fits into the budget, or the loss
            became NaN.
    """
    from workbench.console import console
    from workbench.report import leave_report

    with folder.locked():
        for line in (*describe(dataset, config.class_weights), *lines):
            console.print(line)
        start = time.perf_counter()
        try:
            training = _prepared(
                folder, dataclasses.replace(config, name=folder.path.name), dataset, make_model, make_part
            )
            training = _planned(training, module, started)
            with _begun(folder, training.config, dataset):
                rows = _fit(folder, training, module)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_stopped(folder, module)) from None
        facts = {"train_module": module, **facts, "last_call_seconds": time.perf_counter() - start}
        metrics = _write_metrics(folder, rows, facts)
    console.print(
        f"\nbest epoch {metrics['best_epoch']}: validation accuracy {metrics['val_accuracy']:.1%} "
        f"(training {metrics['accuracy']:.1%})"
    )
    console.print(f"run folder:  {folder.path}\nreport:      {leave_report(folder.path)}")
    console.print(f"learning curves:  tensorboard --logdir {config.logs_dir}")


@contextlib.contextmanager
def _begun(folder, config, dataset):
    """The folder as a training fills it; one that ends before its first epoch does leaves none, nor its name taken."""
    if config.overwrite:
        folder.clear()
    folder.write_dataset(dataset)
    folder.write_config(config)
    try:
        yield
    except BaseException:
        if not (config.resume or (folder.path / "last.keras").exists()):
            folder.remove()
        raise


@dataclasses.dataclass(frozen=True)
class _Training:
    """What is to be fitted: the compiled model, the configuration of the run, the part of the whole, what is done."""

    model: object
    config: object
    part: Part
    rows: list
    pace: object = None


def _prepared(folder, config, dataset, make_model, make_part):
    """The training as it stands before its next epoch."""
    from workbench.data.pipeline import steps_per_epoch
    from workbench.training.callbacks import has_stalled

    model = make_model()
    part = make_part() if make_part else Part(None, config, dataset)
    rows = _rows_so_far(folder, config, model, steps_per_epoch(part.dataset, config.batch_size))
    if len(rows) >= config.epochs or has_stalled(rows, config.patience):
        raise UserError(f"{folder.path}: all {len(rows)} epochs are done; ask for more with --epochs or --patience")
    return _Training(model, config, part, rows)


def _planned(training, module, started):
    """The training with its pace, and with as many epochs as its budget allows; says what it will cost."""
    from workbench.console import duration
    from workbench.training import budget as estimate

    config, part = training.config, training.part
    pace = estimate.measure(training.model, part.config, part.dataset)
    if config.budget:
        epochs = pace.epochs_within(seconds(config.budget), time.perf_counter() - started)
        config, part_config = (dataclasses.replace(c, epochs=epochs, budget=None) for c in (config, part.config))
        part = dataclasses.replace(part, config=part_config)
    weights, optimizer = (sum(_size(v) for v in of.variables) for of in (training.model, training.model.optimizer))
    disk = _PAGE + 2 * weights + optimizer + (sum(_size(v) for v in part.whole.variables) if part.whole else 0)
    left = config.epochs - len(training.rows)
    expected = pace.seconds(config.epochs, len(training.rows))
    estimate.tell(module, expected, disk, f"{duration(expected / left)} an epoch")
    return dataclasses.replace(training, config=config, part=part, pace=pace)


def _size(variable):
    """Bytes of a variable."""
    return 4 * math.prod(variable.shape)


def _fit(folder, training, module):
    """Fit, saving after each epoch what a resumed run needs; rows of all epochs."""
    from workbench.data.pipeline import steps_per_epoch
    from workbench.keras_graph import build_uncompiled
    from workbench.training import budget as estimate
    from workbench.training.callbacks import SaveEpoch, ShowProgress, save_model
    from workbench.training.loop import fit
    from workbench.training.tracking import tensorboard, wandb_run
    from workbench.training.training_model import get_saved_model

    model, config, part, done = training.model, training.config, training.part, len(training.rows)
    best_name = "best.keras" if part.whole else "model.keras"
    num_images, steps = len(part.dataset.train), steps_per_epoch(part.dataset, config.batch_size)

    def callbacks(record):
        progress = ShowProgress(record, config.epochs, steps, num_images, done)
        return [SaveEpoch(record, folder.path, best_name), progress]

    wandb_args = (config.wandb, dataclasses.asdict(config), folder.path)
    start = time.perf_counter()
    with (
        tensorboard(folder.logs) as scalars,
        wandb_run(*wandb_args, name=folder.path.name) as wandb_listener,
    ):
        listeners = [scalars, wandb_listener]
        rows, _ = fit(model, part.config, part.dataset, listeners=listeners, rows=training.rows, callbacks=callbacks)
    expected = training.pace.seconds(config.epochs, done, len(rows))
    estimate.remember(module, expected, time.perf_counter() - start)
    if part.whole:
        build_uncompiled(get_saved_model(model)).load_weights(folder.path / best_name)
        save_model(part.whole, folder.path)
    return rows


def _rows_so_far(folder, config, model, steps):
    """The rows of the finished epochs, whose weights and optimizer are put into `model`: none, or `last.keras`'.

    `last.keras` is the truth about how far the run came: it is written last, and whole.
    """
    from workbench.training.training_model import restore_checkpoint

    last = folder.path / "last.keras"
    if not (config.resume and last.exists()):
        return []
    restore_checkpoint(model, last)
    epochs = math.ceil(int(model.optimizer.iterations) / steps)  # loss scaling may have skipped some steps
    rows = read_csv(folder.path / "history.csv")
    return [{k: int(v) if k == "epoch" else float(v) for k, v in row.items()} for row in rows][:epochs]


def _stopped(folder, train_module):
    """What to say after Ctrl-C."""
    if not (folder.path / "last.keras").exists():
        return "stopped in the first epoch; nothing is kept"
    count = len(read_csv(folder.path / "history.csv"))
    done = f"{count} epochs are kept" if count > 1 else "1 epoch is kept"
    return f"stopped; {done}, and this goes on:\n  python -m {train_module} --resume {shlex.quote(str(folder.path))}"


def _write_metrics(folder, rows, facts):
    from workbench.training.callbacks import best_row

    best = best_row(rows)
    metrics = {
        "best_epoch": best["epoch"],
        **{name: best[name] for name in ("val_accuracy", "val_loss", "accuracy", "loss")},
        "epochs": len(rows),
        "epoch_seconds": sum(row["seconds"] for row in rows),
        "images_per_second": statistics.median(row["images_per_second"] for row in rows),
        "peak_memory_bytes": peak_memory(),
        **facts,
    }
    write_json(folder.path / "metrics.json", metrics)
    return metrics
