"""Command lines made from configuration dataclasses, on the library cyclopts.

A command's configuration is a dataclass of options, or of sections that hold the options (see `workbench.config`). On
the command line and in YAML files it is flat: `--epochs 5`, `epochs: 5`. Importing this module loads nothing heavy.
"""

import contextlib
import dataclasses
import importlib
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import cyclopts

from workbench.clock import start_command
from workbench.commandline.calls import read_summary
from workbench.commandline.options import read_values
from workbench.commandline.parser import make_app, make_group_app, parse_words
from workbench.config import GIVEN, flatten, option_name
from workbench.devices.multi_worker import join_processes
from workbench.errors import UserError
from workbench.failures import describe_failure
from workbench.runtime import import_without_collections, load_tensorflow
from workbench.signals import interrupt_on_sigterm

Config = TypeVar("Config")


@dataclasses.dataclass(frozen=True)
class Command:
    """What a command line runs.

    Attributes:
        config_class: dataclass of the command's options.
        target: `package.module:function`, or the function; called with the configuration.
        description: first sentence of the help text; by default the first one of the target's module.
        details: further sentences of the help text.
        before: called with the configuration before TensorFlow is imported, such as to start worker processes.
        needs_tensorflow: whether TensorFlow is imported before the target; a function decides from the configuration.
        use_gpu: False hides the GPUs from TensorFlow; a function decides from the configuration.
        needs_keras_tuner: whether KerasTuner is imported before the target, without its slow optional libraries.
        prints_data: whether other programs read what the command prints, so that notes go to stderr.
    """

    config_class: type
    target: str | Callable[[Any], Any]
    description: str | None = None
    details: str = ""
    before: Callable[[Any], None] | None = None
    needs_tensorflow: bool | Callable[[Any], bool] = True
    use_gpu: bool | Callable[[Any], bool] = True
    needs_keras_tuner: bool = False
    prints_data: bool = False

    @property
    def module(self) -> str:
        """Name of the target's module."""
        return self.target.partition(":")[0] if isinstance(self.target, str) else self.target.__module__

    @property
    def summary(self) -> str:
        """First sentence of the help text."""
        return read_summary(self.module) if self.description is None else self.description

    def run(self, config: Any, is_process: bool) -> None:
        """Import TensorFlow where it is needed and say what it computes on; then import the target, and call it.

        Args:
            config: of the command.
            is_process: whether the command is what this process was started for.
        """
        if self.before:
            self.before(config)
        with join_processes(config) as config:
            with import_without_collections() if is_process else contextlib.nullcontext():
                function = self._load(config)
            function(config)

    def _load(self, config: Any) -> Callable[[Any], Any]:
        """Import TensorFlow where it is needed and say what it computes on; then import the target, and return it."""
        if self.needs_tensorflow(config) if callable(self.needs_tensorflow) else self.needs_tensorflow:
            from workbench.devices.device import announce_device  # imported late: a help text must not wait for it

            use_gpu = self.use_gpu(config) if callable(self.use_gpu) else self.use_gpu
            load_tensorflow(use_gpu=use_gpu, with_keras_tuner=self.needs_keras_tuner)
            if use_gpu:
                announce_device(flatten(config).get("strategy", "single"), to_stderr=self.prints_data)
        if not isinstance(self.target, str):
            return self.target
        name, _, function = self.target.partition(":")
        return getattr(importlib.import_module(name), function)


@dataclasses.dataclass(frozen=True)
class Group:
    """Commands that are called by a word after the name of their group.

    Attributes:
        summary: first sentence of the help text.
        commands: by their names.
    """

    summary: str
    commands: "Mapping[str, Command | Group | DeferredCommand]"


@dataclasses.dataclass(frozen=True)
class DeferredCommand:
    """A command, or a group, of a module that is imported when the command is called.

    Attributes:
        place: `package.module:NAME`.
        summary: first sentence of its help text.
    """

    place: str
    summary: str

    def load(self) -> Command | Group:
        """Import the module, and return the command."""
        module, _, name = self.place.partition(":")
        return getattr(importlib.import_module(module), name)


def positional(default: Any = None, *, optional: bool = False) -> Any:
    """Return a dataclass field that is given as a bare word; one of type `list[str]` takes all words that remain."""
    metadata = {"positional": True, "optional": optional}
    if default is None or isinstance(default, str):
        return dataclasses.field(default=default, metadata=metadata)
    return dataclasses.field(default_factory=lambda: default, metadata=metadata)


