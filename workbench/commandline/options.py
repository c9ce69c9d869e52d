"""The options of a configuration class: names, types, defaults and help; and how words and YAML become values."""

import dataclasses
import difflib
import functools
import inspect
import json
import os
import shlex
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import cyclopts
import docstring_parser

from workbench.commandline.calls import format_call
from workbench.commandline.shipped_files import describe_shipped, find_file
from workbench.config import list_fields, option_name
from workbench.errors import UserError
from workbench.files import read_yaml
from workbench.origin import find_command, is_sweep, is_sweep_file

_MAX_GIVEN = 100  # characters of a wrong value that an error repeats
Source = Callable[[cyclopts.App, tuple[str, ...], cyclopts.ArgumentCollection], None]  # fills in values


@dataclasses.dataclass(frozen=True)
class Option:
    """One option of a configuration class.

    Attributes:
        name: the field's name, such as `image_size`.
        type: the field's type, such as `int | None`.
        default: its default value.
        group: title of the options that it is listed with.
        help: what it does.
        positional: whether it is given as a bare word.
        optional: whether a positional option may be missing.
        is_listed: whether the help text has it.
    """

    name: str
    type: Any
    default: Any
    group: str
    help: str
    positional: bool
    optional: bool
    is_listed: bool = True

    @property
    def word(self) -> str:
        """How a positional option is called in the help text: `RUN`, `IMAGE`."""
        return self.name.removesuffix("s").upper() if self.is_list else self.name.upper()

    @property
    def is_list(self) -> bool:
        """Whether it takes any number of words."""
        return self.type == list[str]


@functools.cache
def list_options(config_class: type) -> list[Option]:
    """Return the options of a configuration class and of its sections, each with its group's title and its help."""
    return _list_options(config_class())


def _list_options(defaults: Any) -> list[Option]:
    """Return the options of a configuration whose values are the defaults."""
    options: list[Option] = []
    config_class = type(defaults)
    hints = typing.get_type_hints(config_class)
    for field in list_fields(defaults):
        default = getattr(defaults, field.name)
        if "option" in field.metadata:  # of a section that `make_unset_section` made
            options.append(field.metadata["option"])
            continue
        if dataclasses.is_dataclass(default):
            options += _list_options(default)
            continue
        owner = next(base for base in reversed(config_class.__mro__) if field.name in inspect.get_annotations(base))
        documentation = docstring_parser.parse(owner.__doc__ or "")
        helps = {entry.arg_name: " ".join((entry.description or "").split()) for entry in documentation.params}
        options.append(
            Option(
                name=field.name,
                type=hints[field.name],
                default=default,
                group=(documentation.short_description or owner.__name__).rstrip("."),
                help=helps.get(field.name, ""),
                positional=field.metadata.get("positional", False),
                optional=field.metadata.get("optional", False),
                is_listed=field.metadata.get("is_listed", True),
            )
        )
    return options


def make_unset_section(config_class: type, names: Sequence[str], listed: Sequence[str] = ()) -> Any:
    """Return a section with some options of another configuration, each of which is None unless it is given.

    Args:
        config_class: the configuration that has the options.
        names: of the options.
        listed: those of them that the help text of the section's command lists.
    """
    known = {option.name: option for option in list_options(config_class)}
    fields = []
    for name in names:
        option = dataclasses.replace(known[name], is_listed=name in listed)
        fields.append((name, option.type, dataclasses.field(default=None, metadata={"option": option})))
    return dataclasses.make_dataclass("UnsetOptions", fields, frozen=True)()


def describe_refusal(name: str, given: object, allowed: Any, where: str | None) -> str:
    """Return the message about an ill-typed value, of an option or of a key in a file."""
    subject, text = f"{where}: {name}" if where else option_name(name), str(given)
    if len(text) > _MAX_GIVEN:
        text = f"{text[:_MAX_GIVEN]}..."
    return f"{subject}: '{text}' is not allowed; expected {_describe(allowed)}"


def read_config_file(config_class: type) -> Source:
    """Return a source of values that reads the YAML files of `--config`; the last of several wins."""

    def read(app: cyclopts.App, commands: tuple[str, ...], arguments: cyclopts.ArgumentCollection) -> None:
        for token in reversed(arguments.get("--config").tokens):
            where, path = f"--config {token.value}", find_file(token.value)
            try:
                values = read_yaml(path)
                is_empty = values is None and not path.read_text(encoding="utf-8-sig").strip()
            except OSError as error:
                raise UserError(f"{where}: {error.strerror}{describe_shipped(token.value)}") from None
            except UserError as error:
                raise UserError(f"--config {error}") from None
            if is_empty:
                raise UserError(f"{where}: the file is empty; write lines such as 'epochs: 10', or leave out --config")
            source = read_values(config_class, {} if values is None else values, where)
            source(app, commands, arguments)

    return read


def read_values(config_class: type, values: Mapping[str, Any], where: str) -> Source:
    """Return a source of values that reads a dictionary whose keys are names of options.

    Raises:
        UserError: a key is no option, or a value has the wrong type.
    """
    if not isinstance(values, Mapping):
        raise UserError(f"{where}: expected lines such as 'epochs: 10', not {type(values).__name__}")
    known = {option_name(option.name)[2:]: option for option in list_options(config_class)}
    words: dict[str, Any] = {}
    for key, value in values.items():
        name = option_name(str(key))[2:]
        if name not in known:
            _refuse_foreign_file(values, known, where)
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean '{known[close[0]].name}'?" if close else "see --help for all options"
            raise UserError(f"{where}: unknown key '{key}': {hint}")
        if name in words:
            raise UserError(f"{where}: '{known[name].name}' is given twice, also as '{key}'")
        words[name] = _spell_value(known[name], value, where)
    return cyclopts.config.Dict(words, source=where, use_commands_as_keys=False)


