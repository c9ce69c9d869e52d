"""The result of a cross-validation, folds.json in its folder. Nothing here loads TensorFlow."""

from pathlib import Path
from typing import TypedDict

from workbench.errors import UserError
from workbench.files import read_json
from workbench.wording import agree

FOLDS = "folds.json"
BEST_EPOCHS_NOTE = (
    "each fold counts its best epoch, which is chosen by the images that it is measured on, so the accuracy and its "
    "interval are too high, most of all with few images"
)


class FoldsSummary(TypedDict):
    """The result of a cross-validation, as it is saved in folds.json.

    Attributes:
        folds: number of folds.
        images: number of images, each of which validates once.
        seen: how many of them the network that `--from` names was trained on; their accuracy is too high.
        val_accuracy: share of the images that are classified correctly by the model that has not seen them. It is too
            high, because each fold counts its best epoch.
        val_accuracy_interval: its 95 % interval by Wilson's method.
        fold_accuracies: validation accuracy of each fold.
        mean, standard_deviation: of the folds' accuracies; the sample standard deviation.
    """

    folds: int
    images: int
    seen: int
    val_accuracy: float
    val_accuracy_interval: tuple[float, float]
    fold_accuracies: list[float]
    mean: float
    standard_deviation: float


def read_folds(folder: Path) -> FoldsSummary | None:
    """Read the result of a cross-validation; None if it is not finished.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / FOLDS
    if not path.exists():
        return None
    summary = read_json(path)
    try:
        low, high = summary["val_accuracy_interval"]
        numbers = [summary[name] for name in ("folds", "images", "seen", "val_accuracy", "standard_deviation")]
        is_whole = all(isinstance(number, int | float) for number in [*numbers, low, high, *summary["fold_accuracies"]])
    except (TypeError, KeyError, ValueError):
        is_whole = False
    if not is_whole:
        raise UserError(f"{path}: damaged; the command with --folds writes it again")
    found: FoldsSummary = summary
    return found


def describe_folds(summary: FoldsSummary) -> list[str]:
    """Return the accuracy on all images, what makes it too high, and the accuracy of each fold."""
    low, high = summary["val_accuracy_interval"]
    each = ", ".join(f"{accuracy:.1%}" for accuracy in summary["fold_accuracies"])
    unseen = "" if summary["seen"] else ", each by the model that has not seen it"
    first = (
        f"{summary['folds']} folds: validation accuracy {summary['val_accuracy']:.1%} (95 % interval {low:.1%} to "
        f"{high:.1%}) on {summary['images']:,} images{unseen}"
    )
    warning = describe_warning(summary)
    last = f"folds:       {each}; standard deviation {100 * summary['standard_deviation']:.1f} points"
    return [first, f"note: {BEST_EPOCHS_NOTE}", *([f"warning: {warning}"] if warning else []), last]


def describe_warning(summary: FoldsSummary) -> str:
    """Return what is wrong with the accuracy if models have seen images; an empty text if nothing is."""
    if not summary["seen"]:
        return ""
    were = agree(summary["seen"], "was", "were")
    return (
        f"{summary['seen']:,} of these images {were} already used to train the network that --from names; the accuracy "
        "is too high"
    )
