"""Compare pruning and hyperband with the full grid: best accuracy, and epochs trained.

    python -m benchmarks.early_stopping [--epochs 9]

A grid of 96 points on the embedded digits, 9 epochs a trial, is swept in full, then with `--prune median`, with
`--prune halving` and with `--tuner hyperband`. Prints the best validation accuracy of each, and the epochs that it
trained as a share of the full grid's.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.sweeps import run_sweep

SPACE = """
parameters:
  epochs: {{value: {epochs}}}
  num_filters: {{value: 8}}
  activation: {{values: [gelu, relu]}}
  batch_norm: {{values: [true, false]}}
  data_aug: {{values: [true, false]}}
  dropout: {{values: [0.2, 0.3, 0.4, 0.5]}}
  learning_rate: {{values: [0.001, 0.005, 0.0001]}}
"""
SEARCHES = {
    "full grid": ["--max-trials=all"],
    "median": ["--max-trials=all", "--prune=median"],
    "halving": ["--max-trials=all", "--prune=halving"],
    "hyperband": ["--tuner=hyperband"],
}


def run_search(options: list[str], epochs: int) -> tuple[float, int, int]:
    """Run a sweep and return (best validation accuracy, epochs trained, trials)."""
    with tempfile.TemporaryDirectory() as folder:
        results = run_sweep(Path(folder), *options, space=SPACE.format(epochs=epochs))
    finished = [result for result in results if result["status"] != "failed"]
    trained = sum(result["epochs"] - result["resumed_after"] for result in finished)
    return max(result["val_accuracy"] for result in finished), trained, len(results)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=9, help="epochs of a trial that is not stopped")
    options = parser.parse_args()
    full_epochs = 0
    for name, words in SEARCHES.items():
        accuracy, epochs, trials = run_search(words, options.epochs)
        full_epochs = full_epochs or epochs
        share = epochs / full_epochs
        print(f"{name:10} best {accuracy:6.2%}  {epochs:4d} epochs ({share:4.0%})  {trials} trials", flush=True)


if __name__ == "__main__":
    main()
