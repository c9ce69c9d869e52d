"""The comparison of runs that were tested on the same images."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

from workbench.data.splits.saved_split import read_split
from workbench.errors import UserError
from workbench.evaluation.metrics.statistics import holm, mcnemar
from workbench.evaluation.scoring import SavedScore
from workbench.files import read_csv
from workbench.finished_run import FinishedRun

_MAX_NAME = 40  # characters of a run's name


class CurvePoint(NamedTuple):
    """Validation accuracy after an epoch, and the training time until then in seconds."""

    seconds: float
    accuracy: float


class ComparedRun(TypedDict):
    """One run of a comparison. Values that are not known are None.

    Attributes:
        run: path of the run folder.
        name: short name, different for each run.
        images: number of test images.
        accuracy, low, high: test accuracy, and its 95 % interval by Wilson's method.
        leaked: number of test images whose photo is also in the training or the validation set.
        accuracy_without_leaked: test accuracy on the other images.
        top_k, top_k_accuracy, loss, ece: see `workbench.evaluation.metrics.prediction_metrics.PredictionMetrics`.
        parameters, megabytes: size of the model.
        epochs, training_seconds: length of the training.
        images_per_second: speed of the model in the test.
        difference: accuracy minus that of the first run.
        only_first, only_this: number of images that only the first run, and only this run, gets right.
        p: p-value of McNemar's exact test against the first run.
        p_adjusted: p-value adjusted by Holm's method for the number of tests.
    """

    run: str
    name: str
    images: int
    accuracy: float
    low: float
    high: float
    leaked: int | None
    accuracy_without_leaked: float | None
    top_k: int
    top_k_accuracy: float
    loss: float
    ece: float
    parameters: int
    megabytes: float
    epochs: int | None
    training_seconds: float | None
    images_per_second: float
    difference: float
    only_first: int
    only_this: int
    p: float
    p_adjusted: float


def compare_scores(runs: Sequence[FinishedRun], scores: Sequence[SavedScore]) -> list[ComparedRun]:
    """Compare the scores of runs, each with the first one.

    Raises:
        UserError: the runs were tested on different images.
    """
    _check_same_images(runs, [score.predictions for score in scores])
    correct = [[row["correct"] == "1" for row in score.predictions] for score in scores]
    tests = [mcnemar(correct[0], other) for other in correct]
    adjusted = [1.0, *holm([p for _, _, p in tests[1:]])]
    names = name_runs([run.path for run in runs])
    rows: list[ComparedRun] = []
    for run, name, (_, metrics), (only_first, only_this, p), p_adjusted in zip(
        runs, names, scores, tests, adjusted, strict=True
    ):
        curve = read_curve(run)
        low, high = metrics["accuracy_interval"]
        rows.append(
            {
                "run": str(run.path),
                "name": name,
                "images": metrics["images"],
                "accuracy": metrics["accuracy"],
                "low": low,
                "high": high,
                "leaked": metrics.get("leaked"),  # an earlier version did not count them
                "accuracy_without_leaked": metrics.get("accuracy_without_leaked"),
                "top_k": metrics["top_k"],
                "top_k_accuracy": metrics["top_k_accuracy"],
                "loss": metrics["loss"],
                "ece": metrics["ece"],
                "parameters": metrics["total_parameters"],
                "megabytes": metrics["model_bytes"] / 1e6,
                "epochs": len(curve) or run.metrics.get("epochs"),
                "training_seconds": curve[-1].seconds if curve else run.metrics.get("training_seconds"),
                "images_per_second": metrics["images_per_second"],
                "difference": metrics["accuracy"] - scores[0].metrics["accuracy"],
                "only_first": only_first,
                "only_this": only_this,
                "p": p,
                "p_adjusted": p_adjusted,
            }
        )
    return rows


def name_runs(folders: Sequence[Path]) -> list[str]:
    """Return a short name for each run folder, no two of which are equal.

    It is the folder's own name; of folders that are called the same, a folder above them is named too.
    """
    paths = [folder.resolve().parts for folder in folders]
    names = []
    for path in paths:
        suffixes = (path[-depth:] for depth in range(1, len(path)))
        differing = next((end for end in suffixes if sum(other[-len(end) :] == end for other in paths) == 1), path)
        name = "/".join(differing if len(differing) < 3 else (differing[0], "…", differing[-1]))
        names.append(_cut_middle(name))
    return names if len(set(names)) == len(names) else [f"{number}. {name}" for number, name in enumerate(names, 1)]


def _cut_middle(name: str) -> str:
    """Return a name of at most `_MAX_NAME` characters."""
    half = _MAX_NAME // 2
    return name if len(name) <= _MAX_NAME else f"{name[: half - 1]}…{name[-half:]}"


def check_same_classes(runs: Sequence[FinishedRun]) -> None:
    """Refuse runs of different classes.

    Raises:
        UserError: names the runs and a class in which they differ.
    """
    for run in runs[1:]:
        if run.class_names != runs[0].class_names:
            only = sorted(set(runs[0].class_names) ^ set(run.class_names))
            which = f"only one of them has the class '{only[0]}'" if only else "in another order"
            raise UserError(f"{runs[0].path} and {run.path} have different classes ({which}); they cannot be compared")


def _check_same_images(runs: Sequence[FinishedRun], predictions: Sequence[list[dict[str, str]]]) -> None:
    """Refuse runs whose test images differ, in their names, their order, their true classes or their content."""
    digests = [{image.name: image.digest for image in read_split(run.path) or ()} for run in runs]
    for run, rows, contents in zip(runs[1:], predictions[1:], digests[1:], strict=True):
        known = digests[0] if contents else {}  # those of an earlier version's run are not known
        first = [(row["image"], row["true"], known.get(row["image"])) for row in predictions[0]]
        contents = contents if known else {}
        other = [(row["image"], row["true"], contents.get(row["image"])) for row in rows]
        if other == first:
            continue
        name = min(set(first) ^ set(other), default=("their order",))[0]
        raise UserError(
            f"{runs[0].path} and {run.path} were tested on different images ({len(first)} and {len(other)}; they "
            f"differ in {name}); compare runs of the same --data and, if it has no test set of its own, the same --seed"
        )


def read_curve(run: FinishedRun) -> list[CurvePoint]:
    """Read a run's validation accuracy over its training time; empty if history.csv is missing or damaged."""
    seconds, points = 0.0, []
    try:
        for row in read_csv(run.path / "history.csv"):
            seconds += float(row["seconds"])
            points.append(CurvePoint(seconds, float(row["val_accuracy"])))
    except (KeyError, TypeError, ValueError):  # the epochs before the damaged row are used
        pass
    return points
