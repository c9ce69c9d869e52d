"""Command lines made from configuration dataclasses, on the library cyclopts.

A command's configuration is a dataclass of options, or of sections that hold the options (see `workbench.config`). On
the command line and in YAML files it is flat: `--epochs 5`, `epochs: 5`. Importing this module loads nothing heavy.
"""

import dataclasses
import importlib
import inspect
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import cyclopts
from cyclopts.exceptions import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from workbench.clock import start_command
from workbench.config import flatten, option_name, replace
from workbench.errors import UserError
from workbench.failures import describe_failure
from workbench.help_text import HelpText
from workbench.options import (
    Option,
    Source,
    convert,
    describe_choices,
    describe_refusal,
    list_options,
    read_config_file,
    read_values,
)
from workbench.signals import interrupt_on_sigterm

Config = TypeVar("Config")
_CONFIG = Annotated[
    list[str],
    cyclopts.Parameter(
        group=cyclopts.Group("General", sort_key=-1),
        help="YAML file with any of the values below. Options on the command line win over it.",
        metavar="FILE",
        show_default=False,
    ),
]


@dataclasses.dataclass(frozen=True)
class Command:
    """What a command line runs.

    Attributes:
        config_class: dataclass of the command's options.
        target: `package.module:function`, or the function; called with the configuration.
        description: first paragraph of the help text.
        before: called with the configuration before TensorFlow is imported, such as to start worker processes.
        needs_tensorflow: whether TensorFlow is imported before the target.
        use_gpu: False hides the GPUs from TensorFlow; a function decides from the configuration.
        needs_keras_tuner: whether KerasTuner is imported before the target, without its slow optional libraries.
    """

    config_class: type
    target: str | Callable[[Any], Any]
    description: str
    before: Callable[[Any], None] | None = None
    needs_tensorflow: bool = True
    use_gpu: bool | Callable[[Any], bool] = True
    needs_keras_tuner: bool = False

    @property
    def module(self) -> str:
        """Name of the target's module."""
        return self.target.partition(":")[0] if isinstance(self.target, str) else self.target.__module__

    def run(self, config: Any) -> None:
        """Import TensorFlow where it is needed, then the target, and call it."""
        if self.before:
            self.before(config)
        if self.needs_tensorflow:
            from workbench.runtime import load_tensorflow  # imported late: a help text must not wait for it

            use_gpu = self.use_gpu(config) if callable(self.use_gpu) else self.use_gpu
            load_tensorflow(use_gpu=use_gpu, with_keras_tuner=self.needs_keras_tuner)
        if not isinstance(self.target, str):
            self.target(config)
            return
        name, _, function = self.target.partition(":")
        module = importlib.import_module(name)
        if type(config).__module__ == "__main__":  # `python -m` ran the module as a script: use the imported class
            config = getattr(module, type(config).__name__)(**vars(config))
        getattr(module, function)(config)


def positional(default: Any = None, *, optional: bool = False) -> Any:
    """Return a dataclass field that is given as a bare word; one of type `list[str]` takes all words that remain."""
    metadata = {"positional": True, "optional": optional}
    if default is None or isinstance(default, str):
        return dataclasses.field(default=default, metadata=metadata)
    return dataclasses.field(default_factory=lambda: default, metadata=metadata)


def main(
    config_class: type,
    target: str | Callable[[Any], Any],
    *,
    description: str | None,
    prog: str | None = None,
    argv: Sequence[str] | None = None,
    before: Callable[[Any], None] | None = None,
    needs_tensorflow: bool = True,
    use_gpu: bool | Callable[[Any], bool] = True,
    needs_keras_tuner: bool = False,
) -> int:
    """Parse `argv`, then import TensorFlow and the target, and call the target with the configuration.

    Args:
        config_class: frozen dataclass of options or of sections of options.
        target: `package.module:function`, or the function itself.
        description: first paragraph of the help text.
        prog: how the command is called; by default `python -m` and the target's module.
        argv: arguments to parse; by default those of the process.
        before, needs_tensorflow, use_gpu, needs_keras_tuner: see `Command`.

    Returns:
        The exit code: 0; 2 after a `UserError`, or an error of the machine such as a full disk (one line on stderr, no
        traceback); 130 after Ctrl-C or SIGTERM (what the `KeyboardInterrupt` says is printed on stderr, such as how to
        resume).
    """
    command = Command(config_class, target, description or "", before, needs_tensorflow, use_gpu, needs_keras_tuner)
    prog = prog or f"python -m {command.module}"
    return _run(_app(config_class, prog=prog, description=command.description), {prog: command}, argv)


