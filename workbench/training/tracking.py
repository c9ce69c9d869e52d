"""Metrics logged to TensorBoard and Weights & Biases."""

import contextlib
import logging
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from workbench.files import FULL_DISK
from workbench.training.callbacks import Listener
from workbench.training.history import EpochLog

_LOGGED = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "images_per_second")


@contextlib.contextmanager
def log_to_tensorboard(folder: Path, hyperparameters: Mapping[str, Any] | None = None) -> Iterator[Listener]:
    """Yield a listener that writes each epoch's values as scalars into `folder`.

    Args:
        folder: of the event file.
        hyperparameters: name -> value, shown in TensorBoard's HParams table.
    """
    with name_full_disk(folder):
        writer = tf.summary.create_file_writer(str(folder))

    def listen(log: EpochLog) -> None:
        with name_full_disk(folder), writer.as_default(step=int(log["epoch"])):
            for name in _LOGGED:
                tf.summary.scalar(name, log[name])
            writer.flush()

    with name_full_disk(folder), writer.as_default():
        if hyperparameters:
            from tensorboard.plugins.hparams import api

            trial_id = "/".join(Path(folder).parts[-2:])  # with the sweep's name: other sweeps have trials like it
            api.hparams({name: _simplify(value) for name, value in hyperparameters.items()}, trial_id=trial_id)
    try:
        yield listen
    finally:
        with name_full_disk(folder):
            writer.close()


@contextlib.contextmanager
def name_full_disk(folder: Path) -> Iterator[None]:
    """Raise TensorFlow's errors about a full disk in this block as an OSError of a folder of event files.

    A full disk is neither a lack of memory nor a trial's fault, which TensorFlow's errors are taken for.
    """
    try:
        yield
    except tf.errors.OpError as error:
        for number in FULL_DISK:
            if os.strerror(number) in error.message:
                raise OSError(number, os.strerror(number), str(folder)) from error
        raise


def describe_sweep(folder: Path, parameters: Mapping[str, Sequence[Any]]) -> None:
    """Declare the columns of TensorBoard's HParams table, so that it is complete from the first trial on.

    Args:
        folder: the sweep's log folder, which holds its trials' folders.
        parameters: name -> list of values.
    """
    from tensorboard.plugins.hparams import api

    domains = [api.HParam(name, api.Discrete([_simplify(v) for v in values])) for name, values in parameters.items()]
    metrics = [api.Metric(name, display_name=name) for name in ("val_accuracy", "val_loss", "accuracy", "loss")]
    with name_full_disk(folder), tf.summary.create_file_writer(str(folder)).as_default():
        api.hparams_config(hparams=domains, metrics=metrics)


def _simplify(value: Any) -> bool | int | float | str:
    return value if isinstance(value, bool | int | float | str) else str(value)


@contextlib.contextmanager
def log_to_wandb(
    enabled: bool, config: Mapping[str, Any], folder: Path, group: str | None = None, name: str | None = None
) -> Iterator[Listener]:
    """Yield a listener that logs each epoch's values to a new W&B run; it does nothing where not enabled.

    The run is offline where there is no API key or no network, unless WANDB_MODE says otherwise.
    """
    if not enabled:
        yield lambda log: None
        return
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    logging.getLogger("wandb").setLevel(logging.ERROR)
    mode: Any = os.environ.get("WANDB_MODE") or ("online" if _can_reach_wandb() else "offline")
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", "image-workbench"),
        config=dict(config),
        dir=str(folder),
        group=group,
        name=name,
        mode=mode,
        reinit="finish_previous",
        settings=wandb.Settings(console="off"),
    )
    try:
        yield lambda log: run.log({key: v for key, v in log.items() if key != "epoch"}, step=int(log["epoch"]))
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish()


def _can_reach_wandb() -> bool:
    if not (os.environ.get("WANDB_API_KEY") or _has_netrc_key()):
        return False
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("//")[-1].split("/")[0].split(":")[0]
    try:
        socket.create_connection((host, 443), timeout=3).close()
    except OSError:
        return False
    return True


def _has_netrc_key() -> bool:
    import netrc

    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (FileNotFoundError, netrc.NetrcParseError):
        return False
