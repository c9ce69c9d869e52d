"""Fixtures for all tests: a cache folder for each test, real photos, small labelled folders, optional tools."""

import gc
import importlib
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
import pytest
from PIL import Image

from tests import processes
from workbench.runtime import load_tensorflow

# A shell starts background jobs with Ctrl-C ignored, and the processes that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).parents[2] / "shared"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"),
)


def pytest_configure(config: pytest.Config) -> None:
    """Start the server of processes in the process that pytest was started with; load TensorFlow where tests run."""
    is_worker = hasattr(config, "workerinput")
    if not is_worker:
        folder = tempfile.TemporaryDirectory()
        config.add_cleanup(folder.cleanup)
        server = processes.serve(Path(folder.name))
        next(server)
        config.add_cleanup(lambda: next(server, None))
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # of the processes that tests start
    if is_worker or not config.getoption("numprocesses", None):
        load_tensorflow(threads=1)  # the networks are tiny: more threads cost more than they save


@pytest.fixture(scope="module", autouse=True)
def freeze_survivors() -> None:
    """Let the garbage collector skip what is there before a file's tests: TensorFlow, and what earlier tests keep.

    A full collection looks at every other object, which takes most of a second after hundreds of tests, and KerasTuner
    does three of them a trial.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def forked_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the workers of sweeps in this process as forks, which takes a fraction of the time."""
    monkeypatch.setattr("workbench.sweep.workers.start_worker_process", processes.start_worker)


@pytest.fixture(scope="session", autouse=True)
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Use a temporary cache folder for what several tests share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the cache folder of this test. The user's cache is neither read nor written."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


@pytest.fixture(autouse=True)
def leave_empty_reports(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands in this process leave an empty report, except in tests that are marked `report`.

    Drawing a report's figures takes as long as a tiny sweep.
    """
    if request.node.get_closest_marker("report") is None:
        names = ("reporting.run_report", "training.run_results", "sweep.running_sweep", "evaluate", "explain")
        replace_in_modules(monkeypatch, names, "leave_report", write_empty_report)


@pytest.fixture(autouse=True)
def leave_out_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let evaluations and comparisons in this process draw one empty figure, except in tests marked `figures`.

    To draw them all takes longer than to predict the few images of a test.
    """
    if request.node.get_closest_marker("figures") is None:
        replace_in_modules(
            monkeypatch, ("reporting.evaluation_figures", "evaluate"), "draw_figures", draw_empty_figures
        )
        replace_in_modules(monkeypatch, ("compare",), "draw_comparison", draw_empty_figure)


def replace_in_modules(
    monkeypatch: pytest.MonkeyPatch, names: Sequence[str], function: str, value: Callable[..., object]
) -> None:
    """Replace a function in several modules of `workbench`.

    All are imported before: one that is imported later would keep the replacement after the test.
    """
    for module in [importlib.import_module(f"workbench.{name}") for name in names]:
        monkeypatch.setattr(module, function, value)


def write_empty_report(folder: str | Path, output: str | Path | None = None) -> str:
    """Write an empty report.html, and return its path, as `leave_report` does."""
    path = Path(output or folder) / "report.html"
    path.write_text("")
    return str(path)


def draw_empty_figures(folder: Path, *_: object) -> list[Path]:
    """Draw an empty figure into a folder, and return its path, as `draw_figures` does with several."""
    folder.mkdir(exist_ok=True)
    return [draw_empty_figure(folder / "empty.png")]


def draw_empty_figure(path: Path, *_: object) -> Path:
    """Draw an empty figure, and return its path."""
    Image.new("RGB", (8, 8)).save(path)
    return path


def skip_outside_ci(reason: str) -> NoReturn:
    """Skip the test, or fail it where the environment variable CI is set: there nothing may be left out."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason} (a failure because CI is set)")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Start the Chromium or Chrome of all tests of this process, which Playwright drives; return its `Browser`."""
    try:
        sync_api = importlib.import_module("playwright.sync_api")
    except ImportError:
        skip_outside_ci("playwright is not installed; see requirements-dev.txt")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    path = found or skip_outside_ci(f"no {' or '.join(BROWSERS)} on the PATH")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(BROWSER_FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def onnxruntime() -> ModuleType:
    """Return the module onnxruntime where an export to ONNX is possible."""
    try:
        importlib.import_module("tf2onnx")
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        skip_outside_ci(f"{error.name} is not installed; see requirements-dev.txt")


@pytest.fixture
def flowers() -> Path:
    """Return the folder of 960 real photos of 12 classes, 224 px."""
    folder = SHARED / "data" / "flowers"
    if not folder.is_dir():
        pytest.skip(f"the flower photos are not at {folder}")
    return folder


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to an empty working directory, so that runs/ and logs/ are written there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def red_and_blue(tmp_path: Path) -> Path:
    """Write a labelled folder of generated photos: two colours, 10 to train and 5 to test of each."""
    return write_red_and_blue(tmp_path / "red_and_blue")


@pytest.fixture(scope="session")
def shared_red_and_blue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder like `red_and_blue` that fixtures of several tests use; it must not be written to."""
    return write_red_and_blue(tmp_path_factory.mktemp("shared") / "red_and_blue")


def write_red_and_blue(root: Path) -> Path:
    """Write the photos of `red_and_blue`."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 10), ("test", 5)):
        for name, colour in (("red", (200, 40, 40)), ("blue", (40, 40, 200))):
            folder = root / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = (np.array(colour) + rng.integers(-30, 30, (40, 40, 3))).clip(0, 255)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index:03d}.png")
    return root


@pytest.fixture
def photo_folder(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes a labelled folder of generated JPEGs; each class has its own colour.

    Its arguments: the classes' names, images of each class in train/ and in test/ (None writes the class folders
    into the root, without a test set), the side of the images in pixels, and the folder's name.
    """

    def make(
        classes: Sequence[str] = ("daisy", "iris", "rose"),
        train: int = 10,
        test: int | None = 4,
        size: int = 40,
        name: str = "photos",
    ) -> Path:
        root, rng = tmp_path / name, np.random.default_rng(0)
        parts: Mapping[str, int] = {"": train} if test is None else {"train": train, "test": test}
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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the counts that tests recorded with `record_property("counts", ...)`."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "counts":
                terminalreporter.write_line(f"{report.nodeid}: {value}")
