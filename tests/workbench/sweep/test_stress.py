import os
import sys
from pathlib import Path

from benchmarks.kill_stress import stress

TRIALS = 140


def test_killed_twenty_times_every_point_is_tried_once(workdir, record_property):
    """SIGKILL of the command, a worker, or both at random moments; prints its counts.

    `benchmarks.kill_stress` does the same to a command that trains networks.
    """
    folder = Path("runs/s")
    folder.mkdir(parents=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "tests.workbench.sweep.killed_search", str(folder), str(TRIALS)]
    counts = stress(command, folder, kills=20, trials=TRIALS, seconds=0.2, environment=environment)
    record_property("counts", dict(counts))
    assert counts["killed: command"] + counts["killed: worker"] + counts["killed: both"] == 20
    assert counts["finished"] == TRIALS
    assert not {name: counts[name] for name in ("lost", "doubled", "missing", "failed", "torn") if counts[name]}
    assert not Path("runs/s/repeated.log").exists()