def _refuse_foreign_file(values: Mapping[str, Any], known: Mapping[str, Option], where: str) -> None:
    """Refuse a file that was written for another command. Return if it is not known which.

    Raises:
        UserError: names the right option or command.
    """
    path = where.removeprefix("--config ")
    if is_sweep_file(map(str, values)):
        command = "" if "space" in known else " to cnn_scratch.tune or transfer.tune"
        raise UserError(f"{where}: describes the space of a sweep; give it{command} as --space {shlex.quote(path)}")
    own, other = find_command(option.name for option in known.values()), find_command(map(str, values))
    is_foreign = find_command(str(key) for key in values if option_name(str(key))[2:] not in known)
    if is_foreign and other and own != other:
        raise UserError(f"{where}: has options of {other}; call {format_call(other)} --config {shlex.quote(path)}")
    if is_sweep(values) and "space" not in known:
        raise UserError(f"{where}: has options of a sweep; give it to cnn_scratch.tune or transfer.tune")


def _spell_value(option: Option, value: Any, where: str) -> Any:
    """Return a value from YAML as cyclopts reads it: a list as one word, unless the option takes many words.

    Raises:
        UserError: a list, a section or a truth value is given to an option that takes none. (As a word, `true` could
            be read as a name.)
    """
    is_list = isinstance(value, list)
    refused = isinstance(value, dict) or (is_list and not takes(option.type, list))
    if refused or (isinstance(value, bool) and not takes(option.type, bool)):
        raise UserError(describe_refusal(option.name, json.dumps(value, default=str), option.type, where))
    return json.dumps(value) if is_list and not option.is_list else value


def convert_value(option: Option, value: Any, where: str) -> Any:
    """Return a value from YAML with the type and the spelling of its option.

    Raises:
        UserError: the type does not allow it; begins with `where`.
    """
    if isinstance(value, bool) and option.type is bool:
        return value
    word = "null" if value is None else str(_spell_value(option, value, where))
    try:
        return convert(option, [cyclopts.Token(value=word, source=where)])
    except (cyclopts.CoercionError, ValueError):
        raise UserError(describe_refusal(option.name, word, option.type, where)) from None


def convert(option: Option, tokens: Sequence[cyclopts.Token]) -> Any:
    """Convert what the user gave to an option's type.

    Choices match in any case, `null` is None, and `int | list[int]` takes a list as one word: `[3, 5]`. A text that
    begins with `~/` is a path in the user's home folder: a shell does not expand it in a file or in `--out=~/here`.

    Raises:
        CoercionError, ValueError: the type does not allow it.
    """
    if option.is_list:
        return cyclopts.convert(option.type, tokens, converter=_convert_word)
    token = tokens[-1]  # of an option that is given twice the last one counts
    if token.value == "null" and takes(option.type, type(None)):
        return None
    choices = {choice.lower(): choice for choice in _list_choices(option.type)}
    token = token.evolve(value=choices.get(token.value.lower(), token.value))
    if takes(option.type, list) and token.value.startswith("["):
        words = [str(word) for word in json.loads(token.value)]
        list_type = next(part for part in _alternatives(option.type) if typing.get_origin(part) is list)
        return cyclopts.convert(list_type, words, converter=_convert_word)
    return cyclopts.convert(option.type, [token], converter=_convert_word)


def _convert_word(word_type: type, word: str) -> Any:
    """Convert one word like cyclopts, but refuse to round: `--epochs 2.5` is an error; and expand `~/`."""
    if word_type is str and word.startswith("~/"):
        return os.path.expanduser(word)
    return int(word) if word_type is int else cyclopts.convert(word_type, [word])


def takes(hint: Any, value_type: type) -> bool:
    """Return whether a type or one of its alternatives is `value_type`, or a list where that is `list`."""
    return any(value_type in (part, typing.get_origin(part)) for part in _alternatives(hint))


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """Return the members of a union; any other type is its only alternative."""
    is_union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    return typing.get_args(hint) if is_union else (hint,)


def _list_choices(hint: Any) -> list[str]:
    literals = [part for part in _alternatives(hint) if typing.get_origin(part) is Literal]
    return [str(choice) for literal in literals for choice in typing.get_args(literal)]


def describe_choices(hint: Any) -> str:
    """Return a sentence with the choices of a type; nothing where it has none."""
    choices = _list_choices(hint)
    if not choices:
        return ""
    has_others = any(typing.get_origin(part) is not Literal and part is not type(None) for part in _alternatives(hint))
    return f"Takes {_describe(hint)}." if has_others else f"One of {', '.join(choices)}."


def _describe(hint: Any) -> str:
    """Return what a type allows in plain English: `a whole number or a list of whole numbers`."""
    alternatives = _alternatives(hint)
    if len(alternatives) > 1:
        return " or ".join(_describe(part) for part in alternatives)
    if typing.get_origin(hint) is Literal:
        return " or ".join(_list_choices(hint))
    if typing.get_origin(hint) is list:
        return f"a list of {_describe(typing.get_args(hint)[0]).removeprefix('a ')}s"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "nothing"}
    return names.get(hint, str(hint))
