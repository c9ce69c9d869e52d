"""Pass damaged image files to every command that reads images: no crash, no hang, every file used or listed.

    python -m benchmarks.fuzz_images [--files 5000] [--seed 0]

Writes JPEG, PNG, GIF, BMP, WebP, TIFF, AVIF and HEIC files with flipped bits, cut short, named wrongly, empty, filled
with zeros or noise, joined from two files, or declaring enormous sizes, among whole ones. Then inspects them as
`python -m workbench.data inspect` does, trains a tiny network on them and classifies each. Prints how many files were
used and listed, how long each command took and how much memory it needed at most.
"""

import argparse
import contextlib
import io
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType

import psutil

from benchmarks.damaged_images import write_damaged_images
from workbench.runtime import load_tensorflow

load_tensorflow()  # quietly, before an import below does it

from cnn_scratch.config import TrainConfig
from cnn_scratch.train import train
from workbench import cli
from workbench.commands import PredictConfig
from workbench.data.config import InspectConfig
from workbench.data.dataset import load_dataset
from workbench.data.inspecting.inspection import inspect
from workbench.files import read_csv
from workbench.predict import predict

MEMORY_LIMIT = 1.5e9  # bytes beyond what was resident before; one image of 120 million pixels takes 0.5 GB


def train_on(root: Path, folder: Path) -> tuple[set[str], set[str], Path]:
    """Train a tiny network for an epoch; return (images used, images listed as unreadable, run folder)."""
    values = {"image_size": 32, "max_unreadable": 1.0, "num_filters": 2, "dense_units": 8, "epochs": 1}
    places = {f"{name}_dir": str(folder / name) for name in ("runs", "logs", "cache")}
    config = cli.from_values(
        TrainConfig, {"data": str(root), "image_size": 32, **values, **places}, where="fuzz_images"
    )
    run = train(config)
    listed = {row["image"] for row in read_csv(run / "unreadable.csv")}
    return set(load_dataset(config.data, config.training.seed).names), listed, run


class Watch:
    """Measure a block.

    Attributes:
        seconds: that the block took.
        memory: the most resident memory beyond what there was before, in bytes.
    """

    def __enter__(self) -> "Watch":
        self._process, self._stop = psutil.Process(), threading.Event()
        self._before, self.memory, self._start = self._process.memory_info().rss, 0, time.perf_counter()
        self._thread = threading.Thread(target=self._watch_memory)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.seconds = time.perf_counter() - self._start

    def _watch_memory(self) -> None:
        while not self._stop.wait(0.01):
            self.memory = max(self.memory, self._process.memory_info().rss - self._before)


def check_commands(root: Path, files: set[str], folder: Path) -> None:
    """Run the three commands on the files and check that they agree on which are readable."""
    with Watch() as watch:
        findings = inspect(InspectConfig(data=str(root), page=str(folder / "page.html")))
    scan = findings.scan
    used, listed, others = set(scan.names), {name for name, _ in scan.unreadable}, set(scan.others)
    assert used | listed | others == files, "a file is neither used nor listed"
    assert len(used) + len(listed) + len(others) == len(files), "a file is counted twice"
    page = findings.page.read_text()
    assert all(name in page for name in listed | others), "a file is not on the page"
    report("inspect", watch, f"{len(used):,} used, {len(listed):,} unreadable, {len(others):,} no images")
    with Watch() as watch:
        trained, skipped, run = train_on(root, folder)
    assert (trained, skipped) == (used, listed), "training and inspect disagree on what is readable"
    report("train", watch, f"{len(trained):,} used, {len(skipped):,} listed in unreadable.csv")
    silence = io.StringIO()
    with Watch() as watch, contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
        classified, reported = predict(PredictConfig(str(run), [str(root)]))
    assert (classified, reported) == (len(used), len(listed)), "predict and inspect disagree on what is readable"
    report("predict", watch, f"{classified:,} classified, {reported:,} reported")


def report(command: str, watch: Watch, result: str) -> None:
    """Print what a command did, and check its memory."""
    memory = f"at most {watch.memory / 1e6:,.0f} MB more memory"
    print(f"{command}: {result}; {watch.seconds:.1f} s, {memory}", flush=True)
    assert watch.memory < MEMORY_LIMIT, "memory is not bounded"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        mutations = write_damaged_images(folder / "fuzzed", options.files, options.seed)
        check_commands(folder / "fuzzed", set(mutations), folder)


if __name__ == "__main__":
    main()
