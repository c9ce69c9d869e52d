from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vision.runtime import load_tensorflow

load_tensorflow()

SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """A cache of decoded images that is not the user's own; one for all tests, as decoding again is slow."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture
def flowers():
    """The folder of 960 real photos."""
    folder = SHARED / "data" / "flowers"
    if not folder.is_dir():
        pytest.skip("../shared/data/flowers is not here")
    return folder


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """An empty working directory, so that runs/ and logs/ land in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def photo_folder(tmp_path):
    """A labelled folder of generated photos: two classes told apart by their colour, train/ and test/."""
    return make_photo_folder(tmp_path / "photos")


def make_photo_folder(root, per_class=10, size=40):
    rng = np.random.default_rng(0)
    for part, count in (("train", per_class), ("test", per_class // 2)):
        for name, colour in (("red", (200, 40, 40)), ("blue", (40, 40, 200))):
            folder = root / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                noise = rng.integers(-30, 30, (size, size, 3))
                Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(
                    folder / f"{index:03d}.png"
                )
    return root
