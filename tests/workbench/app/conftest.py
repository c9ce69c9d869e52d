"""The pages in a real browser: one server and one window for all tests of this folder."""

import json
import os
import shutil
import socket
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import processes
from tests.workbench.conftest import set_config
from tests.workbench.synthetic import write_outcomes, write_sweep
from workbench.commands import EvaluateConfig
from workbench.data.corrections import Correction, write_corrections
from workbench.evaluate import evaluate

EVIL = "<img src=x onerror=alert(1)>"
ROOT = Path(__file__).parents[3]
SERVER = """
import runpy, sys
sys.executable = sys.argv.pop(1)  # with which the pages start commands
runpy.run_module("workbench.app", run_name="__main__", alter_sys=True)
"""
PATIENCE = 240_000  # milliseconds: other tests may use all cores


@pytest.fixture(scope="session")
def shown_runs(trained_once, tmp_path_factory):
    """The folder that the server shows: a tested run, a finished sweep, a damaged folder, and an evil name.

    The run was also evaluated on other photos, and its labels were searched; the sweep has outcomes.
    """
    folder = tmp_path_factory.mktemp("app") / "runs"
    shutil.copytree(trained_once, folder / "tiny")
    set_config(folder / "tiny", runs_dir=str(folder), logs_dir=str(folder.parent / "logs"))
    evaluate(EvaluateConfig(run=str(folder / "tiny")))
    shutil.copytree(folder / "tiny", folder / "twin")
    shutil.move(write_sweep(folder.parent, 16, failed=0.2, pruned=0.2), folder / "search")
    write_outcomes(folder / "search")
    shutil.copytree(folder / "tiny", folder / EVIL)
    (folder / EVIL / "classes.json").write_text(json.dumps([EVIL, "iris", "rose"]))
    shutil.copytree(folder / "tiny", folder / "damaged")
    (folder / "damaged" / "metrics.json").write_text("{")
    _add_evaluation(folder / "tiny")
    add_label_search(folder / "tiny")
    return folder


def add_label_search(run):
    """Write the table of a label search: three photos of the run, the third of which was reviewed; return its path."""
    folder = run / "labels"
    folder.mkdir()
    rows = [
        Correction(f"train/daisy/daisy-0{number}.png", "daisy", "iris", f"0.0{number}", "iris", "0.9", "3 of 4")
        for number in range(3)
    ]
    write_corrections(folder / "labels.csv", [*rows[:2], rows[2]._replace(action="keep")])
    return folder / "labels.csv"


def _add_evaluation(run):
    """Write an evaluation on other photos, with the numbers of the run's own test, but for those of the classes."""
    folder = run / "evaluations" / "field"
    shutil.copytree(run / "figures", folder / "figures")
    other = {"data": "/photos/field", "name": "field", "evaluated": "all of field, 18 images", "foreign_images": 0}
    other |= {"only_in_run": [], "only_in_data": [], "renamed": [["Rosa", "rose"]]}
    tested = json.loads((run / "metrics.json").read_text())["test"]
    (folder / "metrics.json").write_text(json.dumps({**tested, **other}))


@pytest.fixture(scope="session")
def server(shown_runs, tmp_path_factory):
    """The address of the pages of `shown_runs`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["--runs-dir", str(shown_runs), "--port", str(port), "--no-show"]
    address = f"http://127.0.0.1:{port}"
    folder = tmp_path_factory.mktemp("server")
    log = folder / "server.txt"
    with log.open("w") as output:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        process = processes.Process(
            [sys.executable, "-c", SERVER, str(_write_forking_python(folder)), *words],
            env=environment,
            stdout=output,
            stderr=output,
        )
        while not _answers(address):
            assert process.poll() is None, log.read_text()
            time.sleep(0.2)
        yield address
        process.send_signal(15)
        process.wait(60)
    assert "Traceback" not in log.read_text(), log.read_text()


def _write_forking_python(folder):
    """Write a program that runs Python's arguments in a fork of a process that has imported TensorFlow."""
    path = folder / "python"
    path.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom tests.processes import Process\n"
        "sys.exit(Process(sys.argv).wait())\n"
    )
    path.chmod(0o755)
    return path


def _answers(address):
    try:
        with urllib.request.urlopen(address, timeout=60):
            return True
    except OSError:
        return False


@pytest.fixture(scope="session")
def browser(chromium, server):
    """A window of the browser, whose pages share what they have loaded."""
    context = chromium.new_context(base_url=server)
    context.set_default_timeout(PATIENCE)
    yield context
    context.close()


@pytest.fixture
def page(browser, server):
    """A page of the browser. What its console says, and requests that leave the machine, fail the test."""
    opened, complaints = browser.new_page(), []
    opened.set_viewport_size({"width": 1280, "height": 800})
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("dialog", lambda dialog: complaints.append(f"dialog {dialog.message}"))
    own = (server, server.replace("http", "ws"), "data:", "blob:")
    opened.on("request", lambda request: request.url.startswith(own) or complaints.append(request.url))
    yield opened
    opened.close()
    assert complaints == []


@pytest.fixture
def photo(tmp_path):
    """A photo of a user, with the colour of one class of the run."""
    path = tmp_path / "my photo.png"
    noise = np.random.default_rng(1).normal((110, 60, 190), 20, (50, 60, 3))
    Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(path)
    return path
