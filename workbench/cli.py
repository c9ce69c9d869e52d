"""Command lines made from configuration dataclasses, and errors told in one line."""

import argparse
import copy
import dataclasses
import difflib
import inspect
import json
import os
import re
import shlex
import sys
import types
import typing

from workbench.errors import UserError

TRUE_WORDS = {"true", "yes", "on", "1"}
FALSE_WORDS = {"false", "no", "off", "0"}


def positional(default=None, *, optional=False):
    """A dataclass field that is given as a bare word; one of type `list[str]` takes all the words that remain."""
    metadata = {"positional": True, "optional": optional}
    if default is None or isinstance(default, str):
        return dataclasses.field(default=default, metadata=metadata)
    return dataclasses.field(default_factory=lambda: default, metadata=metadata)


def main(command, config_class, *, prog, description, argv=None):
    """Parse `argv` into a `config_class`, call `command` with it, and leave the process on an error.

    Args:
        command: called with the configuration; raises `UserError` for what the user can mend.
        config_class: frozen dataclass; each of its bases becomes a titled group of options.
        prog: how the command is called, for the help text.
        description: the help text's first paragraph.
        argv: arguments to parse, `sys.argv[1:]` by default.

    Exit codes: 2 after a user's error (one line on stderr, no traceback), 130 after Ctrl-C (on stderr what the
    `KeyboardInterrupt` says, such as how to go on).
    """
    try:
        command(parse(config_class, argv, prog=prog, description=description))
    except UserError as error:
        _leave(str(error))
    except BrokenPipeError:  # whoever reads the output has had enough, such as `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        if error.filename is None and error.strerror is None:
            raise
        _leave(f"{error.filename or 'input/output'}: {error.strerror}")
    except KeyboardInterrupt as stop:
        print(f"\n{str(stop) or 'stopped'}", file=sys.stderr)
        sys.exit(130)


def choose(commands, *, prog, description, argv=None):
    """Call `main` for the sub-command that the first word of `argv` names, with the words that remain.

    Args:
        commands: name -> (command, config_class, description), each as `main` takes them.
        prog, description, argv: as for `main`, of all sub-commands together.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    name = words.pop(0) if words else ""
    if name in ("-h", "--help"):
        print(f"usage: {prog} COMMAND [--option VALUE ...]\n\n{description}\n\ncommands (each has its own --help):")
        for known, (_, _, about) in commands.items():
            print(f"  {known:<14}{about}")
    elif name in commands:
        command, config_class, about = commands[name]
        main(command, config_class, prog=f"{prog} {name}", description=about, argv=words)
    else:
        close = difflib.get_close_matches(name, commands, n=1)
        hint = f"did you mean {close[0]}?" if close else f"expected {' or '.join(commands)}; see --help"
        _leave(f"{prog}: {f'no command {name!r}' if name else 'a command is missing'}: {hint}")


def _leave(message):
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


def parse(config_class, argv=None, *, prog="", description=""):
    """The configuration that `argv` describes; options on the command line win over `--config FILE`.

    Raises:
        UserError: an unknown option or key, or an ill-typed value; names it and what is allowed.
    """
    usage = f"{prog}{_positional_usage(config_class)} [--config FILE] [--option VALUE ...]"
    parser = _parser(config_class, prog=prog, description=description, usage=usage)
    parser.add_argument("--config", action="config", metavar="FILE", help="YAML file with any of the values below")
    argv = _spell(sys.argv[1:] if argv is None else argv, config_class)
    config = _configuration(config_class, lambda: parser.parse_args(argv))
    for field in _positionals(config_class):
        if not (field.metadata["optional"] or getattr(config, field.name)):
            raise UserError(f"{_word(field)} is missing; usage: {prog}{_positional_usage(config_class)}")
    return config


def from_values(config_class, values, *, where):
    """The configuration that a dictionary describes, checked like a command line.

    Raises:
        UserError: an unknown key or an ill-typed value; begins with `where`.
    """
    try:
        return _configuration(config_class, lambda: _parser(config_class).parse_object(values))
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def options(config, skip=()):
    """The options that make `config` out of the defaults, as they would be typed: ` --image-size 64`."""
    words = ""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name not in skip and value != field.default:
            words += f" {option_name(field.name)} {shlex.quote(str(value))}"
    return words


def option_name(field_name):
    """A field as an option: `--image-size`; the underscore that keeps a name off Python's keywords is not shown."""
    return f"--{field_name.rstrip('_').replace('_', '-')}"


def _parser(config_class, **kwargs):
    import jsonargparse

    class Formatter(jsonargparse.DefaultHelpFormatter):
        def _get_help_string(self, action):
            return (action.help or "") + _default_text(action.default)

        def _format_action_invocation(self, action):
            action = copy.copy(action)
            action.option_strings = [option for option in action.option_strings if not option.endswith("+")]
            return super()._format_action_invocation(action)

    class Parser(jsonargparse.ArgumentParser):
        def format_help(self):
            return re.sub(r"--[a-z_]+", lambda option: option_name(option[0][2:]), super().format_help())

    settings = {"exit_on_error": False, "allow_abbrev": False, "print_config": None, "formatter_class": Formatter}
    parser = Parser(**settings, **kwargs)
    for base in _groups(config_class):
        parser.add_class_arguments(base, None)
    defaults = {field.name: field.default for field in dataclasses.fields(config_class)}
    parser.set_defaults({name: value for name, value in defaults.items() if value is not dataclasses.MISSING})
    return parser


