import dataclasses
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import typing

import pytest

from workbench import cli
from workbench.errors import UserError


@dataclasses.dataclass(frozen=True)
class Paint:
    """Paint.

    Args:
        colour: What it looks like.
        layers: How many.
    """

    colour: typing.Literal["red", "blue"] = "red"
    layers: int | list[int] = 1


@dataclasses.dataclass(frozen=True)
class Walls:
    """Walls.

    Args:
        wet_paint: Whether it is wet.
        max_floors: Floors.
    """

    wet_paint: bool = False
    max_floors: int | typing.Literal["all"] = 2


@dataclasses.dataclass(frozen=True)
class Values:
    """Values of every type."""

    layers: int | list[int] = 1
    share: float = 0.5
    title: str | None = None
    wet_paint: bool = False
    from_: str | None = None


@dataclasses.dataclass(frozen=True)
class House(Walls, Paint):
    """A house."""


@dataclasses.dataclass(frozen=True)
class Errand:
    """Errand.

    Args:
        run: Where to.
        files: What to bring.
        fast: In a hurry.
    """

    run: str | None = cli.positional()
    files: list[str] = cli.positional([])
    fast: bool = False


@dataclasses.dataclass(frozen=True)
class Composed:
    """Options in sections."""

    walls: Walls = Walls(max_floors=4)
    paint: Paint = Paint()


def parse(*argv):
    return cli.parse(House, list(argv))


def test_defaults_and_values():
    assert parse() == House()
    assert parse("--colour", "blue", "--layers=[1, 2]", "--max-floors", "all") == House("blue", [1, 2], False, "all")


@pytest.mark.parametrize("spelling", ["--max-floors", "--max_floors"])
def test_hyphens_and_underscores_are_the_same(spelling):
    assert parse(spelling, "3").max_floors == 3


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--wet-paint"], True),
        (["--no-wet-paint"], False),
        (["--wet_paint=yes"], True),
        (["--wet_paint=False"], False),
        (["--wet-paint=no"], False),
        (["--wet-paint", "--max-floors=1"], True),
    ],
)
def test_every_way_to_say_yes_and_no(words, value):
    assert parse(*words).wet_paint is value


def test_choices_match_in_any_case():
    assert parse("--colour", "Blue").colour == "blue"


def test_choices_match_in_any_case_in_a_file(tmp_path):
    assert parse_file(tmp_path, "colour: BLUE\nmax_floors: All") == House(colour="blue", max_floors="all")


def parse_file(folder, text):
    (folder / "house.yaml").write_text(text)
    return parse("--config", str(folder / "house.yaml"))


def test_sections_are_flat_on_the_command_line_and_in_files(tmp_path):
    path = tmp_path / "house.yaml"
    path.write_text("colour: blue\nwet_paint: yes\n")
    config = cli.parse(Composed, ["--config", str(path), "--layers", "3"])
    assert config == Composed(Walls(wet_paint=True, max_floors=4), Paint("blue", 3))
    assert cli.from_values(Composed, {"layers": [1, 2]}, where="here").paint.layers == [1, 2]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("share: 1e-3", {"share": 0.001}),
        ("share: 2", {"share": 2.0}),
        ("layers: [3, 3]", {"layers": [3, 3]}),
        ("layers: [3]", {"layers": [3]}),
        ("title: null", {"title": None}),
        ("title: 12", {"title": "12"}),
        ("wet_paint: yes", {"wet_paint": True}),
        ("wet-paint: true", {"wet_paint": True}),
        ("from_: here", {"from_": "here"}),
        ("# title: a", {}),
    ],
)
def test_values_in_a_file_get_the_type_of_their_option(tmp_path, text, values):
    (tmp_path / "x.yaml").write_text(text)
    assert cli.parse(Values, ["--config", str(tmp_path / "x.yaml")]) == Values(**values)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("layers: many", ["layers: 'many'", "a whole number or a list of whole numbers"]),
        ("layers: 2.5", ["layers: '2.5'", "a whole number"]),
        ("layers: true", ["layers: 'true'"]),
        ("layers: [1, x]", ["layers: '[1, \"x\"]'"]),
        ("layers: null", ["layers: 'null'"]),
        ("share: [1]", ["share: '[1]'", "a number"]),
        ("title: [1]", ["title: '[1]'", "text or nothing"]),
        ("title: yes", ["title: 'true'", "text or nothing"]),
        ("title: {a: 1}", ["title: "]),
        ("wet_paint: maybe", ["wet_paint: 'maybe'", "true or false"]),
        ("share: 1\nshare: 2", ["line 2: 'share' is given twice"]),
        ("wet_paint: yes\nwet-paint: no", ["'wet_paint' is given twice, also as 'wet-paint'"]),
        ("titel: a", ["unknown key 'titel': did you mean 'title'?"]),
        ("no_wet_paint: true", ["unknown key 'no_wet_paint'"]),
        ("config: x.yaml", ["unknown key 'config'"]),
        ("- share", ["list"]),
        ("a: b: c", ["line 1: "]),
    ],
)
def test_errors_name_the_file_the_key_and_what_is_allowed(tmp_path, text, parts):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        cli.parse(Values, ["--config", str(path)])
    assert all(part in str(error.value) for part in [f"--config {path}: ", *parts])
    assert "\n" not in str(error.value)


