import json
import os
import shlex
import signal
import subprocess
import time
import types

import pytest
import yaml

from workbench.app import continuing, processes
from workbench.app.catalogue import Entry
from workbench.config import RunConfig
from workbench.errors import UserError
from workbench.sweep.results import SweepResults, make_result
from workbench.sweep.status import SweepStatus
from workbench.training.run_folder import RunFolder, find_holder_file


@pytest.fixture
def sweep(tmp_path):
    """A folder that `cnn_scratch.tune` has begun, with a space in its path."""
    folder = tmp_path / "my runs" / "s"
    folder.mkdir(parents=True)
    (folder / "sweep.json").write_text(json.dumps({"parameters": {"num_filters": [8, 16]}, "fixed": {}}))
    config = {"max_trials": 2, "keep": 5, "data": "digits"}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder, config


def test_the_shown_command_is_the_one_that_continues(sweep, monkeypatch):
    folder, config = sweep
    started = []
    command = types.SimpleNamespace(poll=lambda: None)
    monkeypatch.setattr(subprocess, "Popen", lambda words, **options: started.append((words, options)) or command)
    log = continuing.continue_sweep(folder, config)
    ((words, options),) = started
    assert shlex.split(continuing.format_continue(folder, config)) == ["python", *words[1:]]
    assert words[2:4] == ["cnn_scratch.tune", "--config"]
    assert words[-4:] == ["--name", "s", "--runs-dir", str(folder.parent)]
    assert options["start_new_session"]  # it lives on when the pages are closed
    log.write_text("something\nerror: no such data\n\n")
    assert continuing.read_last_line(log) == "error: no such data"
    with pytest.raises(UserError, match="has not ended"):  # such as by a second click
        continuing.continue_sweep(folder, config)
    assert "no such data" in log.read_text()
    assert len(started) == 1
    command.poll = lambda: 2
    continuing.continue_sweep(folder, config)
    assert len(started) == 2


def test_a_sweep_that_runs_is_not_started_again(sweep, monkeypatch):
    folder, config = sweep
    monkeypatch.setattr(subprocess, "Popen", None)
    with (
        RunFolder(RunConfig(name="s", runs_dir=str(folder.parent), logs_dir=str(folder.parent / "logs"))).lock(),
        pytest.raises(UserError, match="runs already"),
    ):
        continuing.continue_sweep(folder, config)
    with pytest.raises(UserError, match="is not known"):
        continuing.continue_sweep(folder, {"data": "digits"})


def test_a_process_of_another_machine_lives_while_its_lock_does(sweep):
    """A lock is seen through a shared file system. Where it is not, the process changes the time of its file."""
    folder, _ = sweep
    run = RunFolder(RunConfig(name="s", runs_dir=str(folder.parent), logs_dir=str(folder.parent / "logs")))
    holder = find_holder_file(folder)
    with run.lock():
        run.describe_holder(host="elsewhere")
        os.utime(holder, (1, 1))  # a long epoch: nothing has been written for an hour
        found = processes.find_holder(folder)
        assert (found.host, found.is_here) == ("elsewhere", False)
        left = holder.read_text()
    holder.write_text(left)  # the process was killed
    assert processes.find_holder(folder).host == "elsewhere"  # it may live: its file is new
    os.utime(holder, (1, 1))
    assert processes.find_holder(folder) is None
    with run.lock():  # the look at the lock has left it free
        pass


def test_a_process_gives_signs_of_life(sweep, monkeypatch):
    folder, _ = sweep
    monkeypatch.setattr("workbench.training.run_folder.SIGN_OF_LIFE", 0.01)
    run = RunFolder(RunConfig(name="s", runs_dir=str(folder.parent), logs_dir=str(folder.parent / "logs")))
    with run.lock():
        os.utime(find_holder_file(folder), (1, 1))
        while find_holder_file(folder).stat().st_mtime == 1:
            time.sleep(0.01)


def make_entry(folder, config, *, finished, ended="complete", total=4, state="finished"):
    """Return a sweep of four points, `finished` of which were tried."""
    results = SweepResults({"num_filters": [8, 16], "dropout": [0.1, 0.2]}, {}, "val_accuracy", "max")
    for number in range(finished):
        results.add(make_result(str(number), {}, {"status": "failed", "reason": "none"}, "val_accuracy"))
    status = SweepStatus(total, 1, None, (), 0.0, ended)
    return Entry(folder.name, folder, is_sweep=True, state=state, config=config, results=results, status=status)


def test_only_what_makes_sense_is_offered(sweep):
    folder, config = sweep
    offer = continuing.find_offer(make_entry(folder, config, finished=1, total=2, ended="", state="stopped"))
    assert (offer.label, offer.max_trials) == ("Continue the sweep", None)
    offer = continuing.find_offer(make_entry(folder, config, finished=1, total=1))
    assert (offer.label, offer.max_trials) == ("Run 1 more trial", 2)
    assert continuing.format_continue(folder, config, offer.max_trials).endswith(" --max-trials 2")
    assert continuing.find_offer(make_entry(folder, config, finished=3, total=3)).max_trials == 4
    assert continuing.find_offer(make_entry(folder, config, finished=4)) is None  # the whole grid
    assert continuing.find_offer(make_entry(folder, config, finished=3, total=4)) is None  # a search that ended early
    (folder / "sweep.json").write_text(json.dumps({"distributions": {"dropout": {"kind": "uniform"}}}))
    assert continuing.find_offer(make_entry(folder, {**config, "tuner": "random"}, finished=4)).max_trials == 8
    offer = continuing.find_offer(make_entry(folder, {**config, "budget": "2m"}, finished=1, ended="budget"))
    assert (offer.label, offer.max_trials) == ("Continue for another 2m", None)


def test_only_the_process_that_holds_the_folder_is_stopped(sweep, monkeypatch):
    folder, _ = sweep
    killed = []
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append((pid, number)))
    with pytest.raises(UserError, match="does not run"):
        processes.stop(folder)
    (folder.parent / ".s.json").write_text(json.dumps({"pid": os.getppid()}))  # a process that holds nothing
    with pytest.raises(UserError, match="does not run"):
        processes.stop(folder)
    (folder.parent / ".s.json").write_text(json.dumps({"pid": 1, "host": "elsewhere"}))
    with pytest.raises(UserError, match="runs on elsewhere; stop it there: kill -TERM 1"):
        processes.stop(folder)
    assert killed == []
    run = RunFolder(RunConfig(name="s", runs_dir=str(folder.parent), logs_dir=str(folder.parent / "logs")))
    with run.lock():
        processes.stop(folder)
    assert killed == [(os.getpid(), signal.SIGTERM)]
