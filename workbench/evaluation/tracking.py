"""A test's figures and numbers, logged to where the run's training was logged."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from workbench.finished_run import FinishedRun
from workbench.reporting.figure_metadata import read_words
from workbench.training.tracking import log_to_wandb, name_full_disk


def log_test(run: FinishedRun, figures: Sequence[Path], numbers: Mapping[str, Any]) -> Path | None:
    """Log a test's figures and numbers to where the training was logged.

    TensorBoard shows them as the run `<name>/test` if the training's logs still exist, unless the results are written
    to another folder than the run's. W&B shows them as a run of their own if the training was logged there.

    Args:
        run: the tested run.
        figures: PNG files that `workbench.reporting.figures.save_figure` wrote.
        numbers: name -> value; those that are plain numbers are logged.

    Returns:
        Folder of TensorBoard's event file, None where there is none.
    """
    scalars = {f"test/{name}": value for name, value in numbers.items() if isinstance(value, int | float)}
    name = run.path.resolve().name
    logs = Path(str(run.config.get("logs_dir", "logs"))) / name / "test"
    has_logs = logs.parent.is_dir() and run.output is None
    if has_logs:
        shutil.rmtree(logs, ignore_errors=True)  # from an earlier test
        with name_full_disk(logs), tf.summary.create_file_writer(str(logs)).as_default(step=0):
            for scalar, value in scalars.items():
                tf.summary.scalar(scalar, value)
            for path in figures:
                tf.summary.image(path.stem, tf.io.decode_png(path.read_bytes())[None], description=read_words(path)[1])
    enabled = run.config.get("wandb") is True
    with log_to_wandb(enabled, run.config, run.results_path, group=name, name=f"{name}-test") as listen:
        if enabled:
            import wandb

            pictures: dict[str, Any] = {
                path.stem: wandb.Image(str(path), caption=": ".join(read_words(path))) for path in figures
            }
            listen({"epoch": 0, **scalars, **pictures})
    return logs if has_logs else None
