import os
import sys
from pathlib import Path

from benchmarks.kill_stress import stress


def test_killed_twenty_times_every_point_stands_once(workdir, record_property):
    """SIGKILL of the command, a worker, or both at random moments; prints its counts."""
    Path("space.yaml").write_text(
        f"parameters: {{seed: {{values: {list(range(120))}}}, batch_size: {{value: 30}}, epochs: {{value: 1}}}}"
    )
    words = ["--space=space.yaml", "--max-trials=all", "--workers=2", "--name=s"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "tests.workbench.sweep.noop", *words]
    counts = stress(command, Path("runs/s"), kills=20, trials=120, seconds=0.3, environment=environment)
    record_property("counts", dict(counts))
    assert counts["killed: command"] + counts["killed: worker"] + counts["killed: both"] == 20
    assert counts["finished"] == 120
    assert not {name: counts[name] for name in ("lost", "doubled", "missing", "failed", "torn") if counts[name]}
    assert not Path("runs/s/repeated.log").exists()
