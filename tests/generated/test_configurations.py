"""Generated configurations: options on the command line and in YAML files."""

import math
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, event, example, given
from hypothesis import strategies as st

from cnn_scratch.config import TrainConfig
from cnn_scratch.config import TuneConfig as CnnTuneConfig
from tests.generated.commands import check_unchanged, open_workspace, read_contents, run_command, write_taken_run
from tests.generated.conftest import TINY
from tests.generated.numbers import check_test, check_training
from tests.generated.option_values import judge, spell, values_of
from tests.generated.profiles import examples
from transfer.config import CompareConfig, TransferConfig
from transfer.config import TuneConfig as TransferTuneConfig
from workbench.commandline.options import Option, list_options
from workbench.config import option_name

COMMANDS = {
    "cnn_scratch.train": TrainConfig,
    "cnn_scratch.tune": CnnTuneConfig,
    "transfer.run": TransferConfig,
    "transfer.compare": CompareConfig,
    "transfer.tune": TransferTuneConfig,
}
# They lead to a training, or to files elsewhere; `precision` and `strategy` depend on the machine.
_LEFT_OUT = {
    "name",
    "overwrite",
    "runs_dir",
    "logs_dir",
    "cache_dir",
    "data",
    "space",
    "wandb",
    "precision",
    "strategy",
}
_COMBINED = {"k", "until", "start_size", "executor", "ray_address", "worker_cpus", "worker_gpus"}
_COMBINED |= {"unfreeze_epochs", "from_", "resume", "scratch", "lr_find"}


@st.composite
def single_options(draw: st.DrawFn) -> tuple[str, Option, Any]:
    """Draw a command, one of its options, and a value."""
    module = draw(st.sampled_from(sorted(COMMANDS)))
    options = [option for option in list_options(COMMANDS[module]) if option.name not in _LEFT_OUT]
    option = draw(st.sampled_from(options))
    value = draw(values_of(option))
    assume(not (option.name == "workers" and judge(option, value) is not False))  # would start processes
    return module, option, value


def find_verdict(module: str, option: Option, value: Any) -> bool | None:
    """Return whether the command must accept the value; None if it may or may not."""
    verdict = judge(option, value)
    if module.endswith(".tune") and option.name in ("max_unreadable", "split_seed") and verdict is False:
        return None  # refused when the data are read
    if option.name in _COMBINED and verdict:
        return None
    is_small = isinstance(value, int) and value < 32
    if module == "cnn_scratch.train" and option.name == "image_size" and is_small:
        return False
    if module.startswith("transfer.") and option.name == "optimizer" and verdict:
        return None  # fine-tuning takes some of them
    if module.endswith(".tune") and option.name == "recipe" and verdict:
        return None  # a sweep is not planned
    return verdict


def list_base_words(module: str, place: Path) -> list[str]:
    """Return options with which a command is refused, if nothing else is wrong: the data or the name."""
    if module == "cnn_scratch.train":
        return ["--data", "photos", "--name", "taken", "--precision", "float32"]
    space = place / "space.yaml"
    space.write_text("parameters: {seed: {values: [0, 1]}}\n")
    return ["--data", "nope", *(["--space", str(space), "--workers=0"] if module.endswith(".tune") else [])]


def choose(module: str, name: str, value: Any) -> tuple[str, Option, Any]:
    """Return a command, one of its options, and a value."""
    return module, next(option for option in list_options(COMMANDS[module]) if option.name == name), value