def main(command: Command, argv: Sequence[str] | None = None, *, prog: str | None = None) -> int:
    """Parse `argv`, then import TensorFlow and the command's target, and call it with the configuration.

    Args:
        command: what to run.
        argv: arguments to parse; by default those of the process.
        prog: how the command is called; by default `python -m` and the target's module.

    Returns:
        The exit code: 0; 2 after a `UserError`, or an error of the machine such as a full disk (one line on stderr, no
        traceback); 130 after Ctrl-C or SIGTERM (what the `KeyboardInterrupt` says is printed on stderr, such as how to
        resume).
    """
    words = sys.argv[1:] if argv is None else argv
    return _main(command, words, prog or f"python -m {command.module}", is_process=argv is None)


def choose(group: Group, *, prog: str, argv: Sequence[str] | None = None) -> int:
    """Run the command of a group that the first word of `argv` names, with the words that remain.

    Args:
        group: the commands.
        prog: how the group is called.
        argv: arguments to parse; by default those of the process.

    Returns:
        The exit code, as `main`.
    """
    return _choose(group, sys.argv[1:] if argv is None else argv, prog, is_process=argv is None)


def parse(
    config_class: type[Config], argv: Sequence[str] | None = None, *, prog: str = "", description: str = ""
) -> Config:
    """Return the configuration that `argv` describes; options on the command line win over `--config FILE`.

    Raises:
        UserError: an unknown option or key, or an ill-typed value; names it and what is allowed.
        SystemExit: the help text was asked for and is printed.
    """
    config = parse_words(make_app(config_class, prog=prog, description=description), argv)
    if config is None:
        sys.exit(0)
    return config


def from_values(config_class: type[Config], values: Mapping[str, Any], *, where: str | Path) -> Config:
    """Return the configuration that a dictionary describes, checked like a command line.

    Raises:
        UserError: an unknown key or an ill-typed value; begins with `where`.
    """
    app = make_app(config_class, source=read_values(config_class, values, str(where)), all_optional=True)
    config = parse_words(app, [])
    assert config is not None  # no help text was asked for
    return config


def format_options(config: Any, skip: Sequence[str] | set[str] = ()) -> str:
    """Return the options that make `config` out of the defaults, as they would be typed: ` --image-size 64`.

    A default that was given is among them where the configuration remembers that, because a plan keeps what was given.
    """
    words, defaults, given = "", flatten(type(config)()), getattr(config, GIVEN, ())
    for name, value in flatten(config).items():
        option = option_name(name)
        if name in skip or (value == defaults[name] and (value is None or name not in given)):
            continue
        if isinstance(value, bool):
            words += f" {option}" if value else f" --no-{option[2:]}"
        elif isinstance(value, list) and all(isinstance(word, str) for word in value):
            words += "".join(f" {option} {shlex.quote(word)}" for word in value)
        else:
            word = "null" if value is None else str(value)
            words += f" {option}{'=' if word.startswith('-') else ' '}{shlex.quote(word)}"
    return words


def _main(command: Command, words: Sequence[str], prog: str, is_process: bool) -> int:
    description = f"{command.summary} {command.details}".strip()
    return _run(make_app(command.config_class, prog=prog, description=description), command, words, is_process)


def _choose(group: Group, words: Sequence[str], prog: str, is_process: bool) -> int:
    if not words:
        *others, last = group.commands
        return _fail(f"{prog}: a command is missing: expected {', '.join(others)} or {last}; see --help")
    chosen, called = group.commands.get(words[0]), f"{prog} {words[0]}"
    if isinstance(chosen, DeferredCommand):
        chosen = chosen.load()
    if isinstance(chosen, Group):
        return _choose(chosen, words[1:], called, is_process)
    if chosen:
        return _main(chosen, words[1:], called, is_process)
    listed = {name: entry.summary for name, entry in group.commands.items()}
    return _run(make_group_app(listed, prog=prog, description=group.summary), None, words, is_process)


def _run(app: cyclopts.App, command: Command | None, words: Sequence[str], is_process: bool) -> int:
    """Parse, run the command if there is one, and turn its errors into a line on stderr and an exit code.

    Args:
        app: parses the words.
        command: what to run; without one only a help text can be printed.
        words: of the command line, after the name of the command.
        is_process: whether the command is what this process was started for.
    """
    options: list[str] = []
    try:
        config = parse_words(app, words)
        if config is not None and command:
            options = list(flatten(config))
            with start_command(is_process=is_process), interrupt_on_sigterm():
                command.run(config, is_process)
    except UserError as error:
        return _fail(str(error))
    except BrokenPipeError:  # the reader of the output has ended, such as `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except SystemExit as end:
        if not isinstance(end.__context__, BrokenPipeError):  # rich, which prints help texts, turns it into an exit
            raise
    except KeyboardInterrupt as stop:
        print(f"\n{str(stop) or 'stopped'}", file=sys.stderr)
        return 130
    except Exception as error:
        line = describe_failure(error, options)
        if line is None:
            raise
        return _fail(line)
    return 0


def _fail(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2
