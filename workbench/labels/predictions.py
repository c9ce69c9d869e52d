"""What the models of runs and sweeps say of images that they have not been trained on."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from workbench.console import show_decoding
from workbench.data.corrections import Correction, merge_corrections
from workbench.data.dataset import Dataset, load_dataset
from workbench.data.source import VALIDATION
from workbench.data.splits.kept_split import open_kept_split
from workbench.data.splits.saved_split import read_split
from workbench.errors import UserError
from workbench.evaluation.prediction import predict_logits
from workbench.evaluation.probabilities import softmax
from workbench.finished_run import FinishedRun, open_run
from workbench.origin import read_run_options
from workbench.runtime import load_tensorflow
from workbench.sweep.outcomes.sweep_outcomes import read_outcomes
from workbench.training.cross_validation import read_out_of_fold
from workbench.wording import format_count

MAX_TRIALS = 64  # of a sweep, the best ones
_STANDARD_ERRORS = 2.0  # of the accuracy, by which a good trial may be worse than the best one


@dataclasses.dataclass(frozen=True)
class Predictions:
    """The predictions of several models for images that they have not been trained on.

    Attributes:
        names: names of the images.
        probabilities: float64 (n, num_classes), the mean over the models that have predicted the image.
        votes: int64 (n, num_classes), how many of these models find a class the most probable one.
        dataset: images and labels, as the first run has used them; all images are in it.
        corrections: of labels, with an action, that the runs were trained with.
        num_seen: number of images that are left out because the network of `--from` was trained on them.
        num_repeated: number of images that are left out because their photo is also in the training set: a copy with
            the same wrong label would hide the mistake.
    """

    names: list[str]
    probabilities: np.ndarray
    votes: np.ndarray
    dataset: Dataset
    corrections: Sequence[Correction]
    num_seen: int = 0
    num_repeated: int = 0

    @property
    def models(self) -> str:
        """How many models have predicted each image, such as `3 models`, or `up to 3 models` if the numbers differ."""
        counts = self.votes.sum(axis=1)
        return ("up to " if counts.min() < counts.max() else "") + format_count(int(counts.max()), "model")

    @property
    def rows(self) -> np.ndarray:
        """Rows of the images in the data set, int64 (n,)."""
        place = {name: row for row, name in enumerate(self.dataset.names)}
        return np.array([place[name] for name in self.names], np.int64)

    @property
    def labels(self) -> np.ndarray:
        """Labels of the images, int (n,)."""
        return self.dataset.labels[self.rows]

    @property
    def source_labels(self) -> np.ndarray:
        """Labels of the images before they were corrected, int (n,)."""
        return self.dataset.source_labels[self.rows]


def collect_predictions(folders: Sequence[str], data: str | None = None) -> Predictions:
    """Collect what the models of runs, cross-validations and sweeps predict, each on images that it has not seen.

    Args:
        folders: of cross-validations (`--folds`), whose images are all those to train and validate on; of sweeps with
            outcomes, whose good trials count, and of runs: their validation images.
        data: where the data is now, if it has moved.

    Raises:
        UserError: a folder cannot be used, or they are of different data.
    """
    dataset: Dataset | None = None
    corrections: list[Correction] = []
    seen: set[str] = set()
    repeated: set[str] = set()
    sums: dict[str, np.ndarray] = {}
    votes: dict[str, np.ndarray] = {}
    for folder in folders:
        path = Path(folder)
        found = read_out_of_fold(path)
        if found is None and read_run_options(path).get("folds"):
            raise UserError(f"{folder}: not all folds are trained; repeat the command that began them")
        run = open_run(path / "fold-1" if found else path, data=data)
        this = _load_dataset(run)
        dataset = dataset or this
        corrections = merge_corrections(this.corrections, corrections)
        if list(this.class_names) != list(dataset.class_names):
            raise UserError(f"{folder}: has other classes than {folders[0]}; name runs of the same data")
        models = [(found.names, found.probabilities)] if found else _predict_validation(run, this)
        seen_here = found.seen if found else {image.name for image in this.split if image.seen_in}
        repeated_here = _list_repeated(path, this, bool(found)) - seen_here
        seen |= seen_here
        repeated |= repeated_here
        for names, probabilities in models:
            for name, values in zip(names, np.asarray(probabilities, np.float64), strict=True):
                if name in seen_here or name in repeated_here:
                    continue
                sums[name] = sums.get(name, 0.0) + values / values.sum()
                votes.setdefault(name, np.zeros(len(values), np.int64))[values.argmax()] += 1
    if dataset is None:
        raise UserError("name a run: one with --folds, a sweep, or any other")
    if repeated and not sums:
        raise UserError(
            f"{folders[0]}: its model was trained on the photos of all its validation images; train with --groups "
            "duplicates, which keeps copies of a photo on one side, or with --folds"
        )
    if seen and not sums:
        raise UserError(
            f"{folders[0]}: the network of --from was trained on all its validation images; name runs without --from"
        )
    known = {*dataset.names}
    names = [name for name in sums if name in known]
    if not names:
        raise UserError(f"{folders[0]}: its images are not in the data any more; name their place with --data")
    counts = np.array([votes[name] for name in names])
    means = np.array([sums[name] for name in names]) / counts.sum(axis=1, keepdims=True)
    left_out = len(seen - {*sums}), len(repeated - {*sums})
    return Predictions(names, means, counts, dataset, corrections, *left_out)


def _list_repeated(path: Path, dataset: Dataset, has_folds: bool) -> set[str]:
    """Return the names of the validation images whose photo is also in the training set, of a run or of each fold."""
    splits = map(read_split, path.glob("fold-*")) if has_folds else [dataset.split]
    return {image.name for split in splits for image in split or () if image.part == VALIDATION and image.repeats}


def _load_dataset(run: FinishedRun) -> Dataset:
    """Return the data of a run, without its model where config.yaml has the image size."""
    seed = run.config.get("seed", 0)
    return load_dataset(run.data_config, seed, show_decoding, open_kept_split(run.path, "look"))


def _predict_validation(run: FinishedRun, dataset: Dataset) -> Iterator[tuple[list[str], np.ndarray]]:
    """Yield the names and the probabilities of the validation images by each good trial of a sweep, or by a run."""
    outcomes = read_outcomes(run.path)
    if outcomes and outcomes.has_all_classes:
        accuracies = outcomes.compute_correct().mean(axis=1)
        best = accuracies.max()
        least = best - _STANDARD_ERRORS * np.sqrt(best * (1 - best) / len(outcomes.names))
        order = np.argsort(-accuracies, kind="stable")[:MAX_TRIALS]
        for number in order[accuracies[order] >= least]:
            yield list(outcomes.names), outcomes.get_probabilities(outcomes.trials[number])
        return
    load_tensorflow()
    rows = dataset.validation
    logits = predict_logits(run.model, dataset.images, rows, "predicting")
    yield [dataset.names[row] for row in rows], softmax(logits)
