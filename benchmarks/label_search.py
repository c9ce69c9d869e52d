"""Swap labels of a folder at random, and count how many of them the search finds; fix them, and test again.

    python -m benchmarks.label_search FOLDER [--weights FILE] [--seeds 3]

FOLDER holds train/ and test/. Of the training labels, 5 % are swapped for a random other class, by a table of
corrections. Of as many top-ranked images as labels were swapped, the share of swapped ones is counted: by cleanlab's
default ranking of one cross-validated fine-tuning, and by the average of several with other seeds and folds. Then heads
are trained and tested with the swapped labels, without the images that the search lists, and with the classes that it
suggests for them.

The frozen layers are computed once for all images. Every head is trained as by `transfer.run --mode last_layer`, with
the same split, folds, model, optimizer, learning rates and choice of the best epoch; but the network is built and
traced once and then reset, and an epoch is one graph.
"""

import argparse
import dataclasses
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from workbench.runtime import load_tensorflow

load_tensorflow()  # quietly, before an import below does it

import keras
import tensorflow as tf

from cnn_scratch.graph_cache import draw_weights
from transfer.backbone import build_network
from transfer.config import TransferConfig
from transfer.defaults import resolve
from transfer.features import compute_features
from transfer.finetune import build_trained_part
from transfer.freezing import find_last_frozen, freeze
from transfer.optimizer import build_optimizer
from transfer.precision import build_in_precision
from workbench.config import build, replace
from workbench.data.corrections import EXCLUDE, RELABEL, Correction, write_corrections
from workbench.data.dataset import Dataset, load_dataset
from workbench.data.pipeline import count_steps
from workbench.evaluation.calibration.temperature import compute_cross_entropy
from workbench.evaluation.probabilities import softmax
from workbench.labels.ranking import rank_labels
from workbench.training.optimizer import compile_model
from workbench.training.schedule import compute_learning_rate

SHARE, FOLDS = 0.05, 5
TESTED = 3  # heads with other seeds and validation images, whose test accuracies are averaged


