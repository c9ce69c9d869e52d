"""Swap labels of a folder at random, and count how many of them the search finds; fix them, and test again.

    python -m benchmarks.label_search FOLDER [--weights FILE] [--seeds 3]

Of the training labels, 5 % are swapped for a random other class, by a table of corrections, so that no photo is moved
and the frozen layers are computed once. Of as many top-ranked images as labels were swapped, the share of swapped ones
is counted: by the average of several cross-validated fine-tunings with other seeds, and by cleanlab alone from the
first of them. Then the images that the search lists are excluded, and a network is trained and tested with the swapped
labels and without the excluded images.
"""

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workbench.runtime import load_tensorflow

load_tensorflow()  # quietly, before an import below does it

from transfer.config import TransferConfig
from transfer.run import run
from workbench.commands import EvaluateConfig
from workbench.config import build
from workbench.data.corrections import EXCLUDE, RELABEL, Correction, write_corrections
from workbench.data.dataset import Dataset, load_dataset
from workbench.evaluate import evaluate
from workbench.labels.predictions import Predictions, collect_predictions
from workbench.labels.ranking import rank_labels

SHARE, FOLDS = 0.05, 5


def swap_labels(dataset: Dataset, seed: int) -> list[Correction]:
    """Return corrections that give 5 % of the images to train and validate on a random other class."""
    rng = np.random.default_rng(seed)
    rows = np.sort(np.concatenate([dataset.train, dataset.validation]))
    chosen, classes = rng.choice(rows, round(SHARE * len(rows)), replace=False), dataset.class_names
    others = (dataset.labels[chosen] + rng.integers(1, len(classes), len(chosen))) % len(classes)
    return [
        Correction(dataset.names[row], classes[dataset.labels[row]], classes[other], "", RELABEL)
        for row, other in zip(chosen, others, strict=True)
    ]


def count_found(predictions: Predictions, swapped: Sequence[Correction]) -> float:
    """Return the share of swapped labels among as many least fitting ones."""
    scores, _ = rank_labels(predictions.labels, predictions.probabilities)
    top = {predictions.names[place] for place in np.argsort(scores, kind="stable")[: len(swapped)]}
    return len(top & {row.image for row in swapped}) / len(swapped)


def list_wrong(predictions: Predictions) -> set[str]:
    """Return the names of the images that the search lists."""
    _, is_wrong = rank_labels(predictions.labels, predictions.probabilities)
    differs = predictions.probabilities.argmax(axis=1) != predictions.labels
    return {predictions.names[place] for place in np.flatnonzero(is_wrong & differs)}


def measure(base: TransferConfig, dataset: Dataset, seed: int, models: int, folder: Path) -> list[float]:
    """Return (found by one model, found by all, test accuracy with the swapped labels, after excluding)."""
    swapped, table = swap_labels(dataset, seed), folder / f"swapped-{seed}.csv"
    write_corrections(table, swapped)
    options = {"data": base.data.data, "backbone": base.backbone.backbone, "weights": base.backbone.weights}
    options |= {"cache_dir": str(folder / "cache"), "runs_dir": str(folder / "runs"), "logs_dir": str(folder / "logs")}

    def fine_tune(name: str, **others: object) -> str:
        return str(run(build(TransferConfig, name=f"{name}-{seed}", **{**options, **others})))

    folders = [fine_tune(f"model-{model}", labels=str(table), seed=model, folds=FOLDS) for model in range(models)]
    single, ensemble = collect_predictions(folders[:1]), collect_predictions(folders)
    wrong, known = list_wrong(ensemble), {row.image for row in swapped}
    corrected = [row._replace(action=EXCLUDE) if row.image in wrong else row for row in swapped]
    names = dict(zip(dataset.names, dataset.labels, strict=True))
    for image in sorted(wrong - known):
        label = dataset.class_names[names[image]]
        corrected.append(Correction(image, label, label, "", EXCLUDE))
    fixed = folder / f"fixed-{seed}.csv"
    write_corrections(fixed, corrected)
    tested = [
        evaluate(EvaluateConfig(fine_tune(name, labels=str(path))))["accuracy"]
        for name, path in (("swapped", table), ("fixed", fixed))
    ]
    return [count_found(single, swapped), count_found(ensemble, swapped), *tested]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--backbone", default="MobileNetV2")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--seeds", type=int, default=3, help="of the swapped labels")
    parser.add_argument("--models", type=int, default=3, help="cross-validated fine-tunings whose mean is ranked")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        base = build(
            TransferConfig, data=options.folder, backbone=options.backbone, weights=options.weights, image_size=224
        )
        dataset = load_dataset(base.data, seed=0)
        rows = [measure(base, dataset, seed, options.models, folder) for seed in range(options.seeds)]
    print("\nseed  one model  mean of all  test accuracy: swapped  excluded")
    for seed, row in enumerate(rows):
        print(f"{seed:4}  {row[0]:9.1%}  {row[1]:11.1%}  {row[2]:22.1%}  {row[3]:8.1%}")
    means = [statistics.mean(column) for column in zip(*rows, strict=True)]
    print(f"mean  {means[0]:9.1%}  {means[1]:11.1%}  {means[2]:22.1%}  {means[3]:8.1%}")


if __name__ == "__main__":
    main()
