"""Check the accuracy that a sweep expects of its winner on new images against real trials.

    python -m benchmarks.honest_winner FOLDER [--trials 24] [--train 150] [--pool 400] [--sweeps 20]

Runs one sweep of short trials on a part of the photos in FOLDER/train (a folder a class), with a large validation set:
the pool. Then it simulates sweeps: it divides the pool at random into validation and test images, chooses the winner of
the real trials on the validation images, estimates its accuracy from them alone, and compares with the test images.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.sweeps import run_folder, run_sweep
from workbench.files import write_csv
from workbench.sweep.analysis.honest_winner import compute_losses, estimate_winner
from workbench.sweep.outcomes.sweep_outcomes import SweepOutcomes, read_outcomes

SPACE = """
parameters:
  epochs: {value: 2}
  num_filters: {value: 16}
  dense_units: {value: 64}
  batch_size: {value: 64}
  batch_norm: {values: [true, false]}
  dropout: {values: [0.2, 0.5]}
  learning_rate: {values: [0.001, 0.002, 0.005]}
  seed: {values: [0, 1, 2, 3]}
"""
POINTS = 48
SIZES = ((200, 500), (500, 500), (500, 2000))  # validation images, test images


def write_table(folder: Path, where: Path, train: int, pool: int) -> Path:
    """Write a table of photos: for each class some to train, and the pool as validation images.

    Raises:
        SystemExit: a class has too few photos.
    """
    rows = []
    for photos in sorted(path for path in (folder / "train").iterdir() if path.is_dir()):
        names = sorted(photos.iterdir())
        if len(names) < train + pool + 1:
            raise SystemExit(f"{photos}: has {len(names)} photos, {train + pool + 1} are needed; lower --pool")
        parts = ["train"] * train + ["validation"] * pool + ["test"]
        rows += [
            {"image": str(name.resolve()), "label": photos.name, "split": part}
            for name, part in zip(names, parts, strict=False)
        ]
    write_csv(where / "photos.csv", rows)
    return where / "photos.csv"


def collect_outcomes(folder: Path, trials: int, train: int, pool: int) -> SweepOutcomes:
    """Run the sweep, and return its trials' predictions for the pool."""
    with tempfile.TemporaryDirectory() as temporary:
        table = write_table(folder, Path(temporary), train, pool)
        options = f"--data={table}", "--image-size=32", f"--max-trials={trials}"
        run_sweep(Path(temporary), *options, space=SPACE)
        outcomes = read_outcomes(run_folder(Path(temporary)))
        assert outcomes is not None
        return outcomes


def simulate(correct: np.ndarray, losses: np.ndarray, validation: int, test: int, sweeps: int) -> str:
    """Simulate sweeps with so many validation and test images, and return what came of it."""
    rng, covered = np.random.default_rng(0), 0
    best, expected, actual, widths = [], [], [], []
    for _ in range(sweeps):
        images = rng.permutation(correct.shape[1])
        chosen, new = images[:validation], images[validation : validation + test]
        found = estimate_winner(correct[:, chosen], losses[:, chosen], test)
        right = correct[:, chosen].sum(axis=1)
        tied = np.flatnonzero(right == right.max())
        winner = tied[losses[tied][:, chosen].sum(axis=1).argmin()]
        accuracy = correct[winner, new].mean()
        covered += found.low <= accuracy <= found.high
        best.append(found.best)
        expected.append(found.expected)
        actual.append(accuracy)
        widths.append(found.high - found.low)
    return (
        f"{validation} validation, {test} test images: {covered} of {sweeps} intervals cover the test accuracy of the "
        f"winner; mean validation accuracy {np.mean(best):.1%}, expected {np.mean(expected):.1%}, tested "
        f"{np.mean(actual):.1%}, width of the interval {np.mean(widths):.1%}"
    )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int, default=24, help=f"of the {POINTS} points of the space")
    parser.add_argument("--train", type=int, default=150, help="training photos of a class")
    parser.add_argument("--pool", type=int, default=400, help="photos of a class in the pool")
    parser.add_argument("--sweeps", type=int, default=20, help="simulated sweeps")
    options = parser.parse_args()
    outcomes = collect_outcomes(options.folder, options.trials, options.train, options.pool)
    correct, probabilities = outcomes.compute_correct(), outcomes.compute_true_probabilities()
    accuracies = correct.mean(axis=1)
    print(f"{len(correct)} trials, {accuracies.min():.1%} to {accuracies.max():.1%} on a pool of {correct.shape[1]:,}")
    losses = compute_losses(probabilities)
    for validation, test in SIZES:
        print(simulate(correct, losses, validation, test, options.sweeps), flush=True)


if __name__ == "__main__":
    main()