def _default_text(default):
    """A default as the help says it; nothing where there is none to speak of."""
    if default is None or default is False or default in ([], argparse.SUPPRESS):
        return ""
    return f" (default: {str(default).lower() if default is True else default})"


def _configuration(config_class, parse_values):
    import jsonargparse

    try:
        namespace = parse_values()
    except jsonargparse.ArgumentError as error:
        raise UserError(_one_line(str(error), config_class)) from None
    return config_class(**{field.name: namespace[field.name] for field in dataclasses.fields(config_class)})


def _groups(config_class):
    """The dataclasses that `config_class` is put together from; one that only changes defaults is none."""
    groups, known = [], set()
    for base in reversed(config_class.__mro__):
        own = set(inspect.get_annotations(base))
        if own - known:
            groups.append(base)
        known |= own
    return groups


def _spell(argv, config_class):
    """The arguments in the parser's own spelling.

    `--image-size` becomes `--image_size`; `--overwrite` and `--no-overwrite` get their value; yes, no and
    choices match in any case; an option of several words adds one each time; `--config` comes first, so that
    options win wherever they stand.
    """
    hints = typing.get_type_hints(config_class)
    configs, others, words, bare = [], [], list(argv), []
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            (others if word in ("-h",) else bare).append(word)
            continue
        option, equals, value = word.partition("=")
        name = option[2:].replace("-", "_")
        name = f"{name}_" if f"{name}_" in hints else name
        if hints.get(name.removeprefix("no_")) is bool and name not in hints:
            others.append(f"--{name.removeprefix('no_')}=false")
            continue
        is_flag = hints.get(name) is bool
        takes_next = words and (words[0].lower() in TRUE_WORDS | FALSE_WORDS if is_flag else words[0][:2] != "--")
        if not equals and takes_next:
            value, equals = words.pop(0), "="
        elif not equals and is_flag:
            value, equals = "true", "="
        value = _spell_value(value, hints.get(name))
        if equals and hints.get(name) == list[str] and not value.startswith("["):
            equals = "+="
        (configs if name == "config" else others).append(f"--{name}{equals}{value}")
    return configs + _bare_words(bare, config_class) + others


def _positionals(config_class):
    return [field for field in dataclasses.fields(config_class) if field.metadata.get("positional")]


def _word(field):
    return field.name.removesuffix("s").upper() if field.type == list[str] else field.name.upper()


def _positional_usage(config_class):
    words = [_word(field) + (" ..." if field.type == list[str] else "") for field in _positionals(config_class)]
    optional = [field.metadata["optional"] for field in _positionals(config_class)]
    return "".join(f" [{word}]" if free else f" {word}" for word, free in zip(words, optional, strict=True))


def _bare_words(words, config_class):
    """Words without an option in front of them, as the positional fields' options."""
    options, words = [], list(words)
    for field in _positionals(config_class):
        if field.type == list[str] and words:
            options.append(f"--{field.name}={json.dumps(words)}")
            words = []
        elif words:
            options.append(f"--{field.name}={words.pop(0)}")
    if words:
        raise UserError(f"unexpected word '{words[0]}': see --help; options begin with --")
    return options


def _spell_value(value, hint):
    if hint is bool and value.lower() in TRUE_WORDS | FALSE_WORDS:
        return "true" if value.lower() in TRUE_WORDS else "false"
    choices = {str(choice).lower(): choice for choice in _choices(hint)}
    return choices.get(value.lower(), value)


def _choices(hint):
    if typing.get_origin(hint) is typing.Literal:
        return typing.get_args(hint)
    return [choice for part in typing.get_args(hint) for choice in _choices(part)]


def _one_line(message, config_class):
    """jsonargparse's paragraph about one argument, as one line that says what is allowed."""
    hints = typing.get_type_hints(config_class)
    key = re.match(r'Parser key "(\w+)"', message)
    value = re.search(r"(?:Given|Got) value: (.*)", message)
    if key and value and key[1] in hints:
        return f"{option_name(key[1])}: {value[1]!r} is not allowed; expected {_allowed(hints[key[1]])}"
    missing = re.match(r"argument --(\w+).*: expected one argument", message)
    if missing:
        return f"{option_name(missing[1])}: its value is missing"
    file = re.match(r'Parser key "config": (.*)', message)
    if file:
        return f"--config: {file[1]}"
    unknown = re.search(r"unrecognized arguments: --(\w+)|Option '(\w+)' is not accepted", message)
    if unknown:
        name = unknown[1] or unknown[2]
        close = difflib.get_close_matches(name, hints, n=1)
        hint = f"did you mean {option_name(close[0])}?" if close else "see --help for all of them"
        return f"unknown option {option_name(name)}: {hint}"
    return message


def _allowed(hint):
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(str(choice) for choice in typing.get_args(hint))
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return " or ".join(_allowed(part) for part in typing.get_args(hint))
    if typing.get_origin(hint) is list:
        return f"a list of {_allowed(typing.get_args(hint)[0]).removeprefix('a ')}s"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "nothing"}
    return names.get(hint, str(hint))
