"""Metrics on their way to TensorBoard and Weights & Biases."""

import contextlib
import logging
import os
import shutil
import socket
from pathlib import Path

import tensorflow as tf

_LOGGED = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "images_per_second")


@contextlib.contextmanager
def tensorboard(folder, hyperparameters=None):
    """A listener that writes each epoch's row as scalars into `folder`.

    Args:
        folder: of the event file.
        hyperparameters: name -> value, shown in TensorBoard's HParams table.
    """
    writer = tf.summary.create_file_writer(str(folder))

    def listen(row):
        with writer.as_default(step=row["epoch"]):
            for name in _LOGGED:
                tf.summary.scalar(name, row[name])
        writer.flush()

    with writer.as_default():
        if hyperparameters:
            from tensorboard.plugins.hparams import api

            trial_id = "/".join(Path(folder).parts[-2:])  # sweeps that lie beside one another count alike
            api.hparams({name: _plain(value) for name, value in hyperparameters.items()}, trial_id=trial_id)
    try:
        yield listen
    finally:
        writer.close()


def describe_sweep(folder, space):
    """Tell TensorBoard's HParams table its columns, so that it is complete from the first trial on.

    Args:
        folder: the sweep's log folder; its trials' folders lie in it.
        space: name -> list of values.
    """
    from tensorboard.plugins.hparams import api

    domains = [api.HParam(name, api.Discrete([_plain(v) for v in values])) for name, values in space.items()]
    metrics = [api.Metric(name, display_name=name) for name in ("val_accuracy", "val_loss", "accuracy", "loss")]
    with tf.summary.create_file_writer(str(folder)).as_default():
        api.hparams_config(hparams=domains, metrics=metrics)


def _plain(value):
    return value if isinstance(value, bool | int | float | str) else str(value)


@contextlib.contextmanager
def wandb_run(enabled, config, folder, group=None, name=None):
    """A listener that logs each epoch's row to a W&B run of its own; does nothing where not enabled.

    The run is offline where there is no API key or no network, unless WANDB_MODE says otherwise.
    """
    if not enabled:
        yield lambda row: None
        return
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    logging.getLogger("wandb").setLevel(logging.ERROR)
    mode = os.environ.get("WANDB_MODE") or ("online" if _wandb_reachable() else "offline")
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", "image-workbench"),
        config=config,
        dir=str(folder),
        group=group,
        name=name,
        mode=mode,
        reinit="finish_previous",
        settings=wandb.Settings(console="off"),
    )
    try:
        yield lambda row: run.log({key: value for key, value in row.items() if key != "epoch"}, step=row["epoch"])
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish()


def _wandb_reachable():
    if not (os.environ.get("WANDB_API_KEY") or _netrc_key()):
        return False
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("//")[-1].split("/")[0].split(":")[0]
    try:
        socket.create_connection((host, 443), timeout=3).close()
    except OSError:
        return False
    return True


def _netrc_key():
    import netrc

    try:
        return netrc.netrc().authenticators("api.wandb.ai")
    except (FileNotFoundError, netrc.NetrcParseError):
        return None


def log_test(run, figures, numbers):
    """Show a test's figures and numbers where the run's training was shown.

    TensorBoard gets them as the run `<name>/test` where the training's logs still stand, W&B as a run of its own
    where the training logged to it.

    Args:
        run: a `workbench.finished_run.FinishedRun`.
        figures: paths of PNGs that `workbench.reporting.figures.save` wrote.
        numbers: name -> value; those that are plain numbers are logged.

    Returns:
        Folder of TensorBoard's event file, None where the logs are gone.
    """
    from workbench.reporting.figures import words

    scalars = {f"test/{name}": value for name, value in numbers.items() if isinstance(value, int | float)}
    name = run.path.resolve().name
    logs = Path(str(run.config.get("logs_dir", "logs"))) / name / "test"
    if logs.parent.is_dir():
        shutil.rmtree(logs, ignore_errors=True)  # of an earlier test
        with tf.summary.create_file_writer(str(logs)).as_default(step=0):
            for scalar, value in scalars.items():
                tf.summary.scalar(scalar, value)
            for path in figures:
                tf.summary.image(path.stem, tf.io.decode_png(path.read_bytes())[None], description=words(path)[1])
    enabled = run.config.get("wandb") is True
    with wandb_run(enabled, run.config, run.path, group=name, name=f"{name}-test") as listen:
        if enabled:
            import wandb

            pictures = {path.stem: wandb.Image(str(path), caption=": ".join(words(path))) for path in figures}
            listen({"epoch": 0, **scalars, **pictures})
    return logs if logs.is_dir() else None
