"""Measure whole epochs in PyTorch: training on augmented photos, and validation; in its four settings.

    python benchmarks/peers/torch_epochs.py DATA [--size 64] [--batch 32] [--epochs 3] [--float32]

The photos of `DATA/train` are decoded once, before anything is measured, and stay in the memory of the device. The
network is that of torch_baseline.py, recipe `fixed`; a fifth of the photos validates. Each batch is augmented at once
by tensor operations: half of the photos are flipped, each is moved by up to a tenth of its side, and brightness,
contrast and saturation vary by up to a fifth. Prints one line of JSON: training photos a second of each setting's
fastest epoch after the first, channels-last or not, bfloat16 or not; the settings take turns.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch_baseline import (
    DEVICE,
    IMAGENET_MEAN,
    IMAGENET_STD,
    PhotoFolder,
    Trainer,
    add_network_options,
    network,
    split,
)

SHIFT, JITTER = 0.1, 0.2
GREY = (0.299, 0.587, 0.114)  # shares of red, green and blue


def decode(photos: PhotoFolder) -> torch.Tensor:
    """Return the photos as uint8 (n, 3, size, size)."""
    pixels = np.stack([photos.decode(index) for index in range(len(photos))])
    return torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()).to(DEVICE)


def augment(images: torch.Tensor) -> torch.Tensor:
    """Flip, move and jitter photos, uint8 (n, 3, size, size), at random; return float32 between 0 and 255."""
    count, size = len(images), images.shape[-1]
    places = torch.arange(size, device=DEVICE)

    def find_sources() -> torch.Tensor:
        by = torch.randint(-round(SHIFT * size), round(SHIFT * size) + 1, (count, 1), device=DEVICE)
        return size - 1 - (size - 1 - (places - by).abs()).abs()  # the edge is mirrored

    rows, columns = find_sources(), find_sources()
    columns = torch.where(torch.rand(count, 1, device=DEVICE) < 0.5, columns, size - 1 - columns)
    each = torch.arange(count, device=DEVICE)[:, None, None]
    moved = images.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).float()
    brightness, contrast, saturation = 1 - JITTER + 2 * JITTER * torch.rand(3, count, 1, 1, 1, device=DEVICE)
    moved = moved * brightness
    mean = moved.mean((1, 2, 3), keepdim=True)
    moved = mean + contrast * (moved - mean)
    grey = (moved * torch.tensor(GREY, device=DEVICE)[:, None, None]).sum(1, keepdim=True)
    return (grey + saturation * (moved - grey)).clamp(0, 255)


def normalize(images: torch.Tensor) -> torch.Tensor:
    """Return photos between 0 and 255, (n, 3, size, size), normalised as for ImageNet."""
    mean, std = (torch.tensor(values, device=DEVICE)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (images.float() / 255 - mean) / std


class Epochs:
    """Epochs of one setting."""

    def __init__(self, options: argparse.Namespace, num_classes: int, channels_last: bool, bf16: bool) -> None:
        torch.manual_seed(0)
        model = network(options, num_classes).to(DEVICE)
        model(torch.zeros(2, 3, options.size, options.size, device=DEVICE))  # gives the lazy layer its size
        self.trainer, self.batch = Trainer(model, 1e-3, channels_last, bf16), options.batch

    def run(self, images: torch.Tensor, labels: torch.Tensor, train: torch.Tensor, validation: torch.Tensor) -> float:
        """Train on `train` and validate on `validation`, rows of the images; return the training photos a second."""
        start = time.perf_counter()
        self.trainer.model.train()
        for rows in train[torch.randperm(len(train), device=DEVICE)].split(self.batch):
            self.trainer.step(normalize(augment(images[rows])), labels[rows])
        self.trainer.measure_accuracy((normalize(images[rows]), labels[rows]) for rows in validation.split(256))
        return len(train) / (time.perf_counter() - start)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder with train/<class>/")
    add_network_options(parser)
    parser.add_argument("--batch", type=int, default=32, help="photos of a training step")
    parser.add_argument("--epochs", type=int, default=3, help="of each setting; the first is not counted")
    parser.add_argument("--float32", action="store_true", help="leave bfloat16 out, where the processor has none")
    options = parser.parse_args()
    photos = PhotoFolder(Path(options.data, "train"), options.size)
    images, labels = decode(photos), torch.tensor(photos.labels, device=DEVICE)
    parts = split(np.array(photos.labels), len(photos.class_names), seed=0)
    train, validation = (torch.from_numpy(rows).to(DEVICE) for rows in parts)
    settings = {
        "PyTorch" + " channels-last" * channels_last + " bfloat16" * bf16: Epochs(
            options, len(photos.class_names), channels_last, bf16
        )
        for channels_last in (False, True)
        for bf16 in ((False,) if options.float32 else (False, True))
    }
    rates: dict[str, list[float]] = {name: [] for name in settings}
    for _ in range(options.epochs):
        for name, epochs in settings.items():
            rates[name].append(epochs.run(images, labels, train, validation))
    print(json.dumps({name: max(values[1:]) for name, values in rates.items()}))


if __name__ == "__main__":
    main()
