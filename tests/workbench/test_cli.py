import dataclasses
import re
import subprocess
import sys
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
class House(Walls, Paint):
    """A house."""


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
        (["--wet-paint", "yes"], True),
        (["--wet_paint=False"], False),
        (["--wet-paint=no"], False),
        (["--wet-paint", "--max-floors=1"], True),
    ],
)
def test_every_way_to_say_yes_and_no(words, value):
    assert parse(*words).wet_paint is value


def test_choices_match_in_any_case():
    assert parse("--colour", "Blue").colour == "blue"


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
        (["--config", "/no/such.yaml"], ["--config: ", "/no/such.yaml"]),
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
    with pytest.raises(UserError, match="--color: did you mean --colour"):
        parse("--config", str(path))


def test_main_turns_an_error_into_one_line_and_exit_code_2(capsys):
    def command(config):
        raise UserError("the roof\nleaks")

    with pytest.raises(SystemExit) as left:
        cli.main(command, House, prog="house", description="Build.", argv=[])
    assert left.value.code == 2
    assert capsys.readouterr().err == "error: the roof leaks\n"


def test_a_full_disk_is_one_line(capsys):
    def command(config):
        raise OSError(28, "No space left on device", "runs/x/model.keras")

    with pytest.raises(SystemExit) as left:
        cli.main(command, House, prog="house", description="Build.", argv=[])
    assert left.value.code == 2
    assert capsys.readouterr().err == "error: runs/x/model.keras: No space left on device\n"


@pytest.mark.parametrize(("word", "shown"), [("", "\nstopped\n"), ("stopped; go on", "\nstopped; go on\n")])
def test_ctrl_c_is_exit_code_130_and_a_word(capsys, word, shown):
    def command(config):
        raise KeyboardInterrupt(word)

    with pytest.raises(SystemExit) as left:
        cli.main(command, House, prog="house", description="Build.", argv=[])
    assert left.value.code == 130
    assert capsys.readouterr().err == shown


def test_help_is_free_of_the_parsers_own_words(capsys):
    with pytest.raises(SystemExit):
        cli.main(print, Errand, prog="errand", description="Bring.", argv=["--help"])
    with pytest.raises(SystemExit):
        cli.main(print, House, prog="house", description="Build.", argv=["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "--max-floors MAX_FLOORS Floors. (default: 2)" in shown
    assert "--wet-paint {true,false} Whether it is wet." in shown
    assert not any(word in shown for word in ("null", "type:", "+ ", "print-config", "default: False"))


def test_whoever_reads_the_output_may_have_had_enough():
    code = (
        "import dataclasses; from workbench import cli\n"
        "@dataclasses.dataclass(frozen=True)\nclass Config:\n    'Config.'\n    n: int = 100000\n"
        "cli.main(lambda config: [print(i) for i in range(config.n)], Config, prog='', description='', argv=[])"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"0\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("module", "shows"),
    [
        ("cnn_scratch.train", ["Data:", "--image-size", "Run:"]),
        ("cnn_scratch.tune", ["Data:", "--image-size", "Run:"]),
        ("transfer.run", ["Data:", "Backbone:", "--from", "Freezing:", "Run:"]),
        ("transfer.compare", ["Data:", "Backbone:", "--scratch", "Run:"]),
        ("transfer.tune", ["Data:", "Search:", "Run:"]),
        ("workbench.explain", ["RUN [IMAGE ...]", "--layer"]),
        ("workbench.evaluate", ["workbench.evaluate RUN"]),
        ("workbench.predict", ["workbench.predict RUN IMAGE ...", "--top-k"]),
        ("workbench.export", ["workbench.export RUN", "--format", "tflite"]),
        ("workbench.compare", ["workbench.compare RUN ...", "--output"]),
        ("workbench.report", ["workbench.report RUN", "Report:"]),
    ],
)
def test_help_does_not_wait_for_tensorflow(module, shows):
    code = (
        f"import sys, {module} as m\n"
        "try: m.main(['--help'])\n"
        "finally: assert not {'tensorflow', 'keras', 'matplotlib', 'scipy', 'sklearn'} & sys.modules.keys()"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    places = [shown.index(words) for words in shows]
    assert places == sorted(places)
    assert "_" not in "".join(line.split()[0] for line in shown.splitlines() if line.strip().startswith("--"))


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


def test_bare_words_fill_the_positional_fields():
    config = cli.parse(Errand, ["runs/a", "--fast", "one two.jpg", "b.jpg"])
    assert config == Errand("runs/a", ["one two.jpg", "b.jpg"], True)


def test_a_list_is_given_as_words_or_by_repeating_its_option():
    for words in (["a.jpg", "b.jpg"], ["--files", "a.jpg", "--files=b.jpg"], ["a.jpg", "--files", "b.jpg"]):
        assert cli.parse(Errand, ["runs/a", *words]).files == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("words", "says"),
    [([], "RUN is missing; usage: errand RUN FILE ..."), (["runs/a"], "FILE is missing")],
)
def test_missing_positionals_are_named(words, says):
    with pytest.raises(UserError, match=re.escape(says)):
        cli.parse(Errand, words, prog="errand")


def test_a_word_too_many_is_refused():
    with pytest.raises(UserError, match="unexpected word 'here'"):
        parse("here")
