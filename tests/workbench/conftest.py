"""A tiny trained run, shared by the tests of the commands that read a run."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_scratch.config import TrainConfig
from cnn_scratch.train import train
from workbench.config import build

COLOURS = {"daisy": (200, 190, 60), "iris": (110, 60, 190), "rose": (190, 60, 80)}


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory):
    """A run folder of a three-class network, and its photos and logs; tests must not write to it."""
    root, rng = tmp_path_factory.mktemp("trained"), np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 6)):
        for name, colour in COLOURS.items():
            folder = root / "photos" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                tint = np.array(colour) + rng.normal(0, 45, 3)  # so that some are predicted to be of another class
                pixels = rng.normal(tint, 40, (32, 32, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{name}-{number:02d}.png")
    folders = {"runs_dir": str(root / "runs"), "logs_dir": str(root / "logs"), "cache_dir": str(root / "cache")}
    network = {"image_size": 32, "num_filters": 8, "dense_units": 8, "batch_norm": False, "dropout": 0.0}
    config = build(
        TrainConfig,
        data=str(root / "photos"),
        name="tiny",
        epochs=4,
        batch_size=4,
        learning_rate=0.01,
        **network,
        **folders,
    )
    return train(config)


@pytest.fixture
def tiny_run(trained_once, tmp_path):
    """A copy of the trained run folder, `runs/tiny`, that a test may write to; its logs are in `logs/tiny`."""
    for kind in ("runs", "logs"):
        shutil.copytree(trained_once.parents[1] / kind / "tiny", tmp_path / kind / "tiny")
    folder = tmp_path / "runs" / "tiny"
    set_config(folder, logs_dir=str(tmp_path / "logs"), runs_dir=str(tmp_path / "runs"))
    return folder


@pytest.fixture
def photos(trained_once):
    """The folder of photos that the run was trained on; tests must not write to it."""
    return trained_once.parents[1] / "photos"


@pytest.fixture
def configure():
    """Function that sets values in a run folder's config.yaml."""
    return set_config


def set_config(folder, **values):
    path = Path(folder) / "config.yaml"
    lines = [line for line in path.read_text().splitlines() if line.split(":")[0] not in values]
    path.write_text("\n".join([*lines, *(f"{name}: {json.dumps(value)}" for name, value in values.items())]) + "\n")
