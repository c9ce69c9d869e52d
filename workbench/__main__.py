"""Train, sweep, fine-tune, test, explain and export image classifiers. `workbench COMMAND --help` lists the options."""

import sys
from collections.abc import Sequence

from workbench import cli
from workbench.commandline.calls import SCRIPT, SUB_COMMANDS
from workbench.commandline.completion import CompletionConfig, install_completion


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code. Without a word it lists the commands."""
    if not (sys.argv[1:] if argv is None else argv):
        argv = ["--help"]
    return cli.choose(list_commands(), prog=SCRIPT, argv=argv)


def list_commands() -> cli.Group:
    """Return all commands. None of them is imported."""
    commands: dict[str, cli.Command | cli.DeferredCommand] = {}
    group = cli.Group(__doc__, commands)
    for name, entry in SUB_COMMANDS.items():
        package, _, word = entry.module.rpartition(".")
        commands[name] = cli.DeferredCommand(f"{package}.commands:{word.upper()}", entry.summary)
    commands["install-completion"] = cli.Command(
        CompletionConfig,
        lambda config: install_completion(group, SCRIPT, config),
        "let the Tab key complete commands and options",
        needs_tensorflow=False,
    )
    return group


if __name__ == "__main__":
    sys.exit(main())
