import itertools
from pathlib import Path

import pytest
import yaml

from cnn_scratch.config import TrainConfig
from cnn_scratch.tune import TUNABLE_OPTIONS
from workbench.cli import parse
from workbench.config import flatten
from workbench.errors import UserError
from workbench.sweep.space import encode, read_space

SWEEP = Path(__file__).parents[3] / "configs" / "sweep.yaml"


def read(tmp_path, text):
    path = tmp_path / "space.yaml"
    path.write_text(text)
    return read_space(path, TrainConfig, TUNABLE_OPTIONS)


def test_the_reference_space_has_9216_points():
    space = read_space(SWEEP, TrainConfig, TUNABLE_OPTIONS)
    assert len(space) == 9216
    assert space.parameters["filter_size"] == [[3] * 5, [2] * 5]
    assert space.parameters["learning_rate"] == [0.001, 0.005, 0.0001]
    assert (space.metric, space.direction) == ("val_accuracy", "max")
    assert [hp.name for hp in space.hyperparameters.space] == list(space.parameters)


def test_the_file_is_a_wandb_sweep(tmp_path):
    """The keys that `wandb sweep` needs, and each of its command lines is one that cnn_scratch.train takes."""
    content = yaml.safe_load(SWEEP.read_text())
    assert content["method"] == "grid"
    assert content["program"] == "cnn_scratch.train"
    assert content["command"][-2:] == ["--wandb", "${args}"]
    parameters = content["parameters"]
    for values in itertools.islice(
        itertools.product(*(entry["values"] for entry in parameters.values())), 0, 9216, 700
    ):
        words = [f"--{name}={value}" for name, value in zip(parameters, values, strict=True)]  # as ${args} is spelt
        config = parse(TrainConfig, ["--wandb", *words])
        assert [flatten(config)[name] for name in parameters] == list(values)


def test_values_ranges_and_fixed(tmp_path):
    space = read(
        tmp_path,
        """
        metric: {name: val_loss, goal: minimize}
        parameters:
          epochs: {value: 3}
          batch_size: {min: 16, max: 64, q: 16}
          dropout: {min: 0.1, max: 0.3, q: 0.1}
          learning_rate: {min: 0.0001, max: 0.1, distribution: log_uniform_values}
          filter_size: {values: [3, [5, 3, 3, 3, 3]]}
          batch_norm: {values: [true]}
        """,
    )
    assert space.fixed == {"epochs": 3, "batch_norm": True}
    assert space.parameters["batch_size"] == [16, 32, 48, 64]
    assert space.parameters["dropout"] == pytest.approx([0.1, 0.2, 0.3])
    rates = space.parameters["learning_rate"]
    assert len(rates) == 10
    assert (rates[0], rates[-1]) == (0.0001, 0.1)
    assert rates[1] / rates[0] == pytest.approx(rates[-1] / rates[-2], rel=1e-4)
    assert space.parameters["filter_size"] == [3, [5, 3, 3, 3, 3]]
    assert (space.metric, space.direction) == ("val_loss", "min")


def test_values_survive_kerastuners_protocol():
    """Numbers come back as the space's own though the protocol rounds them to 32 bits."""
    space = read_space(SWEEP, TrainConfig, TUNABLE_OPTIONS)
    point = {name: values[-1] for name, values in space.parameters.items()}
    hyperparameters = space.hyperparameters.copy()
    hyperparameters.values = {name: encode(value) for name, value in point.items()}
    received = type(hyperparameters).from_proto(hyperparameters.to_proto())
    assert space.decode(received.values) == point
    assert space.decode({"tuner/epochs": 3, "tuner/round": 1}) == {"epochs": 3}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("parameters: {fliter_size: {values: [1]}}", "'fliter_size' cannot be varied"),
        ("parameters: {name: {values: [a]}}", "'name' cannot be varied"),
        ("parameters: {epochs: {values: [1, two]}}", "epochs: 'two' is not allowed; expected a whole number"),
        ("parameters: {epochs: {values: []}}", "'epochs': 'values' must be a list"),
        ("parameters: {epochs: {values: [1, 1]}}", "a value occurs twice"),
        ("parameters: {epochs: 5}", "give 'values', 'value', or 'min' and 'max'"),
        ("parameters: {epochs: {min: 5, max: 2}}", "'min' must be a number below 'max'"),
        ("parameters: {dropout: {min: 0, max: 1, distribution: normal}}", "distribution 'normal'"),
        ("parameters: {dropout: {min: 0, max: 1, distribution: log_uniform_values}}", "start above 0"),
        ("metric: {name: speed}\nparameters: {epochs: {values: [1, 2]}}", "metric 'speed'"),
        ("metric: {name: val_loss, goal: up}\nparameters: {epochs: {values: [1, 2]}}", "goal 'up'"),
        ("epochs: [1]", "has no 'parameters'"),
        ("a: [", "not a YAML file"),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path, text, says):
    with pytest.raises(UserError, match=says) as error:
        read(tmp_path, text)
    assert "space.yaml" in str(error.value)


def test_a_missing_file():
    with pytest.raises(UserError, match=r"--space /no/such\.yaml: No such file"):
        read_space("/no/such.yaml", TrainConfig, TUNABLE_OPTIONS)
