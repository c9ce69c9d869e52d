"""Kill a sweep again and again, its command, a worker or both, and count what is left when it is done.

    python -m benchmarks.kill_stress [--kills 20] [--data digits]

Runs one-epoch trials of a small network, sends SIGKILL at random moments and starts the same command anew.
In the end every point stands exactly once, no finished trial was lost or repeated, and no file is torn.
"""

import argparse
import collections
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from workbench.files import read_csv

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


def stress(command, folder, *, kills, trials, seconds, seed=0, environment=None):
    """Run `command` to its end, killed `kills` times on the way.

    Args:
        command: of a sweep into `folder`; started anew after each death.
        kills: how many times SIGKILL is sent, to the command, one of its workers, or both, in turn.
        trials: how many trials the sweep is to hold.
        seconds: the longest wait between a new finished trial and the next kill.

    Returns:
        Counts by name: kills of each kind, and trials that were lost, repeated, doubled or torn (all to be 0).
    """
    random_numbers, counts = random.Random(seed), collections.Counter()
    process, finished = _start(command, environment), {}
    for number in range(kills):
        _wait_for_a_trial(process, folder, len(finished))
        time.sleep(random_numbers.uniform(0, seconds))
        victim = ("command", "worker", "both")[number % 3]
        workers = _workers(process)
        if victim != "command" and workers:
            random_numbers.choice(workers).kill()
        if victim != "worker":
            process.send_signal(signal.SIGKILL)
            process.wait()
        counts[f"killed: {victim}"] += 1
        now = _finished(folder)
        counts["lost"] += sum(now.get(trial) != content for trial, content in finished.items())
        finished = now
        if victim != "worker":
            process = _start(command, environment)
    if process.wait() != 0:
        raise RuntimeError(f"the sweep ended with exit code {process.returncode}")
    now = _finished(folder)
    counts["lost"] += sum(now.get(trial) != content for trial, content in finished.items())
    rows = read_csv(folder / "trials.csv")
    counts["doubled"] = len(rows) - len({row["trial"] for row in rows})
    counts["missing"] = trials - len(rows)
    counts["failed"] = sum(row["status"] == "failed" for row in rows)
    counts["torn"] = sum(_is_torn(path) for path in folder.rglob("*.json") if not path.name.startswith("."))
    counts["finished"] = len(now)
    return counts


def _start(command, environment):
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def _workers(process):
    return [child for child in psutil.Process(process.pid).children() if _is_worker(child)]


def _is_worker(process):
    try:
        return "workbench.sweep.worker" in process.cmdline()
    except psutil.NoSuchProcess:  # killed just now
        return False


def _wait_for_a_trial(process, folder, before):
    while len(list(folder.glob("tuner/trial_*/trial.json"))) <= before:
        if process.poll() is not None:
            raise RuntimeError(f"the sweep ended with exit code {process.returncode} before it had been killed enough")
        time.sleep(0.02)


def _finished(folder):
    """Trial -> what its files say, of every finished one."""
    return {path.parent.name: path.read_text() for path in folder.glob("tuner/trial_*/trial.json")}


def _is_torn(path):
    try:
        json.loads(path.read_text())
    except ValueError:
        return True
    return False


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--data", default="digits")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        space = Path(temporary) / "space.yaml"
        space.write_text(SPACE)
        words = [f"--data={arguments.data}", f"--space={space}", "--max-trials=all", "--name=s", "--image-size=32"]
        words += [f"--runs-dir={temporary}/runs", f"--logs-dir={temporary}/logs"]
        command = [sys.executable, "-m", "cnn_scratch.tune", *words]
        start = time.perf_counter()
        folder = Path(temporary) / "runs" / "s"
        counts = stress(command, folder, kills=arguments.kills, trials=240, seconds=3)
        print(f"{time.perf_counter() - start:.0f} s: " + ", ".join(f"{name} {n}" for name, n in counts.items()))


if __name__ == "__main__":
    main()
