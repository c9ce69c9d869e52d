"""The wheel, unpacked and used outside the checkout."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from hatchling.build import build_wheel

ROOT = Path(__file__).parents[1]
SPACE = """
parameters:
  num_filters: {values: [4]}
  dense_units: {values: [8]}
  learning_rate: {values: [0.001, 0.002]}
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        name = build_wheel(str(folder))
    with zipfile.ZipFile(folder / name) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


@pytest.fixture
def call(wheel, workdir, cache):
    """Return a function that runs the console script's function on some words, in an empty folder."""

    def call(*words):
        code = (
            "import sys, workbench; from workbench.__main__ import main\n"
            "sys.argv = ['/bin/workbench', *sys.argv[1:]]; code = main()\n"
            "print(workbench.__file__, 'tensorflow' in sys.modules, file=sys.stderr); sys.exit(code)"
        )
        environment = {**os.environ, "PYTHONPATH": str(wheel), "XDG_CACHE_HOME": str(cache)}
        command = [sys.executable, "-c", code, *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return call


def test_the_wheel_holds_all_files_of_the_packages(wheel):
    for package in ("cnn_scratch", "transfer", "workbench"):
        files = [path for path in (ROOT / package).rglob("*.*") if path.is_file() and path.suffix != ".pyc"]
        assert [path for path in files if not (wheel / path.relative_to(ROOT)).exists()] == []
    assert {path.name for path in (wheel / "workbench" / "configs").iterdir()} == {
        path.name for path in (ROOT / "configs").iterdir()
    }
    assert not (wheel / "tests").exists()


def test_the_wheel_needs_what_requirements_txt_lists(wheel):
    (metadata,) = wheel.glob("*.dist-info/METADATA")
    lines = metadata.read_text().splitlines()
    needed = {line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")}
    listed = [line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    names = {line.partition(">")[0].replace("_", "-").lower() for line in listed if line}
    assert {line.partition("<")[0].partition(">")[0] for line in needed if ";" not in line} == names
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {line.removeprefix("Provides-Extra: ") for line in lines if line.startswith("Provides-Extra: ")} == {*extras}


def test_a_config_file_is_found_by_its_name(call, wheel):
    done = call("train", "--config", "transfer_all.yaml")
    said, where = done.stderr.splitlines()
    assert (done.returncode, where) == (2, f"{wheel}/workbench/__init__.py False")
    assert said == (
        "error: --config transfer_all.yaml: has options of transfer.run; "
        "call workbench finetune --config transfer_all.yaml"
    )


def test_a_sweep_runs_outside_the_checkout(call, workdir):
    (workdir / "space.yaml").write_text(SPACE)
    done = call("tune", "--space", "space.yaml", "--epochs", "1", "--workers", "1", "--max-trials", "1")
    assert done.returncode == 0, done.stderr
    assert "train the best again: workbench train --config runs/sweep-digits-32px/best.yaml" in done.stdout
    assert "workbench tune --space space.yaml --max-trials 2" in done.stdout
    page = (workdir / "runs" / "sweep-digits-32px" / "report.html").read_text()
    assert "workbench evaluate runs/sweep-digits-32px" in page
    assert "python -m" not in page