@examples(50)
@example(choice=choose("transfer.compare", "image_size", 0), in_file=False)
@example(choice=choose("transfer.compare", "max_unreadable", math.nan), in_file=True)
@example(choice=choose("transfer.compare", "unfreeze_epochs", -1), in_file=False)
@example(choice=choose("cnn_scratch.train", "dense_units", 10**400), in_file=True)
@example(choice=choose("cnn_scratch.train", "filter_size", 10**30), in_file=False)
@example(choice=choose("cnn_scratch.train", "seed", "9" * 5000), in_file=False)
@given(choice=single_options(), in_file=st.booleans())
def test_a_value_is_refused_by_name_or_accepted(finished: Path, choice: tuple[str, Option, Any], in_file: bool) -> None:
    module, option, value = choice
    with open_workspace() as place:
        (place / "photos").symlink_to(finished / "photos")
        write_taken_run(place)
        words = list_base_words(module, place)
        if option.name == "workers":
            words = [word for word in words if word != "--workers=0"]
        if in_file:
            (place / "options.yaml").write_text(_dump({option.name.rstrip("_"): value}))
            words += ["--config", "options.yaml"]
        else:
            spelled = spell(option, value)
            assume(spelled is not None)
            words += spelled or []
        if module == "cnn_scratch.train" and option.name != "image_size":
            words += ["--image-size", "32"]
        before = read_contents(place / "runs", finished)
        outcome = run_command(module, *words, refused=True)
        check_unchanged(before, read_contents(place / "runs", finished))
        is_accepted = "taken exists" in outcome.error or "nope: no such folder" in outcome.error
        verdict = find_verdict(module, option, value)
        event(f"{verdict}")
        if verdict is not None:
            assert is_accepted == verdict, f"expected {'it' if verdict else 'no'} to be accepted: {outcome}"
        if not is_accepted and option.name not in _COMBINED:
            assert option_name(option.name) in outcome.error or option.name.rstrip("_") in outcome.error, outcome


def _dump(values: dict[str, Any]) -> str:
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        return yaml.safe_dump(values, allow_unicode=True)
    finally:
        sys.set_int_max_str_digits(limit)


_LINES = [
    *(
        "epochs: 3",
        "epochs: 3",
        "Epochs: 3",
        "learning-rate: 0.1",
        "learning_rate: .nan",
        "batch_size: 1e400",
        "dropout: ~",
    ),
    *(
        "filter_size: [3, 3, 3, 3, 3]",
        "activation: Mish",
        "unknown: 1",
        "epochs: &e 3",
        "patience: *e",
        "seed: *missing",
    ),
    *(
        "<<: {epochs: 3}",
        "<<: [{epochs: 2}, {seed: 1}]",
        "base: &b {epochs: 1}",
        "<<: *b",
        "? [a]\n: 1",
        "? {a: 1}\n: 2",
    ),
    *("---", "...", "- 1", "a: &a [*a]", "<<: 3", "<<: &m {<<: *m}", "!!python/object:os.system x: 1", "!x epochs: 3"),
    *("epochs: !!int x", "epochs: !!binary aGk=", "epochs: !!set {a}", "epochs: 2024-01-01", "epochs: 2024-13-45"),
    *(
        "\tepochs: 3",
        "epochs: 3: 4",
        "epochs:",
        "epochs: |\n  3",
        "'epochs': '3'",
        "1: 2",
        "null: 3",
        "true: 3",
        ".inf: 1",
    ),
    *("epochs: 0o17", "epochs: 1:30", "epochs: 0x1F", "epochs: +3", "epochs: 3 # three", "epochs: " + "9" * 5000),
    *("%YAML 1.1", "%TAG ! x", "{epochs: 3}", "{epochs: 3", "[epochs", '"epochs', "epochs: \x07", "epochs: \ufeff3"),
    *("method: grid", "parameters: {epochs: {values: [1]}}", "backbone: ResNet50", "max_trials: 3", "keep: 1", "=: 1"),
    *("epochs: " + "[" * 900, "x: " + "{a: " * 300 + "1" + "}" * 300, "epochs: \ud800", "epochs: !!timestamp x"),
]
_ENCODINGS = ("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp037")
yaml_files = st.builds(
    lambda lines, ending, encoding: ending.join(lines).encode(
        encoding, "surrogatepass" if "utf" in encoding else "replace"
    ),
    st.lists(st.one_of(st.sampled_from(_LINES), st.text(max_size=20)), max_size=6),
    st.sampled_from(["\n", "\n", "\n", "\r\n", "\r", " "]),
    st.sampled_from(_ENCODINGS),
)


