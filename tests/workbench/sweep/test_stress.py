import json
import sys
from pathlib import Path

from tests.processes import run

TRIALS = 140
KILLS = 20


def test_killed_twenty_times_every_point_is_tried_once(workdir, record_property):
    """SIGKILL of the command, a worker, or both at random moments; prints its counts.

    `benchmarks.kill_stress` does the same to a command that trains networks.
    """
    folder = Path("runs/s")
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "tests.workbench.sweep.killed_search", str(folder), str(TRIALS), str(KILLS)]
    done = run(command)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    record_property("counts", counts)
    assert counts["killed: command"] + counts["killed: worker"] + counts["killed: both"] == KILLS
    assert counts["finished"] == TRIALS
    assert not {name: counts[name] for name in ("lost", "doubled", "missing", "failed", "torn") if counts[name]}
    assert counts["outcomes"] == TRIALS
    assert not {name: counts[name] for name in ("outcomes lost", "outcomes doubled", "outcomes torn") if counts[name]}
    assert not Path("runs/s/repeated.log").exists()
    killed_workers = counts["killed: worker"] + counts["killed: both"]
    assert len(list(folder.glob("worker-*"))) > killed_workers > 0
