"""Train one five-block CNN from scratch."""

import dataclasses
import statistics
import time
from pathlib import Path

from cnn_scratch.model import NetworkConfig, check_network, network_cost
from vision import cli
from vision.data.dataset import DataConfig, imbalance, load_dataset, resolve_image_size
from vision.errors import UserError
from vision.files import write_json
from vision.runs import RunConfig, RunFolder, claim_name, read_config, read_csv
from vision.settings import TrainingConfig, check_training


@dataclasses.dataclass(frozen=True)
class ResumeConfig:
    """Resume.

    Args:
        resume: Run folder of an interrupted training to continue; its configuration holds, and --epochs may
            be raised.
    """

    resume: str | None = None


@dataclasses.dataclass(frozen=True)
class TrainConfig(RunConfig, ResumeConfig, TrainingConfig, NetworkConfig, DataConfig):
    """Configuration of `python -m cnn_scratch.train`."""


def train(config):
    """Train one network and leave a run folder.

    Args:
        config: a `TrainConfig`.

    Returns:
        Path of the run folder: `model.keras` (best epoch), `last.keras` (last epoch, with the optimizer),
        `history.csv`, `metrics.json`, `config.yaml`, `classes.json`.

    Raises:
        UserError: the data, the network or the run folder cannot be used, or the loss became NaN.
    """
    config = resolve_image_size(_resumed(config) if config.resume else config)
    check_training(config)
    check_network(config, config.image_size)
    from vision.runtime import load_tensorflow

    load_tensorflow()
    from vision.console import console, decoding_progress

    dataset = load_dataset(config, config.seed, decoding_progress)
    folder = _folder(config, dataset)
    with folder.locked():
        if config.overwrite:
            folder.clear()
        cost = network_cost(config, config.image_size, len(dataset.class_names))
        console.print(
            f"{dataset.name}: {len(dataset.train):,} training, {len(dataset.validation):,} validation and "
            f"{len(dataset.test):,} test images of {len(dataset.class_names)} classes, {config.image_size} px"
            + (f"; {len(dataset.unreadable)} unreadable" if dataset.unreadable else "")
            + (f"; {len(dataset.left_out)} left out (left_out.csv)" if dataset.left_out else "")
        )
        if config.class_weights == "none" and imbalance(dataset):
            console.print(imbalance(dataset))
        console.print(
            f"network: {cost.parameters:,} parameters, {cost.multiply_adds / 1e6:,.1f} million multiply-adds an image"
        )
        rows, seconds = _train_in(folder, dataclasses.replace(config, name=folder.path.name), dataset)
        metrics = _write_metrics(folder, rows, cost, seconds)
    console.print(
        f"\nbest epoch {metrics['best_epoch']}: validation accuracy [bold]{metrics['val_accuracy']:.1%}[/] "
        f"(training {metrics['accuracy']:.1%})"
    )
    console.print(f"run folder:  {folder.path}\nlearning curves:  tensorboard --logdir {config.logs_dir}")
    return folder.path


def _resumed(config):
    """The configuration of the run to go on with; only more epochs may be asked of it."""
    path = Path(config.resume)
    saved = read_config(path, TrainConfig)
    saved = dataclasses.replace(saved, name=path.resolve().name, runs_dir=str(path.resolve().parent))
    defaults = TrainConfig()
    for field in dataclasses.fields(TrainConfig):
        asked, had = getattr(config, field.name), getattr(saved, field.name)
        free = field.name in ("resume", "name", "runs_dir", "overwrite", "epochs", "cache_dir", "wandb")
        if not free and asked not in (getattr(defaults, field.name), had):
            option = field.name.replace("_", "-")
            raise UserError(
                f"--{option} {asked}: {path} was made with {had}, and a resumed run keeps its configuration"
            )
    epochs = saved.epochs if config.epochs == defaults.epochs else max(saved.epochs, config.epochs)
    return dataclasses.replace(
        saved,
        resume=config.resume,
        epochs=epochs,
        cache_dir=config.cache_dir or saved.cache_dir,
        wandb=config.wandb,
    )


