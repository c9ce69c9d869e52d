"""Stop train, tune, run and evaluate at every change of a file, by SIGKILL or a full disk, and run them again.

    python -m benchmarks.write_failures [--command train] [--processes 3] [--small-disk]

Each command trains a tiny network on generated photos. It is watched once without a failure; what its files are before
each change is what SIGKILL would leave there, and so is the same with the files that are just growing cut off in the
middle. From each of these states the same command runs again (with --resume if it asks for that), and must end with
equal weights, history and metrics. Then the disk becomes full at each change (see `events.fill_disk`): the command must
end with exit code 2 and one line that names a file and says what to do, no earlier result may be lost, and the same
command must then succeed. `--processes` also kills real processes, `--small-disk` fills a real tmpfs.
"""

import argparse
import contextlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from workbench.runtime import load_tensorflow

load_tensorflow(with_keras_tuner=True)  # as commands do it, before an import below does it otherwise

from benchmarks.write_failures.commands import SCENARIOS, Scenario
from benchmarks.write_failures.experiment import Experiment

SMALL_DISK = 64 << 20  # bytes


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--command", help="train, tune, run or evaluate; by default all of them")
    parser.add_argument("--processes", type=int, default=0, help="real processes that are killed, of each command")
    parser.add_argument("--small-disk", action="store_true", help="fill a real tmpfs; needs the right to mount one")
    parser.add_argument("--every", type=int, default=1, help="check only each so many changes")
    options = parser.parse_args()
    num_problems = 0
    for name, scenario in SCENARIOS.items():
        if options.command in (None, re.split(r"\W", name)[0]):
            num_problems += run_experiment(name, scenario, options.processes, options.small_disk, options.every)
    sys.exit(1 if num_problems else 0)


def run_experiment(name: str, scenario: Scenario, processes: int, has_small_disk: bool, every: int) -> int:
    """Disturb one command at each of its writes, print what went wrong, and return the number of problems."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        experiment = Experiment(scenario, Path(temporary, "case"), Path(temporary, "states"))
        with open_disk(experiment.root) if has_small_disk else contextlib.nullcontext():
            experiment.record()
            events = experiment.list_events()
            killed = {int((index + 0.5) * len(events) / processes) for index in range(processes)}
            for event in events:
                if event.number % every and event.number not in killed:
                    continue
                shown = len(experiment.problems)
                experiment.check_killed(event.number)
                experiment.check_full_disk(event.number)
                if event.number in killed:
                    experiment.check_process(event.number)
                for problem in experiment.problems[shown:]:
                    print("  " + problem, flush=True)
    counts = f"{len(events)} changes of files, {len(killed)} processes killed, {experiment.reruns} states run again"
    seconds = time.perf_counter() - began
    print(f"{name}: {counts}, {len(experiment.problems)} problems, {seconds:.0f} s", flush=True)
    return len(experiment.problems)


@contextlib.contextmanager
def open_disk(folder: Path) -> Iterator[None]:
    """Let a folder be a disk of 64 MB of its own in this block.

    Raises:
        CalledProcessError: this user may not mount one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", folder], check=True, capture_output=True
    )
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)  # an array may be mapped from a file


if __name__ == "__main__":
    main()
