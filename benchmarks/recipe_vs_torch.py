"""Compare `--budget` with a plain PyTorch script that trains as long, on the same photos: accuracy and its curve.

    python -m benchmarks.recipe_vs_torch FOLDER [--seconds 180 | --epochs 10] [--size 64] [--seeds 3] [--python PYTHON]

With `--epochs`, PyTorch trains so many epochs, and ours once in as many seconds and once in a quarter of them.

Ours is `cnn_scratch.train --config strong.yaml --budget SECONDS` without any other option, then `workbench.evaluate`.
The other side is benchmarks/peers/torch_baseline.py, recipe `fixed`: the same five blocks at --size pixels, 32
doubling filters of 3x3, Adam at 0.001, channels-last, in float32 or bfloat16, whichever trains more images a second;
its test accuracy is that of the epoch that validates best. For both, the seconds count from the start of the process.
The two take turns, seed by seed. The machine must be idle.

Prints a table of the test accuracies with the sample standard deviation, and writes the validation accuracies by
seconds to --out as CSV and as a figure. PYTHON needs benchmarks/peers/requirements.txt.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from benchmarks.trainings import format_spread, run_module
from workbench.files import read_csv, read_json, write_csv

PEER = Path(__file__).parent / "peers" / "torch_baseline.py"
NETWORK = ["--recipe=fixed", "--filter-org=double", "--kernel=3", "--activation=relu", "--lr=1e-3", "--channels-last"]
Curve = list[tuple[float, float]]  # (seconds since the start, validation accuracy)


def train_ours(folder: str, seconds: float, seed: int, runs: Path) -> tuple[float, float, Curve]:
    """Train within a budget and evaluate.

    Returns:
        Test accuracy, the seconds that the training command took, and the curve.
    """
    path = runs / f"ours-{seed}-{seconds:.0f}s"
    places = [f"--runs-dir={runs}", f"--logs-dir={runs / 'logs'}", f"--name={path.name}"]
    seeds = [f"--seed={seed}", "--split-seed=0"]
    start = time.perf_counter()
    run_module(
        "cnn_scratch.train", "--config=strong.yaml", f"--data={folder}", f"--budget={seconds:.0f}s", *places, *seeds
    )
    passed = time.perf_counter() - start
    run_module("workbench.evaluate", str(path))
    history = read_csv(path / "history.csv")
    before = passed - sum(float(row["seconds"]) for row in history)
    curve, spent = [], before
    for row in history:
        spent += float(row["seconds"])
        curve.append((spent, float(row["val_accuracy"])))
    return read_json(path / "metrics.json")["test"]["accuracy"], passed, curve


def train_peer(python: str, folder: str, seed: int, options: Sequence[str]) -> tuple[float, Curve]:
    """Return the test accuracy of the epoch that validates best, and the curve."""
    history = run_peer(python, folder, f"--seed={seed}", *options)["history"]
    best = max(history, key=lambda epoch: epoch["val_accuracy"])
    return best["test_accuracy"], [(epoch["seconds"], epoch["val_accuracy"]) for epoch in history]


def choose_peer_format(python: str, folder: str, size: list[str]) -> list[str]:
    """Return the options of the number format in which the peer trains more images a second, from one minute each."""
    formats: list[list[str]] = [[], ["--bf16"]]
    rates = [run_peer(python, folder, "--seconds=60", *size, *name)["images_per_second"] for name in formats]
    return formats[rates.index(max(rates))]


def run_peer(python: str, folder: str, *options: str) -> dict[str, Any]:
    """Run the PyTorch script and return what it prints."""
    command = [python, str(PEER), folder, *NETWORK, *options]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def draw_curves(curves: dict[str, list[Curve]], file: Path) -> None:
    """Draw the validation accuracy by seconds, one line a training."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for number, (label, trainings) in enumerate(curves.items()):
        for first, curve in enumerate(trainings):
            seconds, accuracies = zip(*curve, strict=True)
            axes.plot(seconds, accuracies, f"C{number}.-", label="" if first else label)
    axes.set(xlabel="seconds since the start", ylabel="validation accuracy")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=110)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="folder of photos with train/ and test/")
    parser.add_argument("--seconds", type=float, default=180, help="for each training, unless --epochs is given")
    parser.add_argument("--epochs", type=int, help="of PyTorch; ours gets as many seconds, and a quarter of them")
    parser.add_argument("--size", type=int, default=64, help="side of the peer's images in pixels")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each side")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has PyTorch")
    parser.add_argument("--out", default="recipe_vs_torch", help="folder of the curves")
    options = parser.parse_args()

    size = [f"--size={options.size}"]
    size += choose_peer_format(options.python, options.folder, size)
    length = f"--epochs={options.epochs}" if options.epochs else f"--seconds={options.seconds}"
    shares = {"ours": 1.0, "ours in a quarter of the time": 0.25} if options.epochs else {"ours": 1.0}
    curves: dict[str, list[Curve]] = {name: [] for name in (*shares, "PyTorch")}
    scores: dict[str, list[float]] = {name: [] for name in curves}
    with tempfile.TemporaryDirectory() as runs:
        for seed in range(options.seeds):
            score, curve = train_peer(options.python, options.folder, seed, [*size, length])
            seconds = curve[-1][0] if options.epochs else options.seconds
            print(f"seed {seed}: PyTorch {score:.1%} ({len(curve)} epochs in {curve[-1][0]:.0f} s)", flush=True)
            curves["PyTorch"].append(curve)
            scores["PyTorch"].append(score)
            for name, share in shares.items():
                score, passed, curve = train_ours(options.folder, seconds * share, seed, Path(runs))
                print(f"seed {seed}: {name} {score:.1%} ({len(curve)} epochs in {passed:.0f} s)", flush=True)
                curves[name].append(curve)
                scores[name].append(score)

    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    rows = [
        {"side": side, "seed": seed, "seconds": round(seconds, 1), "val_accuracy": round(accuracy, 4)}
        for side, trainings in curves.items()
        for seed, curve in enumerate(trainings)
        for seconds, accuracy in curve
    ]
    write_csv(out / "curves.csv", rows)
    draw_curves(curves, out / "curves.png")
    print(f"\nPyTorch with {' '.join([*size, length])}\n| | test accuracy | spread |\n|---|---|---|")
    for side, values in scores.items():
        print(f"| {side} | {statistics.mean(values):.1%} | {format_spread(values)} |")


if __name__ == "__main__":
    main()
