"""What the live pages cost: reading 10,000 trials and 500 runs, and following a sweep that runs.

    python -m benchmarks.app_cost [--trials 10000] [--runs 500]

Writes a sweep and runs into a temporary folder, and reads them as the pages do, in a new catalogue; then again after
one more trial has been added, as a page does every two seconds. The CPU time of the second is what a page takes from a
running sweep; so is the time in which the sweep writes its status. No TensorFlow.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.workbench.synthetic import write_run, write_sweep
from workbench.app.catalogue import Catalogue
from workbench.app.pages.sweep import TrialRows
from workbench.files import append_csv, read_csv, write_json
from workbench.runtime import count_cores
from workbench.sweep.figures.interactive import build_charts
from workbench.sweep.status import INTERVAL

READ_LIMIT, SHARE_LIMIT = 2.0, 0.02  # CPU seconds; share of the machine


def measure(what: str, work: Callable[[], object]) -> tuple[float, float]:
    """Print and return how long a piece of work takes: (seconds, CPU seconds)."""
    start, cpu = time.perf_counter(), time.process_time()
    work()
    seconds, used = time.perf_counter() - start, time.process_time() - cpu
    print(f"{what:60} {seconds:7.3f} s   {used:7.3f} s of CPU")
    return seconds, used


def main() -> int:
    """Measure, and return 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "runs"
        first = write_run(Path(temporary))
        for number in range(1, options.runs):
            shutil.copytree(first, folder / f"cnn-{number}")
        sweep = folder / "sweep"
        shutil.move(write_sweep(Path(temporary), min(options.trials, 9216), failed=0.02, pruned=0.1), sweep)
        rows = read_csv(sweep / "trials.csv")
        for number in range(len(rows), options.trials):  # the space of the sweep has fewer points
            append_csv(sweep / "trials.csv", {**rows[number % len(rows)], "trial": f"{number:05d}"})

        catalogue = Catalogue(folder)
        what = f"read {options.runs:,} runs and a sweep of {options.trials:,} trials"
        _, reading = measure(what, catalogue.list_entries)
        measure("read them again, unchanged", catalogue.list_entries)
        entry = catalogue.find("sweep")
        assert entry is not None
        results = entry.results
        assert results is not None
        assert len(results) == options.trials
        rows_of_page = TrialRows([name for name in results.parameters if name != "epochs"])
        _, making = measure("make the rows of its table", lambda: rows_of_page.make(results))
        measure("build its charts, which is done after a twentieth more trials", lambda: build_charts(results))
        append_csv(sweep / "trials.csv", {**rows[0], "trial": "new"})

        def follow() -> None:
            entry = catalogue.find("sweep")
            assert entry is not None
            assert entry.results is not None
            rows_of_page.make(entry.results)

        _, following = measure("follow the sweep after one more trial", follow)
        _, writing = measure("write its status", lambda: write_json(sweep / "status.json", {"running": []}))
    share = (following + writing) / INTERVAL / count_cores()
    print(f"a page that follows the sweep, and its status, take {share:.2%} of {count_cores()} CPU cores")
    return int(reading + making > READ_LIMIT or share > SHARE_LIMIT)


if __name__ == "__main__":
    sys.exit(main())