def choose(
    commands: Mapping[str, Command], *, prog: str, description: str | None, argv: Sequence[str] | None = None
) -> int:
    """Run the sub-command that the first word of `argv` names, with the words that remain.

    Args:
        commands: name -> command.
        prog, description, argv: as for `main`, of all sub-commands together.

    Returns:
        The exit code, as `main`.
    """
    argv = sys.argv[1:] if argv is None else argv
    app = _empty_app(prog, description or "", usage=f"{prog} COMMAND [--option VALUE ...]")
    by_prog = {}
    for name, command in commands.items():
        by_prog[f"{prog} {name}"] = command
        app.command(_app(command.config_class, prog=f"{prog} {name}", description=command.description), name=name)
    missing = f"{prog}: a command is missing: expected {' or '.join(commands)}; see --help"
    return _run(app, by_prog, argv) if argv else _fail(missing)


def parse(
    config_class: type[Config], argv: Sequence[str] | None = None, *, prog: str = "", description: str = ""
) -> Config:
    """Return the configuration that `argv` describes; options on the command line win over `--config FILE`.

    Raises:
        UserError: an unknown option or key, or an ill-typed value; names it and what is allowed.
        SystemExit: the help text was asked for and is printed.
    """
    parsed = _parse(_app(config_class, prog=prog, description=description), argv)
    if parsed is None:
        sys.exit(0)
    return parsed[1]


def from_values(config_class: type[Config], values: Mapping[str, Any], *, where: str | Path) -> Config:
    """Return the configuration that a dictionary describes, checked like a command line.

    Raises:
        UserError: an unknown key or an ill-typed value; begins with `where`.
    """
    app = _app(config_class, source=read_values(config_class, values, str(where)), all_optional=True)
    parsed = _parse(app, [])
    assert parsed is not None  # no help text was asked for
    return parsed[1]


def format_options(config: Any, skip: Sequence[str] | set[str] = ()) -> str:
    """Return the options that make `config` out of the defaults, as they would be typed: ` --image-size 64`."""
    words, defaults = "", flatten(type(config)())
    for name, value in flatten(config).items():
        option = option_name(name)
        if name in skip or value == defaults[name]:
            continue
        if isinstance(value, bool):
            words += f" {option}" if value else f" --no-{option[2:]}"
        elif isinstance(value, list) and all(isinstance(word, str) for word in value):
            words += "".join(f" {option} {shlex.quote(word)}" for word in value)
        else:
            word = "null" if value is None else str(value)
            words += f" {option}{'=' if word.startswith('-') else ' '}{shlex.quote(word)}"
    return words


def _run(app: cyclopts.App, commands: Mapping[str, Command], argv: Sequence[str] | None) -> int:
    """Parse, run the command that was chosen, and turn its errors into a line on stderr and an exit code."""
    options: list[str] = []
    try:
        parsed = _parse(app, argv)
        if parsed:
            prog, config = parsed
            options = list(flatten(config))
            with start_command(is_process=argv is None), interrupt_on_sigterm():
                commands[prog].run(config)
    except UserError as error:
        return _fail(str(error))
    except BrokenPipeError:  # the reader of the output has ended, such as `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except SystemExit as end:
        if not isinstance(end.__context__, BrokenPipeError):  # of which rich, which prints help texts, makes an exit
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


def _parse(app: cyclopts.App, argv: Sequence[str] | None) -> tuple[str, Any] | None:
    """Return (prog, configuration), or None where the help text was printed instead.

    Raises:
        UserError: says in one line what is wrong.
    """
    try:
        return app(
            sys.argv[1:] if argv is None else list(argv),
            exit_on_error=False,
            print_error=False,
            help_on_error=False,
            verbose=False,
            result_action="return_value",
        )
    except CycloptsError as error:
        raise UserError(_explain(error)) from None


