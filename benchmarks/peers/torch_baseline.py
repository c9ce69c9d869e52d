"""Train the network of five convolution blocks in PyTorch: the other side of the comparisons with part one.

    python benchmarks/peers/torch_baseline.py DATA --epochs 5 [--size 224] [--recipe fixed] [--channels-last] [--bf16]

DATA holds `train/<class>/<image>` and `test/<class>/<image>`. A fifth of each class's training images validates.
Two recipes:

- `seed`, the published one: convolution without padding, activation, max pooling, batch norm; a softmax at the end,
  although PyTorch's cross-entropy expects logits.
- `fixed`, the strongest plain version of the same network: `same` padding, batch norm between convolution and
  activation, logits at the end.

Prints one line of JSON: recipe, epochs, train_seconds, images_per_second (both of training only, with the decoding),
val_accuracy and test_accuracy after the last epoch, and a history: seconds since the start, without those of testing,
val_accuracy and test_accuracy after each epoch. With `--seconds` it trains until so many seconds have passed since the
start, validations included. Needs benchmarks/peers/requirements.txt; nothing of this project is imported.
"""

import time

START = time.perf_counter()

import argparse
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
NUM_BLOCKS, DENSE_UNITS = 5, 512
ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "mish": nn.Mish}
FILTER_GROWTH = {"same": 1, "double": 2, "half": 0.5}  # from one block to the next
VALIDATION_SHARE = 0.2
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)  # of RGB values between 0 and 1
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)


class NetworkOptions(Protocol):
    """Describe a network: the attributes that `network` reads."""

    recipe: str
    filters: int
    filter_org: str
    kernel: int
    activation: str
    dropout: float


class PhotoFolder(Dataset):
    """Decode the photos below `root/<class>/`, resized to `size` pixels and normalised as for ImageNet."""

    def __init__(self, root: Path, size: int) -> None:
        self.size = size
        self.class_names = sorted(folder.name for folder in root.iterdir() if folder.is_dir())
        self.paths: list[Path] = []
        self.labels: list[int] = []
        for label, name in enumerate(self.class_names):
            files = sorted((root / name).iterdir())
            self.paths += files
            self.labels += [label] * len(files)

    def __len__(self) -> int:
        return len(self.paths)

    def decode(self, index: int) -> np.ndarray:
        """Return a photo, uint8 (size, size, 3)."""
        with Image.open(self.paths[index]) as photo:
            return np.asarray(photo.convert("RGB").resize((self.size, self.size), Image.Resampling.BILINEAR))

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        pixels = (self.decode(index).astype(np.float32) / 255 - IMAGENET_MEAN) / IMAGENET_STD
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy()), self.labels[index]


def network(options: NetworkOptions, num_classes: int) -> nn.Module:
    """Return the network, whose first dense layer takes its size from the first images (NCHW) it is called with."""
    growth, in_channels = FILTER_GROWTH[options.filter_org], 3
    layers: list[nn.Module] = []
    for block in range(NUM_BLOCKS):
        out_channels = max(1, int(options.filters * growth**block))
        layers.extend(_block(options, in_channels, out_channels))
        in_channels = out_channels
    dense = nn.LazyLinear(DENSE_UNITS)
    layers.extend([nn.Flatten(), dense, ACTIVATIONS[options.activation](), nn.Dropout(options.dropout)])
    layers.append(nn.Linear(DENSE_UNITS, num_classes))
    if options.recipe == "seed":
        layers.append(nn.Softmax(dim=1))
    return nn.Sequential(*layers)


def _block(options: NetworkOptions, in_channels: int, out_channels: int) -> list[nn.Module]:
    """Return the layers of one block in the order of the recipe."""
    activation, pool, batch_norm = ACTIVATIONS[options.activation](), nn.MaxPool2d(2), nn.BatchNorm2d(out_channels)
    if options.recipe == "seed":
        return [nn.Conv2d(in_channels, out_channels, options.kernel), activation, pool, batch_norm]
    # Batch norm subtracts the mean, so the convolution before it needs no bias.
    convolution = nn.Conv2d(in_channels, out_channels, options.kernel, padding="same", bias=False)
    return [convolution, batch_norm, activation, pool]


