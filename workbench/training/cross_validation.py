"""Cross-validation: train one configuration several times, and validate each time on another fold of the images."""

import contextlib
import shlex
import shutil
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from workbench import cli
from workbench.commandline.calls import format_call
from workbench.config import build, flatten, option_name, replace
from workbench.console import console
from workbench.data.corrections import check_same_corrections
from workbench.data.source import TEST, VALIDATION
from workbench.data.sources import open_source
from workbench.data.splits.folds import check_fold_count
from workbench.data.splits.saved_split import SplitImage, read_split
from workbench.errors import UserError
from workbench.evaluation.metrics.statistics import wilson_interval
from workbench.files import read_csv, read_json, replace_file, write_csv, write_json
from workbench.training.fold_scores import FOLDS, FoldsSummary, describe_folds
from workbench.training.run_folder import RunFolder, make_name, read_config
from workbench.training.run_results import PROBABILITIES
from workbench.training.saved_state import BEST, HISTORY, LAST, METRICS, is_trained

OUT_OF_FOLD, IMAGES = "out_of_fold.npy", "out_of_fold.csv"
_MAY_DIFFER = {"name", "runs_dir", "logs_dir", "overwrite", "resume", "cache_dir", "wandb"}


class OutOfFold(NamedTuple):
    """What each image is predicted to be by the model that has not seen it.

    Attributes:
        names: n names of images, as in the source.
        classes: their classes.
        probabilities: float16 (n, num_classes).
        seen: names of the images that the network of `--from` was trained on: its model has seen them all the same.
        class_names: in the order of the probabilities.
    """

    names: list[str]
    classes: list[str]
    probabilities: np.ndarray
    class_names: list[str]
    seen: set[str]


def cross_validate(config: Any, train: Callable[[Any], Path], *, command: str, kind: str) -> Path:
    """Train a configuration once for each fold. The same command continues, and trains what is missing.

    All folds have the settings that the first one was resolved to.

    Args:
        config: of the command, as typed; `config.run.folds` is the number of folds.
        train: function of the command, which trains one network and leaves a run folder.
        command: the module that was called, such as `cnn_scratch.train`.
        kind: begins the default name, such as `cnn`.

    Returns:
        Path of a folder with a run folder for each fold, `fold-1`, `fold-2`, ...; folds.json; out_of_fold.npy, float16
        (n, num_classes), the probabilities of each image by the model that has not seen it; and out_of_fold.csv with
        the images' names, classes and folds in the same order, and which the network of `--from` was trained on.

    Raises:
        UserError: an option cannot be combined with folds, the folder holds another run, a training failed, or the
            table of `--labels` was changed between two folds.
    """
    count = config.run.folds
    _check(config)
    name = config.run.name or make_name(f"{kind}-{open_source(config.data.data).name}-{count}-folds".lower())
    folder = RunFolder(replace(config.run, name=name))
    with folder.lock(), _explain_interrupt(config, command):
        if config.run.overwrite:
            folder.clear()
        _begin(folder, replace(config, name=name))
        for number in range(1, count + 1):
            path = folder.path / f"fold-{number}"
            if is_trained(path):
                console.print(f"fold {number} of {count}: trained already", style="dim")
                continue
            if number > 1 and config.data.labels and not (path / "config.yaml").exists():
                advice = "restore it, because the folds need the same labels, or train all of them with --overwrite"
                check_same_corrections(Path(config.data.labels).expanduser(), folder.path / "fold-1", advice)
            console.print(f"\nfold {number} of {count}", style="bold")
            train(_make_fold_config(config, folder, path, number))
        summary = collect_folds(folder.path, count)
    first, *others = describe_folds(summary)
    console.print(f"\n{first}")
    for line in others:
        console.print(line)
    console.print(f"numbers:     {folder.path / FOLDS}, each image in {folder.path / IMAGES}")
    console.print(f"find wrong labels:  {format_call('workbench.data')} labels {shlex.quote(str(folder.path))}")
    return folder.path


def _check(config: Any) -> None:
    """Refuse options that have no meaning for several trainings."""
    check_fold_count(config.run.folds)
    for section, name in ((config.run, "resume"), (config.training, "budget"), (config.finder, "lr_find")):
        if getattr(section, name):
            advice = "the same command continues a cross-validation" if name == "resume" else "give only one of them"
            raise UserError(f"--folds and {option_name(name)}: cannot be combined; {advice}")


def _begin(folder: RunFolder, config: Any) -> None:
    """Write the configuration as it was asked for; refuse the folder of another run, or of other settings.

    Other settings are accepted until the first epoch is finished: those of the folder may be wrong.
    """
    if not any(folder.path.iterdir()):
        folder.write_config(config)
        return
    is_begun = (folder.path / "config.yaml").exists()
    before, asked = flatten(read_config(folder.path, type(config))) if is_begun else {}, flatten(config)
    if not before.get("folds"):
        raise UserError(f"{folder.path} exists: replace it with --overwrite, or choose another --name")
    folds = list(folder.path.glob("fold-*"))
    if not any((fold / name).exists() for fold in folds for name in (HISTORY, LAST, BEST, METRICS)):
        for fold in folds:
            shutil.rmtree(fold)
        folder.write_config(config)
        return
    for name, value in asked.items():
        if name not in _MAY_DIFFER and before[name] != value:
            raise UserError(
                f"{option_name(name)} {value}: {folder.path} was begun with {before[name]}; choose another --name, or "
                "replace it with --overwrite"
            )