def _explain(error: CycloptsError) -> str:
    """Return cyclopts' message in our words where the user needs more."""
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return f"unexpected word '{error.unused_tokens[0]}': see --help; options begin with --"
    if isinstance(error, MissingArgumentError) and error.argument is not None and error.app is not None:
        if error.argument.field_info.is_positional and not error.argument.tokens and error.keyword is None:
            return f"{error.argument.parameter.metavar} is missing; usage: {error.app.usage}"
        return f"{error.keyword or error.argument.name}: its value is missing"
    if isinstance(error, CoercionError) and error.argument is not None:
        token = error.token if error.token and error.token.keyword else error.argument.tokens[-1]
        given = "null" if token.implicit_value is None else token.value
        where = None if token.source == "cli" else token.source
        return describe_refusal(error.argument.field_info.name, given, error.argument.hint, where)
    message = " ".join(str(error).split()).rstrip(".").replace(". Did you mean", "; did you mean")
    if isinstance(error, UnknownOptionError) and "?" not in message:
        message += "; see --help for all options"
    return message[:1].lower() + message[1:]


def _empty_app(prog: str, description: str, usage: str, source: Source | None = None) -> cyclopts.App:
    app = cyclopts.App(
        name=prog,
        help=description,
        help_format="plaintext",
        help_formatter=HelpText(),
        usage=usage,
        version_flags=(),
        config=source,
        default_parameter=cyclopts.Parameter(negative_iterable=(), negative_none=(), allow_repeating=True),
    )
    app["--help"].show = False
    return app


def _app(
    config_class: type,
    *,
    prog: str = "",
    description: str = "",
    source: Source | None = None,
    all_optional: bool = False,
) -> cyclopts.App:
    """Return an app that returns (prog, configuration).

    Args:
        config_class: the configuration's class.
        prog, description: for the help text.
        source: reads values from somewhere else than the command line; by default from the file of `--config`.
        all_optional: whether positional options may be missing.
    """
    listed = list_options(config_class)
    usage = f"{prog}{_describe_positionals(listed)} [--config FILE] [--option VALUE ...]".strip()
    app = _empty_app(prog, description, usage, source or read_config_file(config_class))
    groups = {title: cyclopts.Group.create_ordered(title) for title in dict.fromkeys(option.group for option in listed)}
    parameters = [_parameter(option, groups[option.group], all_optional) for option in listed]
    parameters += [inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, annotation=_CONFIG, default=[])]

    def build(*args: Any, **values: Any) -> tuple[str, Any]:
        given = signature.bind_partial(*args, **values).arguments
        return prog, replace(config_class(), **{name: given[name] for name in given if name != "config"})

    signature = inspect.Signature(sorted(parameters, key=lambda parameter: parameter.kind))
    build.__signature__ = signature  # type: ignore[attr-defined]
    build.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app.default(build)
    return app


def _parameter(option: Option, group: cyclopts.Group, all_optional: bool) -> inspect.Parameter:
    """Return an option as the parameter of a function, as cyclopts reads it."""
    details = cyclopts.Parameter(
        name=option_name(option.name),
        group=group,
        help=f"{option.help} {describe_choices(option.type)}".strip(),
        converter=lambda _, tokens: convert(option, tokens),
        json_list=False,
        metavar=option.word if option.positional else None,
        show=option.is_listed,
        show_default=_format_default,
        show_choices=False,
        negative=() if option.type is not bool or option.name.startswith("no_") else None,
    )
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if option.positional else inspect.Parameter.KEYWORD_ONLY
    required = option.positional and not option.optional and not all_optional
    default = inspect.Parameter.empty if required else option.default
    return inspect.Parameter(option.name, kind, annotation=Annotated[option.type, details], default=default)


def _describe_positionals(options: Sequence[Option]) -> str:
    words = ""
    for option in options:
        if option.positional:
            word = f"{option.word} ..." if option.is_list else option.word
            words += f" [{word}]" if option.optional else f" {word}"
    return words


def _format_default(default: Any) -> str:
    """Return a default as the help text shows it; nothing where it is plain."""
    if default is None or default is False or default == []:
        return ""
    return str(default)
