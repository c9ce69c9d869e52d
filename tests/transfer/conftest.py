"""A small fine-tuning that every test of the part can change."""

import numpy as np
import pytest
from PIL import Image

from cnn_scratch.config import TrainConfig
from cnn_scratch.train import train
from transfer.config import TransferConfig
from workbench.config import build


@pytest.fixture(scope="session")
def scratch(tmp_path_factory):
    """(data folder, run folder) of a tiny network that cnn_scratch trained on photos of three colours, 32 px."""
    root = tmp_path_factory.mktemp("scratch")
    rng = np.random.default_rng(0)
    for part, count in (("train", 10), ("test", 3)):
        for name, colour in (("green", (40, 200, 40)), ("red", (200, 40, 40)), ("blue", (40, 40, 200))):
            folder = root / "colours" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.normal(colour, 30, (32, 32, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    folders = {"runs_dir": str(root / "runs"), "logs_dir": str(root / "logs"), "cache_dir": str(root / "cache")}
    data = root / "colours"
    options = {"image_size": 32, "num_filters": 8, "dense_units": 16, "epochs": 2, "name": "cnn"}
    config = build(TrainConfig, data=str(data), **options, **folders)
    return data, train(config)


@pytest.fixture
def config(scratch, workdir):
    """Fine-tunes the network from scratch: small, quick, and it has batch norms and dropout."""
    data, run = scratch
    return build(TransferConfig, data=str(data), from_=str(run), epochs=2, batch_size=8, name="r")
