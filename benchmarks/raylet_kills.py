"""Kill a node of a Ray cluster many times while a sweep runs there, and count what was lost when it has finished.

    python -m benchmarks.raylet_kills [--kills 10] [--trials 400] [--seconds 3]

The sweep runs one-epoch trials of a tiny network on two nodes of one core on this machine. The raylet of the second
node gets SIGKILL while it runs a trial, the processes that it leaves behind too, and another node joins. The counts are
those of `benchmarks.kill_stress`.
"""

import argparse
import collections
import random
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.kill_stress import CommandProcess, check_end, check_running, count_changed, read_finished
from benchmarks.loopback_cluster import LoopbackCluster
from benchmarks.sweeps import run_folder, sweep_command

SPACE = """
parameters:
  epochs: {{value: 1}}
  num_filters: {{value: 2}}
  dense_units: {{value: 2}}
  batch_size: {{value: 128}}
  seed: {{values: {seeds}}}
"""


def stress(
    process: CommandProcess, folder: Path, cluster: LoopbackCluster, *, kills: int, trials: int, seconds: float
) -> collections.Counter[str]:
    """Kill raylets while a sweep runs, and wait for its end.

    Args:
        process: the command of the sweep.
        folder: its run folder.
        cluster: where it runs.
        kills: how many raylets are killed.
        trials: how many trials the sweep has.
        seconds: the longest wait from the moment at which a node has got a worker to the kill.

    Returns:
        Counts by name, see `benchmarks.kill_stress.stress`.

    Raises:
        RuntimeError: the sweep failed, or ended before all kills.
    """
    rng, finished, lost = random.Random(0), dict[str, str](), 0
    for number in range(kills):
        while not cluster.runs_trials():
            check_running(process)
            time.sleep(0.2)
        time.sleep(rng.uniform(0, seconds))
        check_running(process)
        cluster.kill_node()
        earlier, finished = finished, read_finished(folder)
        lost += count_changed(earlier, finished)
        print(f"raylet {number + 1} of {kills} killed, {len(finished)} trials have finished", flush=True)
        cluster.add_node()
    counts = collections.Counter({"killed: raylet": kills, "lost": lost})
    counts.update(check_end(process, folder, trials, finished))
    return counts


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=3, help="longest wait from the start of a worker to its end")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, LoopbackCluster(2) as cluster:
        folder, space = Path(temporary), SPACE.format(seeds=list(range(options.trials)))
        command = sweep_command(folder, "--max-trials=all", "--image-size=32", *cluster.options, space=space)
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        counts = stress(
            process,
            run_folder(folder),
            cluster,
            kills=options.kills,
            trials=options.trials,
            seconds=options.seconds,
        )
        seconds = time.perf_counter() - began
    print(f"{seconds:.0f} s: " + ", ".join(f"{name} {count}" for name, count in counts.items()))


if __name__ == "__main__":
    main()
