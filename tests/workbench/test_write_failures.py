"""SIGKILL and a full disk at the writes of train, tune, run and evaluate: one of each kind of file.

`python -m benchmarks.write_failures` does the same at all writes, and with a sweep that trains. Reports and figures are
empty here, because no failure is caused while they are written.
"""

import contextlib
import dataclasses
import subprocess
import time

import pytest

from benchmarks.write_failures.__main__ import open_disk
from benchmarks.write_failures.commands import COMMANDS, SCENARIOS, TRAIN, Scenario, prepare_folder, run_command
from benchmarks.write_failures.events import leave_out_timed_writes, watch_writes
from benchmarks.write_failures.experiment import Experiment, restore
from tests.workbench.sweep import noop
from workbench.sweep.status import STATUS, SweepStatus, publish_status

NOOP = "tests.workbench.sweep.noop"
NOOP_SWEEP = f"{NOOP} --data photos --image-size 32 --space space.yaml --workers 0 --keep 1 --name r"
CASES = {
    "train": (SCENARIOS["train"], ["model.keras", "metrics.json"]),
    "tune": (Scenario(NOOP_SWEEP), ["sweep.json", "weights.npz", "result.json", "trial.json", "metrics.json"]),
    "run": (SCENARIOS["run"], ["model.keras"]),
    "evaluate": (SCENARIOS["evaluate"], ["metrics.json"]),
}


def find_rename(experiment, name):
    """Return the number of the last event that gives a file its name."""
    events = experiment.list_events()
    return [event.number for event in events if (event.kind, event.path.name) == ("rename", name)][-1]


@pytest.fixture
def root(tmp_path):
    """Return the working folder: a small disk of its own where this user may mount one."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            stack.enter_context(open_disk(tmp_path / "case"))
        yield tmp_path / "case"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a working folder in which `TRAIN` has run; it must not be written to."""
    folder = tmp_path_factory.mktemp("trained") / "case"
    prepare_folder(folder)
    outcome = run_command(TRAIN, folder, COMMANDS)
    assert outcome.code == 0, outcome
    return folder


def test_a_slow_sweep_changes_as_many_files_as_a_fast_one(tmp_path, monkeypatch):
    monkeypatch.setattr("workbench.sweep.status.INTERVAL", 0.001)
    totals, events = iter(range(1000)), []
    with (
        watch_writes(tmp_path, events.append),
        leave_out_timed_writes(),
        publish_status(tmp_path, lambda: SweepStatus(next(totals), 0, None, (), time.time())),
    ):
        time.sleep(0.1)
    assert [event.path.name for event in events if event.kind == "rename"] == [STATUS] * 2


@pytest.mark.parametrize("case", CASES)
def test_a_stopped_command_runs_again_to_the_same_end(root, tmp_path, trained, monkeypatch, case):
    scenario, names = CASES[case]
    if scenario.before:
        assert scenario.before == (TRAIN,)
        scenario = dataclasses.replace(scenario, before=())
        monkeypatch.setattr(
            "benchmarks.write_failures.experiment.prepare_folder", lambda folder: restore(trained, folder)
        )
    experiment = Experiment(scenario, root, tmp_path / "states", {**COMMANDS, NOOP: noop.COMMAND})
    experiment.record()
    for name in names:
        number = find_rename(experiment, name)
        experiment.check_killed(number)
        experiment.check_full_disk(number - 1)  # where the temporary file is opened
    appended = [event.number for event in experiment.list_events() if event.path.name == "trials.csv"]
    if appended:
        experiment.check_killed(appended[-1])
        experiment.check_full_disk(appended[-1])
    assert experiment.problems == []
    assert experiment.reruns >= len(names)