@examples(25)
@given(module=st.sampled_from(sorted(COMMANDS)), content=st.one_of(yaml_files, st.binary(max_size=40)))
def test_a_configuration_file_is_read_or_refused_in_one_line(module: str, content: bytes) -> None:
    with open_workspace() as place:
        write_taken_run(place)
        (place / "options.yaml").write_bytes(content)
        words = ["--data", "nope", *(["--workers", "0"] if module.endswith(".tune") else [])]
        outcome = run_command(module, *words, "--config", "options.yaml", refused=True)
        event("accepted" if "nope: no such folder" in outcome.error else "refused")
        assert os.listdir(place / "runs") == ["taken"]
        assert (place / "options.yaml").read_bytes() == content


@examples(15)
@given(
    module=st.sampled_from([*sorted(COMMANDS), *(f"workbench.{name}" for name in ("evaluate", "explain", "predict"))]),
    words=st.lists(
        st.one_of(
            st.sampled_from(
                ["--epochs", "--epoch", "--data", "-x", "--", "-", "--no-data-aug", "--data-aug=maybe", "=", "--="]
            ),
            st.sampled_from(
                ["--config", "--config=.", "--config=/dev/null", "--json", "--top-k=-1", "--no-epochs", "--EPOCHS=1"]
            ),
            st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=8),
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_any_words_are_refused_in_one_line(module: str, words: list[str]) -> None:
    assume(not {"--help", "-h"} & {*words})
    with open_workspace() as place:
        (place / "runs").mkdir()
        tune = ["--workers", "0"] if module.endswith(".tune") else []
        run_command(module, *words, *(["--data", "nope", *tune] if module in COMMANDS else []), refused=True)
        assert not os.listdir(place / "runs")


@st.composite
def trainings(draw: st.DrawFn) -> list[str]:
    """Draw options of a small training that must succeed."""
    choices = {
        "activation": ["relu", "gelu", "mish", "silu"],
        "filter-org": ["same", "double"],
        "filter-size": ["3", "1", "2", "[5, 3, 3, 1, 1]"],
        "head": ["flatten", "gap"],
        "initializer": ["glorot", "fan_in"],
        "optimizer": ["adam", "sgd", "muon"],
        "schedule": ["constant", "cosine", "one_cycle"],
        "warmup-epochs": ["0", "0.5"],
        "weight-decay": ["0", "0.01"],
        "label-smoothing": ["0", "0.1"],
        "class-weights": ["none", "balanced"],
        "mixup": ["0", "0.3"],
        "cutmix": ["0", "1"],
        "erasing": ["0", "0.5"],
        "ema": ["0", "0.9"],
        "patience": ["0", "1"],
        "precision": ["float32", "bfloat16"],
        "dropout": ["0", "0.5"],
        "learning-rate": ["0.001", "0.1"],
        "epochs": ["1", "3"],
        "seed": ["0", "4294967295"],
        "batch-size": ["1", "5", "100"],
    }
    words = [word for name, values in choices.items() for word in (f"--{name}", draw(st.sampled_from(values)))]
    flags = [draw(st.sampled_from([f"--{name}", f"--no-{name}"])) for name in ("batch-norm", "data-aug")]
    return [*TINY, *words, *flags]


@pytest.mark.figures
@pytest.mark.report
@examples(1)
@example(words=[*TINY, "--patience", "1", "--epochs", "2", "--label-smoothing", "0.1", "--precision", "bfloat16"])
@given(words=trainings())
def test_the_numbers_of_a_training_are_those_of_its_model(finished: Path, words: list[str]) -> None:
    with open_workspace() as place:
        (place / "photos").symlink_to(finished / "photos")
        trained = run_command("cnn_scratch.train", "--data", "photos", "--name", "run", *words)
        if trained.code == 2:
            assert "loss became" in trained.error, trained
            assert not (place / "runs" / "run").exists()
            return
        run = place / "runs" / "run"
        check_training(run, place / "photos", trained.output)
        tested = run_command("workbench.evaluate", "runs/run", refused=False)
        check_test(run, place / "photos", tested.output)
