"""What a training leaves when its epochs are done: metrics.json and the report."""

import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workbench.config import TrainingConfig
from workbench.console import console
from workbench.errors import UserError
from workbench.evaluation.probabilities import softmax
from workbench.files import replace_file, write_json
from workbench.reporting.run_report import leave_report
from workbench.runtime import measure_peak_memory
from workbench.training.history import EpochLog, find_best_epoch, has_stalled
from workbench.training.saved_state import METRICS
from workbench.training.timeline import has_used_budget
from workbench.wording import agree, format_count

PROBABILITIES = "validation_probabilities.npy"  # of a fold, float16 (n, num_classes), in the order of its split.csv


def leave_missing_report(folder: Path, history: Sequence[EpochLog], training: TrainingConfig, logs_dir: str) -> None:
    """Write the report of a finished training, if it was stopped before that.

    Raises:
        UserError: nothing is missing; says what to do.
    """
    if _has_report(folder, history):
        if has_used_budget(training, history):
            raise UserError(f"{folder}: the budget of {training.budget} has passed; train again with a longer --budget")
        is_stalled = has_stalled(history, training.patience)
        if is_stalled and (training.budget or len(history) < training.epochs):
            last = agree(training.patience, "one was", f"{training.patience:,} were")
            raise UserError(
                f"{folder}: ended after {format_count(len(history), 'epoch')}, because the last {last} not better; "
                "continue with a higher --patience, or with --patience 0"
            )
        finished = agree(len(history), "its only epoch is", f"all {len(history):,} epochs are")
        also = " and a higher --patience" if is_stalled else ""
        raise UserError(f"{folder}: {finished} done; ask for more with --epochs{also}")
    print_result(folder, history, logs_dir)


def _has_report(folder: Path, history: Sequence[EpochLog]) -> bool:
    """Return whether a run has a report of these epochs, not none or that of a shorter training."""
    report = folder / "report.html"
    if not report.exists():
        return False
    epochs = re.search(r'<main data-epochs="(\d+)"', report.read_text(encoding="utf-8", errors="replace"))
    return not epochs or int(epochs[1]) == len(history)  # reports of earlier versions do not say


def write_probabilities(folder: Path, logits: np.ndarray) -> None:
    """Write the probabilities of the validation images, given their logits, (n, num_classes)."""
    with replace_file(folder / PROBABILITIES) as temporary:
        np.save(temporary, softmax(logits).astype(np.float16))


def write_metrics(folder: Path, history: Sequence[EpochLog], facts: Mapping[str, Any], seconds: float) -> None:
    """Write metrics.json.

    Args:
        folder: of the run.
        history: all epochs.
        facts: name -> further values, such as the number of parameters.
        seconds: that the training has taken in this call.
    """
    best = find_best_epoch(history)
    metrics = {
        "best_epoch": best["epoch"],
        **{name: best[name] for name in ("val_accuracy", "val_loss", "accuracy", "loss")},
        "epochs": len(history),
        "epoch_seconds": sum(log["seconds"] for log in history),
        "images_per_second": statistics.median(log["images_per_second"] for log in history),
        "peak_memory_bytes": measure_peak_memory(),
        **facts,
        "last_call_seconds": seconds,
    }
    write_json(folder / METRICS, metrics)


def print_result(folder: Path, history: Sequence[EpochLog], logs_dir: str) -> None:
    """Write the report, and print how good the best epoch is and where everything is."""
    best = find_best_epoch(history)
    accuracy = f"validation accuracy {best['val_accuracy']:.1%} (training {best['accuracy']:.1%})"
    console.print(f"\nbest epoch {best['epoch']}: {accuracy}")
    console.print(f"run folder:  {folder}\nreport:      {leave_report(folder)}")
    console.print(f"learning curves:  tensorboard --logdir {logs_dir}")
