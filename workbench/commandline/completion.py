"""Completion of commands and options with the Tab key."""

import dataclasses
from typing import Literal

import cyclopts
from cyclopts.completion.detect import ShellDetectionError, detect_shell

from workbench import cli
from workbench.commandline.parser import make_app, make_group_app
from workbench.console import console
from workbench.errors import UserError


@dataclasses.dataclass(frozen=True)
class CompletionConfig:
    """Completion.

    Args:
        shell: The shell to set up; by default the one that calls the command.
    """

    shell: Literal["bash", "zsh", "fish"] | None = None


def install_completion(group: cli.Group, prog: str, config: CompletionConfig) -> None:
    """Write the completion script of a group of commands to the shell's folder, and let the shell read it at its start.

    Args:
        group: the commands.
        prog: how the group is called.
        config: names the shell.

    Raises:
        UserError: the shell is not known.
    """
    try:
        shell = config.shell or detect_shell()
    except ShellDetectionError:
        raise UserError("the shell is not known; name it: --shell bash, zsh or fish") from None
    path = make_full_app(group, prog).install_completion(shell=shell)
    console.print(f"completion for {shell}: {path}\nopen a new terminal to use it")


def make_full_app(group: cli.Group, prog: str) -> cyclopts.App:
    """Return an app that knows all options of all commands of a group."""
    app = make_group_app({}, prog=prog, description=group.summary)
    for name, entry in group.commands.items():
        called = f"{prog} {name}"
        command = entry.load() if isinstance(entry, cli.DeferredCommand) else entry
        if isinstance(command, cli.Group):
            part = make_full_app(command, called)
        else:
            part = make_app(command.config_class, prog=called, description=command.summary, completes_files=True)
        app.command(part, name=name)
    return app
