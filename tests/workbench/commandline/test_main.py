"""The command `workbench`, its sub-commands, and how they are called in messages."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from workbench.__main__ import list_commands, main
from workbench.cli import Group
from workbench.commandline.calls import SUB_COMMANDS, format_call
from workbench.commandline.shipped_files import describe_shipped, find_file

ROOT = Path(__file__).parents[3]


def test_help_lists_the_commands_in_one_line_each(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == shown
    lines = [line.split() for line in shown.partition("Commands:\n")[2].strip().splitlines()]
    assert [line[0] for line in lines] == [*SUB_COMMANDS, "install-completion"]
    assert all(" ".join(line[1:]) == SUB_COMMANDS[line[0]].summary for line in lines[:-1])


def test_the_list_imports_nothing_heavy():
    code = (
        "import sys; from workbench.__main__ import main; main([])\n"
        "assert not {'tensorflow', 'keras', 'numpy', 'matplotlib', 'cnn_scratch.config'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)


@pytest.mark.parametrize("name", SUB_COMMANDS)
def test_a_sub_command_is_the_command_of_its_module(name):
    command = list_commands().commands[name].load()
    if isinstance(command, Group):
        assert importlib.util.find_spec(f"{SUB_COMMANDS[name].module}.__main__")
    else:
        assert command.module == SUB_COMMANDS[name].module
        assert command.summary.endswith(".")


@pytest.mark.parametrize(
    ("words", "code", "shown"),
    [
        (["finetune", "--help"], 0, "usage: workbench finetune [--config FILE] [--option VALUE ...]"),
        (["data", "inspect", "--help"], 0, "usage: workbench data inspect DATA"),
        (["tun"], 2, 'error: unknown command "tun"; did you mean "tune"?\n'),
        (["zzzzzz"], 2, 'error: unknown command "zzzzzz"; see --help\n'),
        (["evaluate", "runs/none"], 2, "error: runs/none: no such run folder\n"),
        (["finetune", "--mod", "all"], 2, "error: unknown option: --mod; did you mean --mode?\n"),
        (["data", "inspct"], 2, 'error: unknown command "inspct"; did you mean "inspect"?\n'),
    ],
)
def test_words_and_mistakes(capsys, words, code, shown):
    assert main(words) == code
    printed = capsys.readouterr()
    assert (printed.err if code else printed.out).startswith(shown)


def test_a_message_names_the_command_as_the_user_called_it(monkeypatch):
    assert format_call("transfer.run") == "python -m transfer.run"
    monkeypatch.setattr(sys, "argv", ["/home/user/.local/bin/workbench", "tune"])
    assert format_call("transfer.run") == "workbench finetune"
    assert format_call("some.trainer") == "python -m some.trainer"


def test_a_file_of_the_working_directory_comes_before_one_of_the_project(workdir):
    assert find_file("strong.yaml") == find_file("configs/strong.yaml") == ROOT / "configs" / "strong.yaml"
    Path("strong.yaml").write_text("epochs: 1")
    assert find_file("strong.yaml") == Path("strong.yaml")
    assert find_file("runs/strong.yaml") == Path("runs/strong.yaml")
    assert describe_shipped("strog.yaml") == "; did you mean strong.yaml, which comes with the workbench?"
    assert describe_shipped("quite_different") == ""


@pytest.fixture
def complete(tmp_path, monkeypatch, capsys):
    """Return a function that returns what the Tab key offers in bash after some words."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["install-completion", "--shell", "bash"]) == 0
    script = Path(capsys.readouterr().out.splitlines()[0].removeprefix("completion for bash: "))
    assert str(script) in (tmp_path / ".bashrc").read_text()
    (tmp_path / "one.yaml").touch()

    def complete(*words):
        code = f'. {script}; COMP_WORDS=(workbench "$@"); COMP_CWORD=$#; _workbench; printf "%s\\n" "${{COMPREPLY[@]}}"'
        command = ["bash", "-c", code, "bash", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split()

    return complete


@pytest.mark.skipif(os.name == "nt", reason="a test of bash")
def test_the_tab_key_completes_commands_options_choices_and_files(complete):
    assert complete("fine") == ["finetune", "finetune-compare", "finetune-tune"]
    assert complete("finetune", "--mo") == ["--mode"]
    assert complete("finetune", "--mode", "") == ["last_layer", "first_k", "all"]
    assert complete("train", "--config", "on") == ["one.yaml"]
    assert complete("evaluate", "on") == ["one.yaml"]
    assert complete("data", "ins") == ["inspect"]
