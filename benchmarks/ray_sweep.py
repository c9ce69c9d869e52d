"""Compare a sweep on two Ray nodes of one core each with one in two local workers, after start-up.

    python -m benchmarks.ray_sweep [--trials 48] [--turns 2]

Both sides run the space of `benchmarks.sweep_speed` in turns. The measurement begins when both workers have finished a
trial, and ends with the last trial. On a machine that others use, the trials an hour say little; the CPU seconds of all
processes (the command, the workers, and those of Ray) for each trial hardly depend on the load.
"""

import argparse
import contextlib
import dataclasses
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from benchmarks.loopback_cluster import LoopbackCluster
from benchmarks.sweep_speed import SPACE
from benchmarks.sweeps import run_folder, sweep_command
from workbench.files import read_csv

WORKERS = 2
_LOOK = 0.25  # seconds between two looks at the trials


class CpuClock:
    """Adds up the CPU seconds, user and system, of all processes that this one has started."""

    def __init__(self) -> None:
        self._seconds: dict[psutil.Process, float] = {}

    def read(self) -> float:
        """Return the seconds so far; those of an ended process are the ones at the last call."""
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                self._seconds[process] = times.user + times.system
        return sum(self._seconds.values())


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What was measured after start-up.

    Attributes:
        trials: that ended.
        seconds: of wall time.
        cpu_seconds: of all processes.
    """

    trials: int
    seconds: float
    cpu_seconds: float

    @property
    def hourly(self) -> float:
        """Trials an hour."""
        return 3600 * self.trials / self.seconds

    @property
    def cpu_cost(self) -> float:
        """CPU seconds a trial."""
        return self.cpu_seconds / self.trials

    def __str__(self) -> str:
        return (
            f"{self.trials} trials in {self.seconds:.1f} s, {self.hourly:,.0f} an hour, {self.cpu_cost:.3f} CPU s each"
        )


def add_up(measured: Sequence[Measurement]) -> Measurement:
    """Return several measurements as one."""
    totals = [sum(values) for values in zip(*map(dataclasses.astuple, measured), strict=True)]
    return Measurement(int(totals[0]), totals[1], totals[2])


def measure(trials: int, options: Sequence[str]) -> Measurement:
    """Run a sweep, and measure it from when each worker has finished a trial."""
    clock = CpuClock()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        command = sweep_command(folder, f"--max-trials={trials}", *options, space=SPACE.format(seeds=[0]))
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        path, began, cpu, rows = run_folder(folder) / "trials.csv", 0.0, 0.0, list[dict[str, str]]()
        while len(rows) < trials:
            if process.poll() is not None:
                raise SystemExit(f"the sweep ended with exit code {process.returncode} after {len(rows)} trials")
            time.sleep(_LOOK)
            rows, now = read_csv(path), clock.read()
            if not began and len({row["worker"] for row in rows}) == WORKERS:
                began, cpu = max(float(row["ended"]) for row in rows), now
        ends = [float(row["ended"]) for row in rows]
        process.wait()
    if not began:
        raise SystemExit("one worker has run all trials; give more --trials")
    return Measurement(sum(end > began for end in ends), max(ends) - began, now - cpu)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=48, help="of each sweep")
    parser.add_argument("--turns", type=int, default=2, help="sweeps of each side")
    options = parser.parse_args()
    local, on_ray = [], []
    for _ in range(options.turns):
        local.append(measure(options.trials, [f"--workers={WORKERS}"]))
        print(f"local workers: {local[-1]}", flush=True)
        with LoopbackCluster(WORKERS) as cluster:
            on_ray.append(measure(options.trials, cluster.options))
        print(f"Ray nodes:     {on_ray[-1]}", flush=True)
    one, other = add_up(local), add_up(on_ray)
    print(f"trials an hour, Ray / local:  {other.hourly / one.hourly:.2f}")
    print(f"CPU seconds a trial, Ray / local: {other.cpu_cost / one.cpu_cost:.2f}")


if __name__ == "__main__":
    main()
