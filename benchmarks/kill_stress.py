"""Kill a sweep many times, its command, a worker or both, and count what was lost when it has finished.

    python -m benchmarks.kill_stress [--kills 20] [--trials 240] [--seconds 3] [--data digits]

Runs one-epoch trials of a small network, sends SIGKILL at random moments and starts the same command again. At the end
every point must have been tried exactly once, no finished trial may be lost or repeated, and no file incomplete. The
outcome of each trial must be there once, with the checksum that the trial's record says, and be what the saved model of
the trial predicts (`benchmarks/outcome_checks.py`). `benchmarks.raylet_kills` does the same on a Ray cluster, without
the comparison with saved models.
"""

import argparse
import collections
import json
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import psutil

from benchmarks.sweeps import run_folder, sweep_command
from workbench.files import read_csv, read_json
from workbench.sweep.outcomes.outcome import CHECKSUM, FILE, compute_checksum
from workbench.sweep.outcomes.outcome_store import FOLDER, INDEX, map_rows, read_format

SPACE = """
parameters:
  epochs: {value: 1}
  num_filters: {value: 16}
  dense_units: {value: 16}
  batch_norm: {values: [true, false]}
  dropout: {values: [0.2, 0.3, 0.4, 0.5]}
  learning_rate: {values: [0.001, 0.005, 0.0001]}
  batch_size: {values: [64, 128]}
  seed: {values: [0, 1, 2, 3, 4]}
"""
POINTS = 240
VICTIMS = ("command", "worker", "both")


class CommandProcess(Protocol):
    """What is needed of the process of a sweep's command: a part of `subprocess.Popen`."""

    pid: int
    returncode: int | None

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""

    def wait(self) -> int:
        """Wait for the end, and return the exit code."""

    def kill(self) -> None:
        """Send SIGKILL."""


def find_workers(command: int) -> list[psutil.Process]:
    """Return the workers of the command with this process id."""
    return [child for child in psutil.Process(command).children() if _is_worker(child)]


def stress(
    start: Callable[[], CommandProcess],
    folder: Path,
    *,
    kills: int,
    trials: int,
    seconds: float,
    seed: int = 0,
    find_workers: Callable[[int], list[psutil.Process]] = find_workers,
) -> collections.Counter[str]:
    """Run a sweep to its end and kill it many times meanwhile.

    Args:
        start: starts the sweep's command, or resumes it; called again after each death.
        folder: run folder of the sweep.
        kills: how many times SIGKILL is sent: to the command, to one of its workers, to both, in turn.
        trials: how many trials the sweep has.
        seconds: the longest wait between a newly finished trial and the next kill.
        seed: of the moments and of the workers that are killed.
        find_workers: returns the workers of the command with this process id.

    Returns:
        Counts by name: kills of each kind, trials that finished, and trials that were lost, doubled, missing, failed or
        torn, and outcomes that were lost, doubled or torn (of these, all must be 0).

    Raises:
        RuntimeError: the sweep failed, or ended before it had been killed often enough.
    """
    rng, counts = random.Random(seed), collections.Counter[str]()
    process, finished = start(), dict[str, str]()
    for number in range(kills):
        _wait_for_trial(process, folder, len(finished))
        time.sleep(rng.uniform(0, seconds))
        victim = VICTIMS[number % len(VICTIMS)]
        workers = find_workers(process.pid)
        if victim != "command" and workers:
            rng.choice(workers).kill()
        if victim != "worker":
            process.kill()
            process.wait()
        counts[f"killed: {victim}"] += 1
        earlier, finished = finished, read_finished(folder)
        counts["lost"] += count_changed(earlier, finished)
        if victim != "worker":
            process = start()
    counts.update(check_end(process, folder, trials, finished))
    return counts


