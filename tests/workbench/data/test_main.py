"""`python -m workbench.data` and its sub-commands as a user calls them."""

import subprocess
import sys
from pathlib import Path

import pytest

from workbench.data.__main__ import main

ROOT = Path(__file__).parents[3]


def run(capsys, *words):
    code = main(list(words))
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.mark.parametrize("words", [["--help"], ["inspect", "--help"], ["nature_12k", "--help"]])
def test_help_does_not_wait_for_tensorflow(words):
    code = (
        f"import sys, workbench.data.__main__ as m\n"
        f"assert m.main({words}) == 0\n"
        "assert not {'tensorflow', 'keras', 'matplotlib', 'scipy', 'PIL.Image'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "python -m workbench.data" in result.stdout
    assert ("--fix-splits" in result.stdout) == (words[0] == "inspect")
    assert ("--archive" in result.stdout) == (words[0] == "nature_12k")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "a command is missing: expected nature_12k, inspect or labels; see --help"),
        (["inspct"], 'unknown command "inspct"; did you mean "inspect"?'),
        (["--fix-splits"], 'unknown command "--fix-splits"'),
        (["inspect"], "DATA is missing; usage: python -m workbench.data inspect DATA"),
        (["inspect", "/no/such/folder"], "--data /no/such/folder: no such folder"),
        (["inspect", "digits", "--fix-split"], "did you mean --fix-splits?"),
        (["nature_12k", "--archive", "/no/such.zip"], "--archive /no/such.zip: no such file"),
        (["inspect", "nature_12k"], "run python -m workbench.data nature_12k"),
    ],
)
def test_errors_are_one_line(capsys, workdir, monkeypatch, words, says):
    monkeypatch.setenv("TFDS_DATA_DIR", str(workdir / "tfds"))
    code, out, err = run(capsys, *words)
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert says in err
    assert out == ""


def test_inspect_from_the_command_line(capsys, workdir, red_and_blue):
    main(["inspect", str(red_and_blue), "--page", "page.html"])
    assert (workdir / "page.html").exists()
    assert "page:  page.html" in capsys.readouterr().out
