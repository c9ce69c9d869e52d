"""Measure the share of the workers' time that is spent in training and evaluation steps.

    python -m benchmarks.sweep_busy FOLDER [--trials 16] [--image-size 64]

Runs the default sweep on a folder of photos with all workers. A worker's time counts from the start of its first
trial to the end of the last trial of all. A trial's steps count as its epochs times its median epoch, so that the
tracing of the network in a first epoch does not count as steps.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

from benchmarks.sweeps import TrialResult, run_sweep


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder of photos")
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--image-size", type=int, default=64, help="side of the images in pixels")
    options = parser.parse_args()
    words = [f"--data={options.data}", f"--image-size={options.image_size}", f"--max-trials={options.trials}"]
    with tempfile.TemporaryDirectory() as folder:
        results = run_sweep(Path(folder), *words)
    steps = sum(step_seconds(result) for result in results if result["status"] == "completed")
    end = max(result["ended"] for result in results)
    first_starts: dict[str, float] = {}
    for result in results:
        worker = result["worker"]
        first_starts[worker] = min(result["started"], first_starts.get(worker, result["started"]))
    wall = sum(end - start for start in first_starts.values())
    print(f"{len(results)} trials on {len(first_starts)} workers: {steps:.0f} s of steps in {wall:.0f} s of wall time")
    print(f"busy share: {steps / wall:.0%}")


def step_seconds(result: TrialResult) -> float:
    """Return the seconds that a trial spent in steps, without tracing."""
    epochs = [row["seconds"] for row in result["history"][result["resumed_after"] :]]
    return len(epochs) * statistics.median(epochs)


if __name__ == "__main__":
    main()
