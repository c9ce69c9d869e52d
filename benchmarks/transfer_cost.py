"""Compare what fine-tuning ResNet50 costs with stored features and without: each frozen layer computed once, or always.

    python -m benchmarks.transfer_cost [--images 512] [--epochs 10] [--size 224]

Trains on random images without pretrained weights: the arithmetic is the same. Without stored features, and for
first_k, only two epochs are measured; the others are assumed to take as long as the second.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.runtime import load_tensorflow

load_tensorflow()  # quietly, before an import below does it

from transfer.backbone import build_network
from transfer.config import BackboneConfig, FineTuneConfig, TransferConfig
from transfer.defaults import resolve
from transfer.features import compute_features
from transfer.finetune import build_trained_part
from transfer.freezing import find_last_frozen, freeze
from transfer.optimizer import build_optimizer
from transfer.precision import build_in_precision, choose_model_precision
from workbench.config import DataConfig, replace
from workbench.data.dataset import Dataset
from workbench.training.loop import fit
from workbench.training.optimizer import compile_model
from workbench.training.training_model import TrainingModel

CLASSES, MEASURED = 10, 2
FIRST_K = 143  # all but the last stage


def make_noise(count: int, size: int, folder: Path) -> Dataset:
    """Return a data set of noise, mapped from a file as photos are; four fifths of it are to train on."""
    rng = np.random.default_rng(0)
    rows, train = np.arange(count), count * 4 // 5
    images = np.memmap(folder / f"{count}.bin", np.uint8, "w+", shape=(count, size, size, 3))
    images[:] = rng.integers(0, 256, images.shape)
    return Dataset(
        name="noise",
        class_names=[str(number) for number in range(CLASSES)],
        images=images,
        labels=rng.integers(0, CLASSES, count).astype(np.int32),
        names=[str(row) for row in rows],
        train=rows[:train],
        validation=rows[train:],
        test=rows[:0],
        unreadable=[],
        decode_seconds=0.0,
        key=f"noise {count}",
        images_key=f"noise {count} {size}",
    )


@dataclass(frozen=True)
class Cost:
    """Seconds of a fine-tuning.

    Attributes:
        total: from the built network to the end.
        features: of computing the stored features.
        epoch: of the last epoch.
    """

    total: float
    features: float
    epoch: float

    def extrapolate(self, epochs: int) -> float:
        """Return the seconds of `epochs` epochs, of which MEASURED were trained."""
        return self.total + (epochs - MEASURED) * self.epoch


def measure(config: TransferConfig, dataset: Dataset) -> Cost:
    """Fine-tune as `transfer.run` does, without its run folder."""
    network = build_network(config.backbone, dataset.image_size, CLASSES, config.training.seed)
    freeze(network, config.freezing)
    cut = find_last_frozen(network) if config.features.views else None
    part = build_trained_part(network, cut)
    start, features = time.perf_counter(), None
    config = replace(config, precision=choose_model_precision(part, config.training))
    if cut is not None:
        features = compute_features(dataset, network, cut, config, views=0)
    if config.features.views:
        model = build_in_precision(part, config.training.precision)
    else:  # the plain way
        model = TrainingModel(part.input, part.output, saved_as=part)
    compile_model(model, config.training, build_optimizer(network, config.training, model))
    result = fit(model, features.dataset if features else dataset, config.training)
    total = time.perf_counter() - start
    return Cost(total, features.seconds if features else 0.0, result.history[-1]["seconds"])


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--size", type=int, default=224, help="side of the images in pixels")
    options = parser.parse_args()
    images, epochs = options.images, options.epochs
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        dataset = make_noise(images, options.size, folder)
        config = TransferConfig(
            data=DataConfig(image_size=options.size, cache_dir=temporary),
            backbone=BackboneConfig(weights="none"),
            training=FineTuneConfig(epochs=epochs),
        )
        last_layer = resolve(config)
        first_k = resolve(replace(config, mode="first_k", k=FIRST_K, epochs=MEASURED))
        without_store = {"views": 0, "precision": "float32", "epochs": MEASURED}
        measure(last_layer, make_noise(10, options.size, folder))  # measures the fastest number format, once a machine
        first = measure(last_layer, dataset)
        again = measure(replace(last_layer, learning_rate=1e-2), dataset)
        plain = measure(replace(last_layer, **without_store), dataset).extrapolate(epochs)
        first_k_stored = measure(first_k, dataset).extrapolate(epochs)
        first_k_plain = measure(replace(first_k, **without_store), dataset).extrapolate(epochs)
    print(f"\nResNet50, {options.size} px, {images} images, {epochs} epochs, seconds")
    print(
        f"last_layer, stored: {first.total:.1f} ({first.features:.1f} for the features: "
        f"{images / first.features:.0f} images/s); {first.total / first.features:.2f} x one forward pass"
    )
    print(f"last_layer, plain: {plain:.1f}; {plain / first.total:.1f} x as much")
    print(f"last_layer, another learning rate: {again.total:.1f}; {again.total / first.total:.3f} of the first")
    ratio = first_k_plain / first_k_stored
    print(f"first_k at {FIRST_K}, stored: {first_k_stored:.1f}; plain: {first_k_plain:.1f}; {ratio:.1f} x as much")


if __name__ == "__main__":
    main()