def split(labels: np.ndarray, num_classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (indices to train on, indices to validate on), the same share of each class."""
    rng = np.random.default_rng(seed)
    shuffled = [rng.permutation(np.nonzero(labels == label)[0]) for label in range(num_classes)]
    counts = [int(VALIDATION_SHARE * len(indices)) for indices in shuffled]
    validation = [indices[:count] for indices, count in zip(shuffled, counts, strict=True)]
    train = [indices[count:] for indices, count in zip(shuffled, counts, strict=True)]
    return np.concatenate(train), np.concatenate(validation)


class Trainer:
    """Train and test a network with Adam, in a memory layout and with or without bfloat16."""

    def __init__(self, model: nn.Module, learning_rate: float, channels_last: bool, bf16: bool) -> None:
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.model = model.to(DEVICE, memory_format=self.layout)
        self.optimizer = torch.optim.Adam(self.model.parameters(), learning_rate)
        self.bf16 = bf16

    def train_epoch(self, batches: DataLoader, end: float = math.inf) -> int:
        """Train on each batch once, or until the clock shows `end`; return the number of images."""
        self.model.train()
        count = 0
        for images, labels in batches:
            self.step(images, labels)
            count += len(labels)
            if time.perf_counter() >= end:
                break
        return count

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """Take one training step on images (n, 3, height, width) and their class indices (n,)."""
        self.optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            loss = nn.functional.cross_entropy(self._predict(images), labels.to(DEVICE))
        loss.backward()
        self.optimizer.step()

    def measure_accuracy(self, batches: Iterable[Sequence[torch.Tensor]]) -> float:
        """Return the share of images whose class is the one with the highest output."""
        self.model.eval()
        correct: list[torch.Tensor] = []
        with torch.no_grad(), self._autocast():
            for images, labels in batches:
                correct.append(self._predict(images).argmax(dim=1) == labels.to(DEVICE))
        return torch.cat(correct).float().mean().item()

    def _predict(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(images.to(DEVICE).contiguous(memory_format=self.layout))

    def _autocast(self) -> torch.autocast:
        return torch.autocast(DEVICE.type, dtype=torch.bfloat16, enabled=self.bf16)


def run(options: argparse.Namespace) -> dict[str, object]:
    """Train and test as the options say; return what is printed."""
    torch.manual_seed(options.seed)
    data = Path(options.data)
    photos, test_photos = PhotoFolder(data / "train", options.size), PhotoFolder(data / "test", options.size)
    num_classes = len(photos.class_names)
    train_rows, validation_rows = split(np.array(photos.labels), num_classes, options.seed)

    def load(dataset: Dataset, shuffle: bool = False) -> DataLoader:
        return DataLoader(dataset, options.batch, shuffle=shuffle, num_workers=1)

    train_batches = load(Subset(photos, train_rows.tolist()), shuffle=True)
    model = network(options, num_classes)
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, options.size, options.size))  # gives the lazy layer its size
    trainer = Trainer(model, options.lr, options.channels_last, options.bf16)
    validation_batches, test_batches = load(Subset(photos, validation_rows.tolist())), load(test_photos)
    images, seconds, history = train(trainer, train_batches, validation_batches, test_batches, options)
    return {
        "recipe": options.recipe,
        "epochs": len(history),
        "train_seconds": round(seconds, 1),
        "images_per_second": round(images / seconds, 1),
        "val_accuracy": history[-1]["val_accuracy"],
        "test_accuracy": history[-1]["test_accuracy"],
        "history": history,
    }


def train(
    trainer: Trainer, batches: DataLoader, validation: DataLoader, test: DataLoader, options: argparse.Namespace
) -> tuple[int, float, list[dict[str, float]]]:
    """Train for `options.epochs`, or until `options.seconds` have passed since the start of the program.

    Returns:
        Images trained on, the seconds of that, and the history. The time of testing does not count.
    """
    epochs, seconds = options.epochs or math.inf, options.seconds or math.inf
    images, trained, tested = 0, 0.0, 0.0
    history: list[dict[str, float]] = []
    while len(history) < epochs and (not history or time.perf_counter() < START + seconds + tested):
        begin = time.perf_counter()
        images += trainer.train_epoch(batches, START + seconds + tested)
        trained += time.perf_counter() - begin
        val_accuracy = trainer.measure_accuracy(validation)
        end = time.perf_counter()
        test_accuracy = trainer.measure_accuracy(test)
        history.append(
            {
                "seconds": round(end - START - tested, 1),
                "val_accuracy": round(val_accuracy, 4),
                "test_accuracy": round(test_accuracy, 4),
            }
        )
        tested += time.perf_counter() - end
    return images, trained, history


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `NetworkOptions`, and the image size."""
    parser.add_argument("--size", type=int, default=224, help="side of the images in pixels")
    parser.add_argument("--recipe", choices=("seed", "fixed"), default="seed")
    parser.add_argument("--filters", type=int, default=32, help="filters of the first block")
    parser.add_argument("--filter-org", choices=tuple(FILTER_GROWTH), default="same", help="from block to block")
    parser.add_argument("--kernel", type=int, default=2, help="side of the filters in pixels")
    parser.add_argument("--activation", choices=tuple(ACTIVATIONS), default="gelu")
    parser.add_argument("--dropout", type=float, default=0.2)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder with train/<class>/ and test/<class>/")
    add_network_options(parser)
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--epochs", type=int, help="train for this number of epochs")
    length.add_argument("--seconds", type=float, help="train as long as this")
    parser.add_argument("--batch", type=int, default=32, help="images of a training step")
    parser.add_argument("--lr", type=float, default=1e-4, help="Adam's learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--channels-last", action="store_true", help="store images and maps as NHWC")
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16 where autocast does")
    print(json.dumps(run(parser.parse_args())))


if __name__ == "__main__":
    main()