def _make_fold_config(config: Any, folder: RunFolder, path: Path, number: int) -> Any:
    """Return the configuration of the training of one fold, or of its continuation."""
    if (path / "config.yaml").exists():
        return build(type(config), resume=str(path), cache_dir=config.data.cache_dir, wandb=config.run.wandb)
    first = folder.path / "fold-1"
    settings = config if number == 1 else read_config(first, type(config))
    folders = {"runs_dir": str(folder.path), "logs_dir": str(folder.logs), "name": path.name, "overwrite": False}
    return replace(settings, folds=0, fold=f"{number}/{config.run.folds}", **folders)


@contextlib.contextmanager
def _explain_interrupt(config: Any, command: str) -> Iterator[None]:
    """On Ctrl-C or SIGTERM, say how to continue."""
    try:
        yield
    except KeyboardInterrupt:
        words = cli.format_options(config, skip={"overwrite"})
        raise KeyboardInterrupt(
            f"stopped; finished folds and epochs are kept. To continue:\n  {format_call(command)}{words}"
        ) from None


def collect_folds(folder: Path, count: int) -> FoldsSummary:
    """Join the predictions of all folds, and write them with their metrics into the folder of the cross-validation.

    Raises:
        UserError: the data has changed between the folds.
    """
    splits = [read_split(folder / f"fold-{number}") or [] for number in range(1, count + 1)]
    _check_same_images(folder, splits)
    rows: list[tuple[str, str, int, str, str]] = []
    parts, accuracies = [], []
    class_names: list[str] = read_json(folder / "fold-1" / "classes.json")
    for number, split in enumerate(splits, 1):
        images = [image for image in split if image.part == VALIDATION]
        probabilities = np.load(folder / f"fold-{number}" / PROBABILITIES, allow_pickle=False)
        predicted = [class_names[label] for label in probabilities.argmax(axis=1)]
        correct = [image.class_name == name for image, name in zip(images, predicted, strict=True)]
        rows += [
            (image.name, image.class_name, number, name, image.seen_in)
            for image, name in zip(images, predicted, strict=True)
        ]
        parts.append(probabilities)
        accuracies.append(statistics.mean(correct))
    num_correct = sum(class_name == predicted for _, class_name, _, predicted, _ in rows)
    summary: FoldsSummary = {
        "folds": count,
        "images": len(rows),
        "seen": sum(bool(seen_in) for *_, seen_in in rows),
        "val_accuracy": num_correct / len(rows),
        "val_accuracy_interval": wilson_interval(num_correct, len(rows)),
        "fold_accuracies": accuracies,
        "mean": statistics.mean(accuracies),
        "standard_deviation": statistics.stdev(accuracies),
    }
    with replace_file(folder / OUT_OF_FOLD) as temporary:
        np.save(temporary, np.concatenate(parts))
    columns = ("image", "class", "fold", "predicted", "seen_in")
    write_csv(folder / IMAGES, [dict(zip(columns, row, strict=True)) for row in rows])
    write_json(folder / "classes.json", class_names)
    write_json(folder / FOLDS, summary)
    return summary


def _check_same_images(folder: Path, splits: Sequence[Sequence[SplitImage]]) -> None:
    """Refuse folds that were not drawn from the same images.

    Raises:
        UserError: names an image that differs.
    """
    first, *others = [
        {(image.name, image.digest, image.class_name) for image in split if image.part != TEST} for split in splits
    ]
    for number, images in enumerate(others, 2):
        if images != first:
            raise UserError(
                f"{folder / f'fold-{number}'}: has other images or labels than fold-1 ('{min(images ^ first)[0]}'); "
                "the data was changed meanwhile: train all folds again with --overwrite"
            )


def read_out_of_fold(folder: Path) -> OutOfFold | None:
    """Read the predictions of a cross-validation; None if the folder holds none, or if it is not finished.

    Raises:
        UserError: the files are damaged.
    """
    class_names = read_json(folder / "classes.json")
    if not (folder / FOLDS).exists() or not isinstance(class_names, list):
        return None
    rows = read_csv(folder / IMAGES)
    try:
        probabilities = np.load(folder / OUT_OF_FOLD, allow_pickle=False)
        names, classes = [row["image"] for row in rows], [row["class"] for row in rows]
        seen = {row["image"] for row in rows if row.get("seen_in")}
    except (OSError, ValueError, EOFError, KeyError):
        probabilities = np.zeros(0)  # refused below
    if probabilities.shape != (len(rows), len(class_names)):
        raise UserError(
            f"{folder / OUT_OF_FOLD}: damaged, or not of {IMAGES}; the command with --folds writes both again"
        )
    return OutOfFold(names, classes, probabilities, class_names, seen)
