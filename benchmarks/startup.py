"""Measure the CPU seconds of small commands, nearly all of which are imports and the tracing of graphs.

    python -m benchmarks.startup [--repeats 3]

Trains one epoch on the digits data, then tests the run, makes its report, and classifies one image, each as a process
of its own; then trains again and again in this process, where later trainings share the first one's graph. It prints
user and system time, which hardly depends on how busy the machine is, as the median of the repetitions.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from cnn_scratch.commands import TRAIN
from workbench import cli

_NAME = "run"


def measure_process(*words: str) -> float:
    """Run a command of the project in a process of its own, and return its CPU seconds."""
    before = _count_seconds(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "workbench", *words], check=True, stdout=subprocess.DEVNULL)
    return _count_seconds(resource.RUSAGE_CHILDREN) - before


def measure_call(call: Callable[[], object]) -> float:
    """Return the CPU seconds of a call in this process."""
    before = _count_seconds(resource.RUSAGE_SELF)
    call()
    return _count_seconds(resource.RUSAGE_SELF) - before


def _count_seconds(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def list_train_options(folder: Path, name: str) -> list[str]:
    """Return the options of a one-epoch training on the digits data."""
    places = [f"--runs-dir={folder}/runs", f"--logs-dir={folder}/logs", f"--name={name}", "--overwrite"]
    return ["--data=digits", "--epochs=1", *places]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        run, photo = str(folder / "runs" / _NAME), folder / "photo.png"
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(photo)
        commands = {
            "train": ["train", *list_train_options(folder, _NAME)],
            "evaluate": ["evaluate", run],
            "report": ["report", run],
        }
        for name, words in commands.items():
            show(name, [measure_process(*words) for _ in range(repeats)])
        first, *later = [measure_process("predict", run, str(photo)) for _ in range(1 + repeats)]
        show("the first predict", [first])  # it keeps a copy of the model that later ones use
        show("predict", later)
        options = list_train_options(folder, "warm")
        codes: list[int] = []
        seconds = [measure_call(lambda: codes.append(cli.main(TRAIN, options))) for _ in range(1 + repeats)]
        if any(codes):
            sys.exit("the training failed, see above")
    show("train again in one process", seconds[1:])


def show(name: str, seconds: list[float]) -> None:
    """Print the median of some times, and all of them."""
    print(f"{name:30} {statistics.median(seconds):5.2f} s   ({', '.join(f'{value:.2f}' for value in seconds)})")


if __name__ == "__main__":
    main()