def check_end(
    process: CommandProcess, folder: Path, trials: int, finished: Mapping[str, str]
) -> collections.Counter[str]:
    """Wait for the end of a sweep, and return the counts of `stress` without those of kills.

    Args:
        process: its command.
        folder: its run folder.
        trials: how many it has.
        finished: its trials at the last look, see `read_finished`.
    """
    if process.wait() != 0:
        raise RuntimeError(f"the sweep ended with exit code {process.returncode}")
    earlier, finished = finished, read_finished(folder)
    rows, counts = read_csv(folder / "trials.csv"), collections.Counter[str]()
    counts["lost"] = count_changed(earlier, finished)
    counts["doubled"] = len(rows) - len({row["trial"] for row in rows})
    counts["missing"] = trials - len(rows)
    counts["failed"] = sum(row["status"] == "failed" for row in rows)
    counts["torn"] = sum(_is_torn(path) for path in folder.rglob("*.json") if not path.name.startswith("."))
    counts["finished"] = len(finished)
    counts.update(_count_outcomes(folder))
    return counts


def check_running(process: CommandProcess) -> None:
    """Raise an error if the command of a sweep has ended before all kills."""
    if process.poll() is not None:
        raise RuntimeError(f"the sweep ended with exit code {process.returncode} before all kills")


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "workbench.sweep.worker" in process.cmdline()
    except psutil.NoSuchProcess:  # it has just been killed
        return False


def _wait_for_trial(process: CommandProcess, folder: Path, finished: int) -> None:
    """Wait until more than `finished` trials have finished."""
    while len(list(folder.glob("tuner/trial_*/trial.json"))) <= finished:
        check_running(process)
        time.sleep(0.02)


def read_finished(folder: Path) -> dict[str, str]:
    """Return trial -> text of its file, for every finished trial."""
    return {path.parent.name: path.read_text() for path in folder.glob("tuner/trial_*/trial.json")}


def count_changed(earlier: Mapping[str, str], now: Mapping[str, str]) -> int:
    """Count the finished trials that are gone or have other results: they were lost or repeated."""
    return sum(now.get(trial) != text for trial, text in earlier.items())


def _count_outcomes(folder: Path) -> collections.Counter[str]:
    """Count the outcomes of finished trials, and those that are missing, there twice, or other than was recorded."""
    row_format = read_format(folder / FOLDER)
    assert row_format is not None
    rows = map_rows(folder / FOLDER, row_format)
    lines = [(line["trial"], int(line["row"])) for line in read_csv(folder / FOLDER / INDEX)]
    counts = collections.Counter(outcomes=len(lines))
    recorded = {path.parent.name: read_json(path)[CHECKSUM] for path in folder.glob("tuner/trial_*/result.json")}
    counts["outcomes lost"] = len(recorded.keys() - {f"trial_{trial}" for trial, _ in lines})
    num_trials, num_rows = len({trial for trial, _ in lines}), len({row for _, row in lines})
    counts["outcomes doubled"] = 2 * len(lines) - num_trials - num_rows + len(list(folder.glob(f"tuner/*/{FILE}")))
    counts["outcomes torn"] = sum(recorded[f"trial_{trial}"] != compute_checksum(rows[row]) for trial, row in lines)
    return counts


def _is_torn(path: Path) -> bool:
    try:
        json.loads(path.read_text())
    except ValueError:
        return True
    return False


def main() -> None:
    """Run the command line."""
    from benchmarks.outcome_checks import count_false_outcomes  # here: tests of `stress` must not wait for TensorFlow

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--trials", type=int, default=POINTS, help=f"of the {POINTS} points of the space")
    parser.add_argument("--seconds", type=float, default=3, help="longest wait from a finished trial to the next kill")
    parser.add_argument("--data", default="digits")
    options = parser.parse_args()
    trials = min(options.trials, POINTS)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        words = [f"--data={options.data}", f"--max-trials={trials}", "--image-size=32"]
        command = sweep_command(folder, *words, space=SPACE)
        began = time.perf_counter()
        counts = stress(
            lambda: subprocess.Popen(command, stdout=subprocess.DEVNULL),
            run_folder(folder),
            kills=options.kills,
            trials=trials,
            seconds=options.seconds,
        )
        seconds = time.perf_counter() - began
        counts.update(count_false_outcomes(run_folder(folder)))
    print(f"{seconds:.0f} s: " + ", ".join(f"{name} {count}" for name, count in counts.items()))


if __name__ == "__main__":
    main()