def test_errors_of_a_dictionary_begin_with_its_place():
    with pytest.raises(UserError, match=r"^runs/a: share: 'x' is not allowed; expected a number$"):
        cli.from_values(Values, {"share": "x"}, where="runs/a")


def test_the_last_of_several_files_wins(tmp_path):
    for name, layers in (("a", 1), ("b", 2)):
        (tmp_path / name).write_text(f"layers: {layers}")
    assert cli.parse(Values, ["--config", str(tmp_path / "a"), "--config", str(tmp_path / "b")]).layers == 2


def test_the_last_of_several_values_wins():
    assert parse("--layers=3", "--layers", "4", "--wet-paint", "--no-wet-paint") == House(layers=4)


@pytest.mark.parametrize(
    "config",
    [
        House(),
        House(colour="blue", layers=[1, 2], wet_paint=True),
        Composed(paint=Paint(layers=3), walls=Walls(max_floors="all")),
    ],
)
def test_formatted_options_are_read_as_the_same_configuration(config):
    words = cli.format_options(config)
    assert cli.parse(type(config), shlex.split(words)) == config


def test_formatted_options_leave_out_defaults_and_what_is_skipped():
    config = Values(layers=[3, 5], title="-a b", wet_paint=True, share=1.0)
    assert cli.format_options(config, skip={"share"}) == " --layers '[3, 5]' --title='-a b' --wet-paint"


def test_options_win_over_the_file_wherever_they_stand(tmp_path):
    path = tmp_path / "house.yaml"
    path.write_text("colour: blue\nmax_floors: 5\n")
    assert parse("--max-floors", "3", "--config", str(path)) == House(colour="blue", max_floors=3)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--colour", "green"], ["--colour", "'green'", "red or blue"]),
        (["--max-floors", "x"], ["--max-floors", "'x'", "a whole number or all"]),
        (["--max-floor", "3"], ["--max-floor", "did you mean --max-floors?"]),
        (["--layers", "x"], ["a whole number or a list of whole numbers"]),
        (["--max-flors", "3"], ["--max-flors", "did you mean --max-floors?"]),
        (["--layers"], ["--layers: its value is missing"]),
        (["--zzz", "3"], ["--zzz", "--help"]),
        (["--layers", "2.5"], ["--layers", "'2.5'", "a whole number"]),
        (["--layers", "[1, x]"], ["--layers", "'[1, x]'", "a list of whole numbers"]),
        (["--wet-paint=maybe"], ["--wet-paint", "'maybe'", "true or false"]),
        (["--wet-paint", "yes"], ["unexpected word 'yes'"]),
        (["--config", "/no/such.yaml"], ["--config /no/such.yaml: No such file"]),
    ],
)
def test_errors_name_the_option_and_what_is_allowed(words, parts):
    with pytest.raises(UserError) as error:
        parse(*words)
    assert all(part in str(error.value) for part in parts)
    assert "\n" not in str(error.value)


def test_unknown_key_in_a_file(tmp_path):
    path = tmp_path / "house.yaml"
    path.write_text("color: blue\n")
    with pytest.raises(UserError, match="'color': did you mean 'colour'"):
        parse("--config", str(path))


def run(target, argv=(), config_class=House):
    return cli.main(cli.Command(config_class, target, "Build.", needs_tensorflow=False), argv, prog="house")


def test_main_calls_the_target_with_the_configuration():
    configs = []
    assert run(configs.append, ["--colour=blue"]) == 0
    assert configs == [House(colour="blue")]


def test_a_target_is_named_by_module_and_function(capsys):
    assert run("builtins:print") == 0
    assert "House(colour='red'" in capsys.readouterr().out


def test_something_is_done_before_the_target_runs():
    calls = []
    command = cli.Command(
        House,
        lambda config: calls.append("target"),
        before=lambda config: calls.append("before"),
        needs_tensorflow=False,
    )
    code = cli.main(command, [])
    assert (code, calls) == (0, ["before", "target"])


