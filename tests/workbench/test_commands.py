import os
import subprocess
import sys

import pytest

HEAVY = ("tensorflow", "keras", "matplotlib", "scipy", "sklearn")


def run_module(name, *words):
    """Run a command in a new process, and return (exit code, output, heavy modules that it imported)."""
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['command', *{words!r}]\n"
        "try:\n"
        f"    runpy.run_module('workbench.{name}', run_name='__main__')\n"
        "except SystemExit as left:\n"
        f"    print(left.code, [module for module in {HEAVY} if module in sys.modules])\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    *shown, last = done.stdout.splitlines()
    exit_code, imported = last.split(" ", 1)
    return int(exit_code), "\n".join(shown) + done.stderr, imported


@pytest.mark.parametrize("name", ["evaluate", "explain", "predict", "compare", "export", "report"])
def test_help_does_not_import_heavy_libraries(name):
    code, shown, imported = run_module(name, "--help")
    assert (code, imported) == (0, "[]")
    assert f"usage: python -m workbench.{name} RUN" in shown


@pytest.mark.parametrize(
    ("name", "words"), [("evaluate", ()), ("explain", ()), ("predict", ("photo.png",)), ("export", ())]
)
def test_a_missing_run_is_refused_before_tensorflow_is_imported(name, words):
    code, shown, imported = run_module(name, "runs/missing", *words)
    assert (code, imported) == (2, "[]")
    assert shown == "error: runs/missing: no such run folder\n"