class HeadTrainer:
    """Trains heads on stored features of all images of a folder."""

    def __init__(self, config: TransferConfig) -> None:
        self.config = replace(resolve(config), precision="float32")
        dataset = load_dataset(self.config.data, seed=0)
        network = build_network(self.config.backbone, dataset.image_size, len(dataset.class_names), seed=0)
        freeze(network, self.config.freezing)
        cut = find_last_frozen(network)
        assert cut is not None
        every = np.arange(len(dataset.names))
        whole = dataclasses.replace(dataset, train=every, validation=every[:0], fold="1/1")  # folds have exact features
        self._features = tf.constant(compute_features(whole, network, cut, self.config, views=0).dataset.images)
        self._part = build_trained_part(network, cut)
        self._model = build_in_precision(self._part, "float32")
        training = self.config.training
        compile_model(self._model, training, build_optimizer(network, training, self._model))

    def load(self, table: Path | None, seed: int, fold: str | None = None) -> Dataset:
        """Load the images with the labels of a table, split by a seed."""
        data = dataclasses.replace(self.config.data, labels=str(table) if table else None, fold=fold)
        return load_dataset(data, seed)

    def train(self, dataset: Dataset, seed: int) -> np.ndarray:
        """Train a head, keep its best epoch, and return the logits of the validation images."""
        draw_weights(self._part, seed)
        self._model.load_saved_weights()
        for variable in self._model.optimizer.variables:
            variable.assign(keras.ops.zeros_like(variable))
        training = replace(self.config, seed=seed).training
        steps, rng, labels = count_steps(dataset, training.batch_size), np.random.default_rng(seed), dataset.labels
        best, kept, kept_weights = (-1.0, 0.0), np.zeros(0), list[np.ndarray]()
        for epoch in range(training.epochs or 0):
            rows = np.resize(rng.permutation(dataset.train), (steps, training.batch_size))
            places = range(epoch * steps, (epoch + 1) * steps)
            rates = [compute_learning_rate(training, steps, step) for step in places]
            self._train_epoch(tf.constant(rows), tf.constant(labels), tf.constant(rates, tf.float32))
            logits = self.predict(dataset.validation)
            true = labels[dataset.validation]
            score = float((logits.argmax(axis=1) == true).mean()), -compute_cross_entropy(logits, true)
            if score > best:
                best, kept, kept_weights = score, logits, self._model.get_weights()
        self._model.set_weights(kept_weights)
        return kept

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, None), tf.int64),
            tf.TensorSpec((None,), tf.int32),
            tf.TensorSpec((None,), tf.float32),
        ]
    )
    def _train_epoch(self, rows: tf.Tensor, labels: tf.Tensor, rates: tf.Tensor) -> None:
        """Train an epoch as one graph: Python would take several times as long as the steps of so small a model."""
        for step in tf.range(tf.shape(rows)[0]):
            self._model.optimizer.learning_rate.assign(rates[step])
            batch = rows[step]
            self._model.train_step((tf.gather(self._features, batch), tf.gather(labels, batch)))

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Return the logits of images, float32 (n, num_classes)."""
        return keras.ops.convert_to_numpy(self._part(tf.gather(self._features, rows), training=False))

    def cross_validate(self, table: Path, seed: int) -> np.ndarray:
        """Return the probabilities of the images of `find_rows`, each by the head that has not seen it.

        Args:
            table: of the labels.
            seed: of the heads and of the folds.

        Returns:
            float64 (n, num_classes).
        """
        found: dict[int, np.ndarray] = {}
        for number in range(1, FOLDS + 1):
            dataset = self.load(table, seed, f"{number}/{FOLDS}")
            found |= zip(dataset.validation.tolist(), softmax(self.train(dataset, seed)), strict=True)
        return np.array([found[row] for row in sorted(found)])

    def test(self, table: Path, seed: int) -> float:
        """Return the test accuracy of a head that is trained with the labels of a table."""
        dataset = self.load(table, seed)
        self.train(dataset, seed)
        logits = self.predict(dataset.test)
        return float((logits.argmax(axis=1) == dataset.labels[dataset.test]).mean())


def find_rows(dataset: Dataset) -> np.ndarray:
    """Return the rows of the images to train and validate on, sorted."""
    return np.sort(np.concatenate([dataset.train, dataset.validation]))


def swap_labels(dataset: Dataset, seed: int) -> list[Correction]:
    """Return corrections that give 5 % of the images to train and validate on a random other class."""
    rng = np.random.default_rng(seed)
    rows = find_rows(dataset)
    chosen, classes = rng.choice(rows, round(SHARE * len(rows)), replace=False), dataset.class_names
    others = (dataset.labels[chosen] + rng.integers(1, len(classes), len(chosen))) % len(classes)
    return [
        Correction(dataset.names[row], classes[dataset.labels[row]], classes[other], "", RELABEL)
        for row, other in zip(chosen, others, strict=True)
    ]


def count_found(scores: np.ndarray, is_swapped: np.ndarray) -> float:
    """Return the share of swapped labels among as many least fitting ones."""
    return float(is_swapped[np.argsort(scores, kind="stable")[: is_swapped.sum()]].mean())


def fix_labels(
    original: Dataset, swapped: Sequence[Correction], suggested: Mapping[str, str], action: str
) -> list[Correction]:
    """Return the swapped labels with an action for the images that the search lists.

    Args:
        original: images with the labels before they were swapped.
        swapped: the swapped labels.
        suggested: image -> class, of the images that the search lists.
        action: for these images.
    """
    labels = {name: original.class_names[label] for name, label in zip(original.names, original.labels, strict=True)}
    rows = {row.image: row for row in swapped}
    for image, name in suggested.items():
        rows[image] = Correction(image, labels[image], name, action=action)
    return [*rows.values()]


class Result(NamedTuple):
    """What is measured for one seed: shares of swapped labels that are found, and test accuracies."""

    one_model: float
    mean_of_all: float
    swapped: float
    excluded: float
    relabelled: float


def measure(trainer: HeadTrainer, seed: int, models: int, folder: Path) -> Result:
    """Swap labels, search for them, and train with and without what is found."""
    original = trainer.load(None, seed=0)
    swapped = swap_labels(original, seed)
    tables = {name: folder / f"{name}-{seed}.csv" for name in ("swapped", EXCLUDE, RELABEL)}
    write_corrections(tables["swapped"], swapped)
    rows, labels = find_rows(original), trainer.load(tables["swapped"], seed=0).labels
    names, known = [original.names[row] for row in rows], {row.image for row in swapped}
    is_swapped = np.array([name in known for name in names])
    predicted = [trainer.cross_validate(tables["swapped"], model) for model in range(models)]
    mean = np.mean(predicted, axis=0)
    scores, is_wrong = rank_labels(labels[rows], mean)
    best = mean.argmax(axis=1)
    listed = np.flatnonzero(is_wrong & (best != labels[rows]))
    suggested = {names[place]: original.class_names[best[place]] for place in listed}
    for action in (EXCLUDE, RELABEL):
        write_corrections(tables[action], fix_labels(original, swapped, suggested, action))
    return Result(
        count_found(rank_labels(labels[rows], predicted[0])[0], is_swapped),
        count_found(scores, is_swapped),
        *(statistics.mean(trainer.test(path, number) for number in range(TESTED)) for path in tables.values()),
    )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--backbone", default="MobileNetV2")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--seeds", type=int, default=3, help="of the swapped labels")
    parser.add_argument("--models", type=int, default=3, help="cross-validated fine-tunings whose mean is ranked")
    options = parser.parse_args()
    words = {"data": options.folder, "backbone": options.backbone, "weights": options.weights}
    if not (Path(options.folder) / "test").is_dir():
        parser.error(f"{options.folder}: has no test folder, so that each seed would test on other images")
    trainer = HeadTrainer(build(TransferConfig, **words))
    rows = []
    print("seed  found by one model  by the mean  test accuracy: swapped  excluded  relabelled")
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.seeds):
            rows.append(measure(trainer, seed, options.models, Path(folder)))
            print(_format(str(seed), rows[-1]), flush=True)
    print(_format("mean", Result(*map(statistics.mean, zip(*rows, strict=True)))))


def _format(name: str, row: Result) -> str:
    return (
        f"{name:4}  {row.one_model:18.1%}  {row.mean_of_all:11.1%}  {row.swapped:22.1%}  {row.excluded:8.1%}  "
        f"{row.relabelled:10.1%}"
    )


if __name__ == "__main__":
    main()