def test_main_turns_an_error_into_one_line_and_exit_code_2(capsys):
    def command(config):
        raise UserError("the roof\nleaks")

    assert run(command) == 2
    assert capsys.readouterr().err == "error: the roof leaks\n"


def test_main_turns_a_wrong_option_into_one_line_and_exit_code_2(capsys):
    assert run(print, ["--colour", "green"]) == 2
    assert capsys.readouterr() == ("", "error: --colour: 'green' is not allowed; expected red or blue\n")


def test_a_full_disk_is_one_line(capsys):
    def command(config):
        raise OSError(28, "No space left on device", "runs/x/model.keras")

    assert run(command) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: runs/x/model.keras: No space left on device; ")
    assert "are free there: delete what is no longer needed, such as old folders in runs/ and logs/" in shown
    assert shown.count("\n") == 1


@dataclasses.dataclass(frozen=True)
class Batches:
    """Batches.

    Args:
        batch_size: Images in one step.
        out: Where to write.
    """

    batch_size: int = 1
    out: str | None = None


class ResourceExhaustedError(Exception):
    """TensorFlow's, by its name."""


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), "out of memory: lower --batch-size, or close other programs"),
        (
            ResourceExhaustedError("{{node x}} OOM when allocating tensor with shape[3,3,64] and type float on CPU\n"),
            "out of memory (a tensor of 3x3x64 numbers): lower --batch-size, or close other programs",
        ),
        (
            ResourceExhaustedError("logs/a/events; No space left on device"),
            "logs/a/events; ",
        ),
        (
            PermissionError(13, "Permission denied", "runs/x/metrics.json"),
            "runs/x/metrics.json: Permission denied; write to another folder with --out DIR",
        ),
    ],
)
def test_what_the_machine_refuses_is_one_line(capsys, error, says):
    def command(config):
        raise error

    assert run(command, [], Batches) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"error: {says}")
    assert shown.count("\n") == 1


def test_a_mistake_in_the_code_keeps_its_traceback():
    def command(config):
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        run(command)


@pytest.mark.parametrize(("word", "shown"), [("", "\nstopped\n"), ("stopped; resume", "\nstopped; resume\n")])
def test_ctrl_c_is_exit_code_130_and_a_word(capsys, word, shown):
    def command(config):
        raise KeyboardInterrupt(word)

    assert run(command) == 130
    assert capsys.readouterr().err == shown


def test_sigterm_does_what_ctrl_c_does(capsys):
    def command(config):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("stopped; resume") from None

    before = signal.getsignal(signal.SIGTERM)
    assert run(command) == 130
    assert capsys.readouterr().err == "\nstopped; resume\n"
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the file is empty; write lines such as 'epochs: 10', or leave out --config"),
        (b"\xef\xbb\xbf \n", "the file is empty"),
        (
            "title: caf\u00e9s".encode("latin-1"),
            "not text in UTF-8 (invalid continuation byte, byte 10); save it as UTF-8",
        ),
        ("title: a".encode("utf-16"), "not text in UTF-8"),
        (b"title: 2026-13-01", "not a text file in YAML"),
        (b"\0", "not a text file in YAML"),
        (
            b"method: grid\nparameters: {}",
            "describes the space of a sweep; give it to cnn_scratch.tune or transfer.tune",
        ),
        (b"backbone: ResNet50\nk: 3", "has options of transfer.run; call python -m transfer.run --config "),
        (b"num_filters: 3", "has options of cnn_scratch.train; call python -m cnn_scratch.train --config "),
        (b"max_trials: 3\nkeep: 2", "has options of a sweep; give it to cnn_scratch.tune or transfer.tune"),
    ],
)
def test_a_file_that_is_no_file_of_options_is_one_line(tmp_path, content, says):
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        cli.parse(Values, ["--config", str(path)])
    assert f"--config {path}: {says}" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_of_comments_sets_nothing(tmp_path):
    assert parse_file(tmp_path, "# max_floors: 5\n") == House()


COMMANDS = {
    "paint": cli.Command(Paint, print, "Paint the house.", needs_tensorflow=False),
    "bring": cli.Command(Errand, print, "Bring something.", needs_tensorflow=False),
}
HOUSE = cli.Group("All about houses.", COMMANDS)


