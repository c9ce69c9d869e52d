"""Compare a sweep's trials an hour with plain KerasTuner's, or check that memory and speed stay flat.

    python -m benchmarks.sweep_speed [--plain-trials 24] [--trials 96] [--long]

Runs 96 one-epoch trials on the embedded digits: 8 filters, activation x batch_norm x dropout x learning_rate (8
graphs), with all workers, start-up included; then benchmarks/peers/plain_keras_tuner.py on the first `--plain-trials`
of the same points. Plain KerasTuner slows down with every trial, so that fewer trials flatter it. `--long` runs 300
trials instead, prints how memory and speed change after every graph has been traced, and compares with nothing.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.sweeps import run_folder, sweep_command
from workbench.files import read_csv

SPACE = """
parameters:
  epochs: {{value: 1}}
  num_filters: {{value: 8}}
  activation: {{values: [mish, gelu, relu, silu]}}
  batch_norm: {{values: [true, false]}}
  dropout: {{values: [0.2, 0.3, 0.4, 0.5]}}
  learning_rate: {{values: [0.001, 0.005, 0.0001]}}
  seed: {{values: {seeds}}}
"""
LONG_TRIALS, TRACED, WINDOW = 300, 100, 50  # every graph has been traced after TRACED trials


@dataclass(frozen=True)
class SweepRecord:
    """A finished sweep.

    Attributes:
        seconds: from the start of the command to its end.
        rows: of trials.csv.
        memory: (time, resident bytes of the command and its workers), twice a second.
    """

    seconds: float
    rows: list[dict[str, str]]
    memory: list[tuple[float, int]]


def run_sweep(trials: int, seeds: list[int]) -> SweepRecord:
    """Run the sweep and watch its memory."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        command = sweep_command(folder, f"--max-trials={trials}", space=SPACE.format(seeds=seeds))
        start = time.time()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        memory: list[tuple[float, int]] = []
        watcher = threading.Thread(target=watch_memory, args=(process.pid, memory))
        watcher.start()
        if process.wait() != 0:
            raise SystemExit("the sweep failed")
        seconds = time.time() - start
        watcher.join()
        return SweepRecord(seconds, read_csv(run_folder(folder) / "trials.csv"), memory)


def watch_memory(pid: int, memory: list[tuple[float, int]]) -> None:
    """Append to `memory` until the process ends."""
    while True:
        try:
            parent = psutil.Process(pid)
            processes = [parent, *parent.children(recursive=True)]
            memory.append((time.time(), sum(process.memory_info().rss for process in processes)))
        except psutil.Error:
            return
        time.sleep(0.5)


def measure_plain_search(trials: int) -> float:
    """Return the seconds of plain KerasTuner's search, start-up included."""
    start = time.time()
    command = [sys.executable, "-m", "benchmarks.peers.plain_keras_tuner", str(trials)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.time() - start


def compare(trials: int, plain_trials: int) -> None:
    """Print the trials an hour of both, and their ratio."""
    ours = run_sweep(trials, [0])
    failed = sum(row["status"] != "completed" for row in ours.rows)
    hourly = 3600 * len(ours.rows) / ours.seconds
    summary = f"{len(ours.rows)} trials ({failed} failed) in {ours.seconds:.1f} s, {hourly:,.0f} trials an hour"
    print(f"this sweep:       {summary}", flush=True)
    plain_seconds = measure_plain_search(plain_trials)
    plain_hourly = 3600 * plain_trials / plain_seconds
    print(f"plain KerasTuner: {plain_trials} trials in {plain_seconds:.1f} s, {plain_hourly:,.0f} trials an hour")
    print(f"ratio: {hourly / plain_hourly:.1f}")


def check_flatness() -> None:
    """Print the seconds a trial and the memory after all graphs have been traced, and at the end."""
    record = run_sweep(LONG_TRIALS, [0, 1, 2, 3])
    ends = sorted(float(row["ended"]) for row in record.rows)
    early = (ends[TRACED + WINDOW - 1] - ends[TRACED - 1]) / WINDOW
    late = (ends[-1] - ends[-1 - WINDOW]) / WINDOW
    traced, end = ends[TRACED - 1], ends[-1]
    before = max(size for at, size in record.memory if traced - 3 <= at <= traced + 1)
    after = max(size for at, size in record.memory if at >= end - 3)
    print(f"{len(record.rows)} trials in {record.seconds:.1f} s")
    print(
        f"trials {TRACED} to {TRACED + WINDOW}: {1000 * early:.0f} ms a trial; the last {WINDOW}: {1000 * late:.0f} ms"
    )
    print(
        f"memory of all processes: {before / 1e9:.2f} GB after {TRACED} trials, {after / 1e9:.2f} GB at the end "
        f"({after / before - 1:+.1%})"
    )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=96, help="trials of this project's sweep")
    parser.add_argument("--plain-trials", type=int, default=24, help="trials of plain KerasTuner")
    parser.add_argument("--long", action="store_true", help=f"run {LONG_TRIALS} trials, compare with nothing")
    options = parser.parse_args()
    if options.long:
        check_flatness()
    else:
        compare(options.trials, options.plain_trials)


if __name__ == "__main__":
    main()