def _folder(config, dataset):
    """The run's folder: the resumed one, the named one, or a new one named after the data."""
    if not config.resume and config.name is None:
        name = claim_name(f"cnn-{dataset.name}-{config.image_size}px", config.runs_dir)
        return RunFolder(dataclasses.replace(config, name=name))
    folder = RunFolder(config)
    if folder.path.exists() and not (config.resume or config.overwrite):
        raise UserError(f"{folder.path} exists: resume it with --resume, replace it with --overwrite, or change --name")
    return folder


def _train_in(folder, config, dataset):
    """Fit, saving after each epoch what a resumed run needs; (rows of all epochs, seconds of this call)."""
    from vision.tracking import tensorboard, wandb_run

    model, rows = _model_so_far(folder, config, dataset)
    if len(rows) >= config.epochs:
        raise UserError(f"{folder.path}: all {config.epochs} epochs are done; ask for more with --epochs")
    folder.write_config(config)
    folder.write_dataset(dataset)
    values = dataclasses.asdict(config)
    start = time.perf_counter()
    with (
        tensorboard(folder.logs) as scalars,
        wandb_run(config.wandb, values, folder.path, name=folder.path.name) as wandb_listener,
    ):
        rows = _fit(folder, config, dataset, model, rows, [scalars, wandb_listener])
    return rows, time.perf_counter() - start


def _fit(folder, config, dataset, model, rows, listeners):
    from cnn_scratch.trial import fit
    from vision.data.pipeline import steps_per_epoch
    from vision.training import SaveEpoch, ShowProgress

    steps = steps_per_epoch(dataset, config.batch_size)

    def callbacks(record):
        progress = ShowProgress(record, config.epochs, steps, len(dataset.train), len(rows))
        return [SaveEpoch(record, folder.path), progress]

    rows, _ = fit(model, config, dataset, listeners=listeners, rows=rows, callbacks=callbacks)
    return rows


def _model_so_far(folder, config, dataset):
    """The compiled model and the rows of its finished epochs: none, or what `last.keras` holds.

    `last.keras` is the truth about how far the run came: it is written last, and whole.
    """
    import keras

    from cnn_scratch.graphs import compiled, initialize
    from cnn_scratch.model import build_cnn
    from vision.data.pipeline import steps_per_epoch

    last = folder.path / "last.keras"
    if config.resume and last.exists():
        model = keras.models.load_model(last)
        epochs = int(model.optimizer.iterations) // steps_per_epoch(dataset, config.batch_size)
        rows = [{k: int(v) if k == "epoch" else float(v) for k, v in row.items()} for row in read_csv(_history(folder))]
        return model, rows[:epochs]
    model = build_cnn(config, config.image_size, len(dataset.class_names))
    initialize(model, config.seed)
    return compiled(model, config.learning_rate), []


def _history(folder):
    return folder.path / "history.csv"


def _write_metrics(folder, rows, cost, seconds):
    from vision.training import best_row

    best = best_row(rows)
    metrics = {
        "best_epoch": best["epoch"],
        **{name: best[name] for name in ("val_accuracy", "val_loss", "accuracy", "loss")},
        "epochs": len(rows),
        "epoch_seconds": sum(row["seconds"] for row in rows),
        "images_per_second": statistics.median(row["images_per_second"] for row in rows),
        "parameters": cost.parameters,
        "multiply_adds": cost.multiply_adds,
        "last_call_seconds": seconds,
    }
    write_json(folder.path / "metrics.json", metrics)
    return metrics


def main(argv=None):
    """Run the command line."""
    cli.main(train, TrainConfig, prog="python -m cnn_scratch.train", description=__doc__, argv=argv)


if __name__ == "__main__":
    main()
