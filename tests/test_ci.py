"""The scripts in .ci."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "find_python"


@pytest.fixture
def pythons(tmp_path):
    """Function that makes a Python which works or fails, at a path below `tmp_path`."""

    def make(path, works):
        python = tmp_path / path
        python.parent.mkdir(parents=True, exist_ok=True)
        python.write_text(f"#!/bin/sh\necho {python}\n" if works else "#!/bin/sh\nexit 1\n")
        python.chmod(0o755)
        return str(python)

    return make


def find_python(tmp_path, *versions):
    environment = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "PYENV_ROOT": str(tmp_path / "pyenv")}
    return subprocess.run([SCRIPT, *versions], env=environment, capture_output=True, text=True, check=False)


def test_the_newest_python_that_works_is_found(tmp_path, pythons):
    pythons("bin/python3.13", works=False)
    older = pythons("bin/python3.12", works=True)
    assert find_python(tmp_path).stdout == f"{older}\n"
    newest = pythons("pyenv/versions/3.13.5/bin/python3", works=True)
    assert find_python(tmp_path).stdout == f"{newest}\n"
    assert find_python(tmp_path, "3.12").stdout == f"{older}\n"


def test_a_missing_python_is_one_line(tmp_path, pythons):
    pythons("bin/python3.11", works=False)
    done = find_python(tmp_path, "3.11")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("No working Python 3.11 was found")
    assert done.stderr.count("\n") == 1


def test_the_scripts_can_be_run():
    assert all(os.access(path, os.X_OK) for path in SCRIPT.parent.iterdir())
