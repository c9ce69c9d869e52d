"""What every test can ask for: a cache of its own, real photos, and small labelled folders."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workbench.runtime import load_tensorflow

load_tensorflow()

SHARED = Path(__file__).parents[2] / "shared"


def pytest_collection_modifyitems(items):
    """The longest test starts first, beside the others, and does not run alone in the end."""
    items.sort(key=lambda item: item.path.name != "test_stress.py")


@pytest.fixture(scope="session", autouse=True)
def shared_cache(tmp_path_factory):
    """A cache for what several tests share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The test's own cache folder: nothing is read from the user's, nothing is left there."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture
def flowers():
    """The folder of 960 real photos of 12 classes, 224 px."""
    folder = SHARED / "data" / "flowers"
    if not folder.is_dir():
        pytest.skip(f"the flower photos are not at {folder}")
    return folder


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """An empty working directory, so that runs/ and logs/ land in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def red_and_blue(tmp_path):
    """A labelled folder of generated photos, 10 to train and 5 to test for each of two colours."""
    root, rng = tmp_path / "red_and_blue", np.random.default_rng(0)
    for part, count in (("train", 10), ("test", 5)):
        for name, colour in (("red", (200, 40, 40)), ("blue", (40, 40, 200))):
            folder = root / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = (np.array(colour) + rng.integers(-30, 30, (40, 40, 3))).clip(0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index:03d}.png")
    return root


@pytest.fixture
def photo_folder(tmp_path):
    """Makes a labelled folder of generated JPEGs that a network can learn: each class has its own colour.

    Args of what it returns: classes (names), train and test (images a class; None makes no such folder, and
    without a test folder the classes stand in the root), size in pixels, name of the folder.
    """

    def make(classes=("daisy", "iris", "rose"), train=10, test=4, size=40, name="photos"):
        root, rng = tmp_path / name, np.random.default_rng(0)
        parts = {"": train} if test is None else {"train": train, "test": test}
        for part, count in parts.items():
            for label, class_name in enumerate(classes):
                folder = root / part / class_name
                folder.mkdir(parents=True)
                colour = np.random.default_rng(label).integers(40, 216, 3)
                for number in range(count):
                    pixels = rng.normal(colour, 12, (size, size, 3)).clip(0, 255).astype(np.uint8)
                    Image.fromarray(pixels).save(folder / f"{class_name}-{number:02d}.jpg", quality=90)
        return root

    return make


def pytest_terminal_summary(terminalreporter):
    """Print what tests have counted (`record_property("counts", ...)`)."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "counts":
                terminalreporter.write_line(f"{report.nodeid}: {value}")
