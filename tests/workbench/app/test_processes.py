import json
import os
import shlex
import signal
import subprocess
import types

import pytest
import yaml

from workbench.app import processes
from workbench.config import RunConfig
from workbench.errors import UserError
from workbench.training.run_folder import RunFolder


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
    log = processes.continue_sweep(folder, config)
    ((words, options),) = started
    assert shlex.split(processes.format_continue(folder, config)) == ["python", *words[1:]]
    assert words[2:4] == ["cnn_scratch.tune", "--config"]
    assert words[-4:] == ["--name", "s", "--runs-dir", str(folder.parent)]
    assert options["start_new_session"]  # it lives on when the pages are closed
    log.write_text("something\nerror: no such data\n\n")
    assert processes.read_last_line(log) == "error: no such data"
    with pytest.raises(UserError, match="has not ended"):  # such as by a second click
        processes.continue_sweep(folder, config)
    assert "no such data" in log.read_text()
    assert len(started) == 1
    command.poll = lambda: 2
    processes.continue_sweep(folder, config)
    assert len(started) == 2


def test_a_sweep_that_runs_is_not_started_again(sweep, monkeypatch):
    folder, config = sweep
    monkeypatch.setattr(subprocess, "Popen", None)
    with (
        RunFolder(RunConfig(name="s", runs_dir=str(folder.parent), logs_dir=str(folder.parent / "logs"))).lock(),
        pytest.raises(UserError, match="runs already"),
    ):
        processes.continue_sweep(folder, config)
    with pytest.raises(UserError, match="is not known"):
        processes.continue_sweep(folder, {"data": "digits"})


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
    (folder / "status.json").write_text("{}")
    with pytest.raises(UserError, match="runs on elsewhere; stop it there: kill -TERM 1"):
        processes.stop(folder)
    assert killed == []
    run = RunFolder(RunConfig(name="s", runs_dir=str(folder.parent), logs_dir=str(folder.parent / "logs")))
    with run.lock():
        processes.stop(folder)
    assert killed == [(os.getpid(), signal.SIGTERM)]