@pytest.mark.parametrize(
    ("words", "code", "shown"),
    [
        (["paint", "--layers", "2"], 0, "Paint(colour='red', layers=2)"),
        (["bring", "runs/a", "b"], 0, "Errand(run='runs/a', files=['b'], fast=False)"),
        (["--help"], 0, "usage: house COMMAND"),
        (["--help"], 0, "paint Paint the house."),
        (["paint", "--help"], 0, "usage: house paint [--config FILE]"),
        (["bring", "--help"], 0, "usage: house bring RUN FILE ..."),
        ([], 2, "error: house: a command is missing: expected paint or bring; see --help"),
        (["pant"], 2, 'error: unknown command "pant"; did you mean "paint"?'),
        (["bring"], 2, "error: RUN is missing; usage: house bring RUN FILE ..."),
        (["paint", "--colour=green"], 2, "error: --colour: 'green' is not allowed"),
    ],
)
def test_sub_commands(capsys, words, code, shown):
    assert cli.choose(HOUSE, prog="house", argv=words) == code
    printed = capsys.readouterr()
    assert shown in " ".join((printed.err if code else printed.out).split())


def test_help_is_free_of_the_parsers_own_words(capsys):
    assert run(print, ["--help"], Errand) == 0
    assert run(print, ["--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "--max-floors INT|CHOICE Floors. Takes a whole number or all. (default: 2)" in shown
    assert "--colour CHOICE What it looks like. One of red, blue. (default: red)" in shown
    assert "--layers INT|[INT,...] How many. (default: 1)" in shown
    assert "--wet-paint Whether it is wet." in shown
    assert "FILE What to bring." in shown
    assert not any(word in shown for word in ("null", "type:", "+ ", "print-config", "default: False", "--empty"))


def test_help_groups_the_options_by_section(capsys):
    assert run(print, ["--help"], Composed) == 0
    shown = capsys.readouterr().out
    places = [
        shown.index(words) for words in ("General:", "--config FILE ", "Walls:", "(default: 4)", "Paint:", "--colour")
    ]
    assert places == sorted(places)
    assert all(len(line.rstrip()) <= 80 for line in shown.splitlines())


@pytest.mark.parametrize(("show", "argv"), [("print", []), ("console.print", []), ("print", ["--help"])])
def test_the_reader_of_the_output_may_end_early(show, argv):
    code = (
        "import dataclasses, sys; from workbench import cli; from workbench.console import console\n"
        "@dataclasses.dataclass(frozen=True)\nclass Config:\n    'Config.'\n    n: int = 10000\n"
        f"count = lambda config: [{show}(i) for i in range(config.n)]\n"
        "sys.stdin.read()\n"
        f"sys.exit(cli.main(cli.Command(Config, count, '', needs_tensorflow=False), {argv}, prog='p'))"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, stderr=pipe) as process:
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_bare_words_fill_the_positional_fields():
    config = cli.parse(Errand, ["runs/a", "--fast", "one two.jpg", "b.jpg"])
    assert config == Errand("runs/a", ["one two.jpg", "b.jpg"], True)


def test_a_list_is_given_as_words_or_by_repeating_its_option():
    for words in (["a.jpg", "b.jpg"], ["--files", "a.jpg", "--files=b.jpg"]):
        assert cli.parse(Errand, ["runs/a", *words]).files == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("words", "says"),
    [([], "RUN is missing; usage: errand RUN FILE ..."), (["runs/a"], "FILE is missing")],
)
def test_missing_positionals_are_named(words, says):
    with pytest.raises(UserError, match=re.escape(says)):
        cli.parse(Errand, words, prog="errand")


@pytest.mark.parametrize("words", [["here"], ["--colour", "blue", "here"], ["--", "here"]])
def test_a_word_too_many_is_refused(words):
    with pytest.raises(UserError, match="unexpected word 'here'"):
        parse(*words)


def test_words_after_two_dashes_are_no_options():
    assert cli.parse(Errand, ["--fast", "--", "runs/a", "--b.jpg", "-c"]) == Errand("runs/a", ["--b.jpg", "-c"], True)


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x.yaml").write_text("title: ~/big/cache\nfrom_: x~/y\n")
    assert cli.parse(Values, ["--config=~/x.yaml"]) == Values(title=f"{tmp_path}/big/cache", from_="x~/y")
    assert cli.parse(Values, ["--from=~/runs"]) == Values(from_=f"{tmp_path}/runs")
    assert cli.parse(Errand, ["~/runs", "~/a.jpg", "~"]).files == [f"{tmp_path}/a.jpg", "~"]


def test_a_path_is_a_word_however_it_begins():
    names = ["[a].jpg", "{b}.jpg", "=c", "@d", "1.jpg", "#e", "true"]
    assert cli.parse(Errand, ["./runs", *names]).files == names
