"""What pruning and hyperband reach for how many epochs, next to the full grid.

    python -m benchmarks.early_stopping

A 96-point grid on the embedded digits, 9 epochs a trial, in full; then with `--prune median`, `--prune halving` and
`--tuner hyperband`: best validation accuracy, and epochs trained as a share of the full grid's.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from workbench.files import read_json

SPACE = """
parameters:
  epochs: {value: 9}
  num_filters: {value: 8}
  activation: {values: [gelu, relu]}
  batch_norm: {values: [true, false]}
  data_aug: {values: [true, false]}
  dropout: {values: [0.2, 0.3, 0.4, 0.5]}
  learning_rate: {values: [0.001, 0.005, 0.0001]}
"""
SEARCHES = {
    "full grid": ["--max-trials=all"],
    "median": ["--max-trials=all", "--prune=median"],
    "halving": ["--max-trials=all", "--prune=halving"],
    "hyperband": ["--tuner=hyperband"],
}


def run(words):
    """(best validation accuracy, epochs trained, trials) of one sweep."""
    with tempfile.TemporaryDirectory() as folder:
        space = Path(folder) / "space.yaml"
        space.write_text(SPACE)
        words = [*words, f"--space={space}", "--name=s", f"--runs-dir={folder}/runs", f"--logs-dir={folder}/logs"]
        subprocess.run([sys.executable, "-m", "cnn_scratch.tune", *words], check=True, stdout=subprocess.DEVNULL)
        results = [read_json(path) for path in Path(folder).glob("runs/s/tuner/trial_*/result.json")]
    done = [result for result in results if result["status"] != "failed"]
    epochs = sum(result["epochs"] - result["resumed_after"] for result in done)
    return max(result["val_accuracy"] for result in done), epochs, len(results)


def main():
    full = None
    for name, words in SEARCHES.items():
        accuracy, epochs, trials = run(words)
        full = full or epochs
        print(f"{name:10} best {accuracy:6.2%}  {epochs:4d} epochs ({epochs / full:4.0%})  {trials} trials", flush=True)


if __name__ == "__main__":
    main()
