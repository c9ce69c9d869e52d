"""Parse the words of a command line with the library cyclopts, by the options of a configuration class."""

import inspect
import sys
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import cyclopts
from cyclopts.exceptions import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from workbench.commandline.help_text import HelpText
from workbench.commandline.options import (
    Option,
    Source,
    convert,
    describe_choices,
    describe_refusal,
    list_options,
    read_config_file,
)
from workbench.config import option_name, replace
from workbench.errors import UserError

_CONFIG = Annotated[
    list[str],
    cyclopts.Parameter(
        group=cyclopts.Group("General", sort_key=-1),
        help="YAML file with any of the values below. Options on the command line win over it.",
        metavar="FILE",
        show_default=False,
    ),
]


def make_app(
    config_class: type,
    *,
    prog: str = "",
    description: str = "",
    source: Source | None = None,
    all_optional: bool = False,
    completes_files: bool = False,
) -> cyclopts.App:
    """Return an app that returns the configuration.

    Args:
        config_class: the configuration's class.
        prog, description: for the help text.
        source: reads values from somewhere else than the command line; by default from the file of `--config`.
        all_optional: whether positional options may be missing.
        completes_files: whether the app is for the Tab key alone, which then completes a text as the name of a file.
    """
    listed = list_options(config_class)
    usage = f"{prog}{_describe_positionals(listed)} [--config FILE] [--option VALUE ...]".strip()
    app = _empty_app(prog, description, usage, source or read_config_file(config_class))
    groups = {title: cyclopts.Group.create_ordered(title) for title in dict.fromkeys(option.group for option in listed)}
    parameters = [_parameter(option, groups[option.group], all_optional) for option in listed]
    parameters += [inspect.Parameter("config", inspect.Parameter.KEYWORD_ONLY, annotation=_CONFIG, default=[])]
    if completes_files:
        parameters = [_replace_text_type(parameter) for parameter in parameters]

    def build(*args: Any, **values: Any) -> Any:
        given = signature.bind_partial(*args, **values).arguments
        return replace(config_class(), **{name: given[name] for name in given if name != "config"})

    signature = inspect.Signature(sorted(parameters, key=lambda parameter: parameter.kind))
    build.__signature__ = signature  # type: ignore[attr-defined]
    build.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app.default(build)
    return app


def make_group_app(commands: Mapping[str, str], *, prog: str, description: str) -> cyclopts.App:
    """Return an app whose help text lists commands, and which refuses any other word.

    Args:
        commands: name -> description.
        prog, description: for the help text.
    """
    app = _empty_app(prog, description, usage=f"{prog} COMMAND [--option VALUE ...]")
    for place, (name, text) in enumerate(commands.items()):
        part = _empty_app(name, text, usage=f"{prog} {name}")
        part.sort_key = place
        app.command(part, name=name)
    return app


def parse_words(app: cyclopts.App, argv: Sequence[str] | None) -> Any:
    """Return the configuration, or None where the help text was printed instead.

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
    if isinstance(error, UnknownCommandError):
        message = str(error).partition(" Available commands")[0].rstrip(".")
        message += "" if "?" in message else "; see --help"
    else:
        message = str(error)
    message = " ".join(message.split()).rstrip(".").replace(". Did you mean", "; did you mean")
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


def _replace_text_type(parameter: inspect.Parameter) -> inspect.Parameter:
    """Return a parameter whose text is a path."""
    paths: dict[Any, Any] = {str: Path, str | None: Path, list[str]: list[Path]}
    hint, details = typing.get_args(parameter.annotation)
    return parameter.replace(annotation=Annotated[paths.get(hint, hint), details])


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
