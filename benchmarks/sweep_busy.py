"""What share of the workers' time goes into training and evaluation steps.

    python -m benchmarks.sweep_busy FOLDER [--trials 16]

Runs the default sweep on a folder of photos at 64 px with all workers. A worker's wall time counts from its first
trial's start to the last trial's end. Steps are counted as a trial's epochs times its median epoch, so that the
tracing in a first epoch is no step.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from workbench.files import read_json


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("--trials", type=int, default=16)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        words = [f"--data={arguments.data}", "--image-size=64", f"--max-trials={arguments.trials}", "--name=s"]
        words += [f"--runs-dir={folder}/runs", f"--logs-dir={folder}/logs"]
        subprocess.run([sys.executable, "-m", "cnn_scratch.tune", *words], check=True, stdout=subprocess.DEVNULL)
        results = [read_json(path) for path in Path(folder).glob("runs/s/tuner/trial_*/result.json")]
    steps = sum(_step_seconds(result) for result in results if result["status"] == "completed")
    end = max(result["ended"] for result in results)
    workers = {result["worker"] for result in results}
    wall = sum(end - min(r["started"] for r in results if r["worker"] == worker) for worker in workers)
    print(f"{len(results)} trials on {len(workers)} workers: {steps:.0f} s of steps in {wall:.0f} s of wall time")
    print(f"busy share: {steps / wall:.0%}")


def _step_seconds(result):
    own = [row["seconds"] for row in result["history"][result["resumed_after"] :]]
    return len(own) * statistics.median(own)


if __name__ == "__main__":
    main()
