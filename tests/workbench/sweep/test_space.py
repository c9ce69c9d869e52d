import itertools
from pathlib import Path

import numpy as np
import pytest
import yaml

from cnn_scratch.config import TRIAL, TrainConfig, TuneConfig
from transfer import config as transfer_config
from transfer import defaults as transfer_defaults
from workbench.cli import parse
from workbench.config import build, flatten
from workbench.errors import UserError
from workbench.sweep.keras_tuner_adapter.space import make_hyperparameters
from workbench.sweep.search import resolve_search
from workbench.sweep.space import encode
from workbench.sweep.sweep_file import read_space

SWEEP = Path(__file__).parents[3] / "configs" / "sweep.yaml"
REFERENCE = Path(__file__).parent / "reference_sweep.yaml"


def read(tmp_path, text, trial=TRIAL):
    path = tmp_path / "space.yaml"
    path.write_text(text)
    return read_space(path, trial)


def test_the_reference_space_has_9216_points():
    space = read_space(SWEEP, TRIAL)
    assert space.num_points == 9216
    assert space.parameters["filter_size"] == [[3] * 5, [2] * 5]
    assert space.parameters["learning_rate"] == [0.001, 0.005, 0.0001]
    assert (space.metric, space.direction) == ("val_accuracy", "max")
    assert [hp.name for hp in make_hyperparameters(space).space] == list(space.parameters)


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
    space = read_space(SWEEP, TRIAL)
    point = {name: values[-1] for name, values in space.parameters.items()}
    hyperparameters = make_hyperparameters(space)
    hyperparameters.values = {name: encode(value) for name, value in point.items()}
    received = type(hyperparameters).from_proto(hyperparameters.to_proto())
    assert space.decode(received.values) == point
    assert space.decode({"tuner/epochs": 3, "tuner/round": 1}) == {"epochs": 3}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("parameters: {}\na: &a {b: 1}\nc: {<<: *a}", "unknown key 'a'"),
        ("parameters: {fliter_size: {values: [1]}}", "'fliter_size' cannot be varied"),
        ("parameters: {name: {values: [a]}}", "'name' cannot be varied"),
        ("parameters: {epochs: {values: [1, two]}}", "epochs: 'two' is not allowed; expected a whole number"),
        ("parameters: {epochs: {values: []}}", "'epochs': 'values' must be a list"),
        ("parameters: {epochs: {values: [1, 1]}}", "a value occurs twice"),
        ("parameters: {epochs: 5}", "give 'values', 'value', or 'min' and 'max'"),
        ("parameters: {epochs: {min: 5, max: 2}}", "'min' must be a number below 'max'"),
        ("parameters: {dropout: {min: 0, max: 1, distribution: norml}}", "distribution 'norml' is none of constant"),
        ("parameters: {dropout: {min: 0, max: 1, distribution: normal}}", "a normal distribution has no 'min'; it has"),
        ("parameters: {dropout: {min: 0, max: 1, distribution: log_uniform_values}}", "start above 0"),
        ("metric: {name: [val_loss]}\nparameters: {epochs: {values: [1, 2]}}", "'val_loss'.*is none of val_"),
        ("metric: {name: speed}\nparameters: {epochs: {values: [1, 2]}}", "metric 'speed'"),
        ("metric: {name: val_loss, goal: up}\nparameters: {epochs: {values: [1, 2]}}", "goal 'up'"),
        ("epochs: [1]", "has no 'parameters'"),
        ("a: [", "space.yaml: line 1: "),
        ("parameters:\n  epochs: {value: 1}\n  epochs: {value: 2}", "line 3: 'epochs' is given twice, first in line 2"),
        ("parameters: {batch_size: {value: 8}, batch-size: {value: 9}}", "'batch_size' is given twice"),
        ("parameters: {dropout: {values: [0.1, 7, nan]}}", "--dropout 7.0: must be at least 0 and below 1"),
        ("parameters: {dropout: {values: [0.1, nan]}}", "--dropout nan: must be"),
        ("parameters: {dropout: {values: [0.1, .inf]}}", "--dropout inf: must be"),
        ("parameters: {epochs: {values: [0, 5]}}", "--epochs 0: must be at least 1"),
        ("parameters: {learning_rate: {values: [0.1, -1]}}", "--learning-rate -1.0: must be above 0"),
        ("parameters: {image_size: {values: [16, 64]}}", "--image-size 16: five 2x2 poolings need"),
        ("parameters: {num_filters: {values: [2, 4]}, filter_org: {value: half}}", "the fifth block would have no"),
        ("parameters: {filter_size: {values: [[3, 3], 3]}}", "--filter-size"),
        ("parameters: {dropout: {min: 0.5, max: 1.5}}", "'dropout' is drawn between 0.5 and 1.5: --dropout 1.5"),
        ("parameters: {dropout: {distribution: normal}}", "'dropout' is drawn between -3.0.* and 3.0.*: --dropout"),
        ("parameters: {activation: {values: [Mish, mish]}}", "parameter 'activation': a value occurs twice"),
        ("parameters: {epochs: {distribution: constant}}", "a constant distribution needs 'value'"),
        ("parameters: {epochs: {distribution: categorical, min: 1, max: 2}}", "needs 'values'"),
        ("parameters: {epochs: {values: [1, 2], max: 3}}", "unknown key next to 'values' 'max'"),
        ("parameters: {epochs: {values: [1, 2], probabilities: [1]}}", "one number for each of the values"),
        ("parameters: {epochs: {values: [1, 2], probabilities: [1, 1]}}", "must sum to 1, not 2"),
        ("parameters: {epochs: {values: [1, 2], probabilities: [2, -1]}}", "numbers of 0 or more"),
        ("parameters: {epochs: {parameters: {a: {value: 1}}}}", "nested parameters are not supported"),
        ("parameters: {dropout: {min: 0.1, max: .inf}}", "'max' must be a number"),
        ("parameters: {dropout: {min: 0.1, max: 0.2, q: 0}}", "'q' must be above 0"),
        ("parameters: {dropout: {min: 0, max: 0.9, q: 1.0e-9}}", "'q' must be above 0, and at least a thousandth"),
        ("parameters: {dropout: {distribution: q_uniform, min: 0, max: 0.9, q: 1.0e-9}}", "more than 1,000 values"),
        ("parameters: {dropout: {distribution: normal, mu: 0.5, sigma: 0}}", "'sigma' must be above 0"),
        ("parameters: {dropout: {distribution: beta, a: 0}}", "'a' and 'b' must be above 0"),
        ("parameters: {learning_rate: {distribution: log_uniform, min: 1, max: 1000}}", "are logarithms; give the"),
        ("parameters: {learning_rate: {distribution: log_normal, mu: 1000}}", "lead to numbers beyond"),
        ("parameters: {batch_size: {distribution: q_log_normal, mu: 800}}", "lead to numbers beyond"),
        ("parameters: {weight_decay: {min: 0.0, max: 1.0e+308}}", "lead to numbers beyond"),
        (f"parameters: {{epochs: {{min: 1, max: {10**30}}}}}", "lead to numbers beyond"),
        ("parameters: {seed: {values: [0, -1]}}", "--seed -1: must be 0 or more"),
        (
            "parameters: {learning_rate: {distribution: log_uniform_values, min: 1, max: 2, q: 1}}",
            "q_log_uniform_values",
        ),
        ("method: evolution\nparameters: {epochs: {value: 1}}", "method 'evolution' is none of grid, random, bayes"),
        ("method: hyperband\nparameters: {epochs: {value: 1}}", "give --tuner hyperband"),
        ("run_cap: 0\nparameters: {epochs: {value: 1}}", "run_cap 0: must be"),
        ("paramters: {}\nparameters: {epochs: {value: 1}}", "unknown key 'paramters': did you mean 'parameters'"),
        ("metric: {name: val_loss, target: 0}\nparameters: {epochs: {value: 1}}", "unknown key of metric 'target'"),
        ("early_terminate: {type: median}\nparameters: {epochs: {value: 1}}", "must have the type hyperband"),
        ("early_terminate: {type: hyperband}\nparameters: {epochs: {value: 1}}", "either min_iter, or max_iter"),
        ("early_terminate: {type: hyperband, min_iter: 1, eta: 1}\nparameters: {epochs: {value: 1}}", "eta 1: must be"),
        (
            "early_terminate: {type: hyperband, max_iter: 2, s: 1}\nparameters: {epochs: {value: 1}}",
            "a larger max_iter",
        ),
        (
            "early_terminate: {type: hyperband, min_iter: 1, strict: true}\nparameters: {epochs: {value: 1}}",
            "strict is",
        ),
    ],
)
def test_a_bad_file_is_refused_by_name(tmp_path, text, says):
    with pytest.raises(UserError, match=says) as error:
        read(tmp_path, text)
    assert "space.yaml" in str(error.value)


def test_a_missing_file():
    with pytest.raises(UserError, match=r"--space /no/such\.yaml: No such file"):
        read_space("/no/such.yaml", TRIAL)


def test_the_reference_projects_file_is_read_as_it_is():
    space, ours = read_space(REFERENCE, TRIAL), read_space(SWEEP, TRIAL)
    assert space.num_points == ours.num_points == 9216
    assert {name: set(map(str, values)) for name, values in space.parameters.items()} == {
        name: set(map(str, values)) for name, values in ours.parameters.items()
    }
    assert space.parameters["activation"] == ["mish", "gelu", "relu", "silu"]
    assert space.parameters["data_aug"] == [True, False]
    assert space.decode({"activation": "mish", "dropout": 0.2}) == {"activation": "mish", "dropout": 0.2}


def test_anchors_and_merge_keys_in_a_sweep_file(tmp_path):
    space = read(
        tmp_path,
        """
        parameters:
          learning_rate: &rates {distribution: log_uniform_values, min: 0.0001, max: 0.1}
          weight_decay: {<<: *rates, max: 0.01}
        """,
    )
    assert space.parameters["learning_rate"][-1] == 0.1
    assert space.parameters["weight_decay"][-1] == 0.01


def draw(space, name, count=4000):
    return np.array([space.list_draws()[name](seed) for seed in range(count)])


@pytest.mark.parametrize(
    ("entry", "name", "quantiles"),
    [  # the smallest draw, those below which a quarter, half and three quarters are, and the largest draw
        ("min: 0.1, max: 0.5", "dropout", [0.1, 0.2, 0.3, 0.4, 0.5]),
        ("distribution: uniform, min: 0, max: 1", "weight_decay", [0, 0.25, 0.5, 0.75, 1]),
        ("min: 8, max: 11", "batch_size", [8, 8.5, 9.5, 10.5, 11]),
        ("distribution: int_uniform, min: 8, max: 11", "batch_size", [8, 8.5, 9.5, 10.5, 11]),
        ("distribution: q_uniform, min: 8, max: 16, q: 4", "batch_size", [8, 10, 12, 14, 16]),
        ("distribution: log_uniform, min: -9.21034, max: 0", "learning_rate", [1e-4, 1e-3, 1e-2, 0.1, 1]),
        ("distribution: log_uniform_values, min: 1.0e-4, max: 1", "learning_rate", [1e-4, 1e-3, 1e-2, 0.1, 1]),
        ("distribution: inv_log_uniform, min: 0, max: 9.21034", "learning_rate", [1e-4, 1e-3, 1e-2, 0.1, 1]),
        ("distribution: inv_log_uniform_values, min: 1.0e-4, max: 1", "learning_rate", [1e-4, 1e-3, 1e-2, 0.1, 1]),
        ("distribution: q_log_uniform_values, min: 8, max: 128, q: 8", "batch_size", [8, 16, 32, 64, 128]),
        ("distribution: normal, mu: 0.5, sigma: 0.1", "dropout", [0.14, 0.43255, 0.5, 0.56745, 0.86]),
        ("distribution: q_normal, mu: 64, sigma: 10, q: 8", "batch_size", [24, 56, 64, 72, 104]),
        ("distribution: log_normal, mu: -6.9078, sigma: 1", "learning_rate", [1e-5, 5.094e-4, 1e-3, 1.963e-3, 0.1]),
        ("distribution: q_log_normal, mu: 3.4657, sigma: 0.1, q: 1", "batch_size", [22, 30, 32, 34, 46]),
        ("distribution: beta, a: 1, b: 3", "erasing", [0, 0.0914, 0.2063, 0.37, 0.95]),
    ],
)
def test_a_distribution_has_the_meaning_that_it_has_for_weights_and_biases(tmp_path, entry, name, quantiles):
    space = read(tmp_path, f"method: random\nparameters: {{{name}: {{{entry}}}}}")
    drawn = draw(space, name)
    middle = np.quantile(drawn, [0.25, 0.5, 0.75])
    if drawn.dtype == int:
        assert np.abs(middle - quantiles[1:4]).max() <= 8
        assert set(np.unique(drawn)) <= set(range(quantiles[0], quantiles[-1] + 1))
    else:
        np.testing.assert_allclose(middle, quantiles[1:4], rtol=0.12)
        assert quantiles[0] * 0.99 <= drawn.min() <= drawn.max() <= quantiles[-1] * 1.01
    assert draw(space, name, 5).tolist() == drawn[:5].tolist()
    points = space.parameters[name]
    assert 2 <= len(points) <= 20
    assert points == sorted(points)


def test_steps_of_a_distribution_are_multiples_with_its_probabilities(tmp_path):
    space = read(tmp_path, "parameters: {batch_size: {distribution: q_uniform, min: 8, max: 16, q: 4}}")
    assert space.parameters["batch_size"] == [8, 12, 16]
    counts = [(draw(space, "batch_size") == size).mean() for size in (8, 12, 16)]
    np.testing.assert_allclose(counts, [0.25, 0.5, 0.25], atol=0.03)


def test_values_are_drawn_with_their_probabilities(tmp_path):
    text = "parameters: {activation: {values: [Mish, relu], probabilities: [0.9, 0.1]}, data_aug: {values: [yes, no]}}"
    space = read(tmp_path, text)
    assert (draw(space, "activation") == "mish").mean() == pytest.approx(0.9, abs=0.02)
    assert list(space.list_draws()) == ["activation"]


def test_a_value_is_kept_if_any_point_can_be_trained_with_it(tmp_path):
    text = "parameters: {num_filters: {values: [8, 32]}, filter_org: {values: [half, same]}}"
    assert read(tmp_path, text).parameters["num_filters"] == [8, 32]
    text = "parameters: {mode: {value: first_k}, k: {values: [10, 20]}}"
    assert read(tmp_path, text, transfer_defaults.TRIAL).parameters["k"] == [10, 20]
    with pytest.raises(UserError, match=r"--lr-decay 2.0: must be above 0 and at most 1"):
        read(tmp_path, "parameters: {lr_decay: {values: [0.5, 2]}}", transfer_defaults.TRIAL)
    with pytest.raises(UserError, match=r"--k and --until: options of --mode first_k"):
        read(tmp_path, "parameters: {k: {values: [1, 2]}, mode: {value: all}}", transfer_defaults.TRIAL)


def settle(tmp_path, text, **options):
    (tmp_path / "space.yaml").write_text(text)
    config, space = resolve_search(build(TuneConfig, space=str(tmp_path / "space.yaml"), **options), TRIAL)
    return config.search, space


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("", {}, ("grid", "off", None)),
        ("method: grid", {}, ("grid", "off", None)),
        ("method: random\nrun_cap: 7", {}, ("random", "off", 7)),
        ("method: bayes", {}, ("bayesian", "off", None)),
        ("method: bayes\nrun_cap: 7", {"tuner": "grid", "max_trials": 3}, ("grid", "off", 3)),
        ("method: bayes", {"tuner": "hyperband"}, ("hyperband", "off", None)),
        ("early_terminate: {type: hyperband, min_iter: 2}", {}, ("grid", "halving", None)),
        ("early_terminate: {type: hyperband, min_iter: 2}", {"prune": "off"}, ("grid", "off", None)),
        ("early_terminate: {type: hyperband, min_iter: 2}", {"prune": "median"}, ("grid", "median", None)),
        ("method: bayes\nearly_terminate: {type: hyperband, min_iter: 2}", {"prune": "off"}, ("bayesian", "off", None)),
    ],
)
def test_the_file_says_how_it_is_searched_unless_an_option_does(tmp_path, text, options, expected):
    search, _ = settle(tmp_path, f"{text}\nparameters: {{epochs: {{values: [4, 9]}}}}", **options)
    assert (search.tuner, search.prune, search.max_trials) == expected


def test_the_epochs_of_early_terminate(tmp_path):
    parameters = "\nparameters: {epochs: {value: 100}}"
    halving = read(tmp_path, "early_terminate: {type: hyperband, min_iter: 3}" + parameters).halving
    assert (halving.rungs[:4], halving.factor) == ((3, 9, 27, 81), 3)
    halving = read(tmp_path, "early_terminate: {type: hyperband, max_iter: 27, s: 2, eta: 3}" + parameters).halving
    assert halving.rungs == (3, 9)


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("method: bayes\nearly_terminate: {type: hyperband, min_iter: 2}", {}, "or add --prune off"),
        (
            "early_terminate: {type: hyperband, min_iter: 9}",
            {},
            "would end no trial: it compares trials after 9 epochs",
        ),
        ("", {"tuner": "bayesian", "prune": "median"}, "--prune median: is for --tuner grid or random"),
        ("method: bayes", {"prune": "median"}, "--prune median: is for --tuner grid or random"),
        ("", {"epochs": 3}, "gives 'epochs' its values, and so does --epochs 3; leave one of them out"),
    ],
)
def test_what_the_tuner_cannot_do_is_refused(tmp_path, text, options, says):
    with pytest.raises(UserError, match=says):
        settle(tmp_path, f"{text}\nparameters: {{epochs: {{values: [4, 9]}}}}", **options)


@pytest.mark.parametrize(
    ("parameter", "tuner", "says"),
    [
        ("activation: {values: [relu, mish], probabilities: [0.5, 0.5]}", "grid", "'probabilities' are for the method"),
        ("activation: {values: [relu, mish], probabilities: [0.5, 0.5]}", "bayesian", "random, not for bayesian"),
        ("dropout: {distribution: normal, mu: 0.5, sigma: 0.1}", "bayesian", "a normal distribution is for"),
        ("dropout: {distribution: beta, a: 9, b: 9}", "hyperband", "hyperband needs 'min' and 'max'"),
    ],
)
def test_what_a_parameter_needs_is_refused_by_other_tuners(tmp_path, parameter, tuner, says):
    with pytest.raises(UserError, match=says):
        settle(tmp_path, f"parameters: {{{parameter}}}", tuner=tuner)
    settle(tmp_path, f"parameters: {{{parameter}}}", tuner="random")


def test_options_of_the_command_line_hold_for_all_trials(tmp_path):
    text = "parameters: {epochs: {values: [4, 9]}, dropout: {value: 0.3}}"
    _, space = settle(tmp_path, text, precision="float32", dropout=0.3, data_aug=False)
    assert space.fixed == {"dropout": 0.3, "precision": "float32", "data_aug": False}
    with pytest.raises(UserError, match=r"--batch-size 0: must be at least 1"):
        settle(tmp_path, text, batch_size=0)
    with pytest.raises(UserError, match=r"gives 'dropout' its values, and so does --dropout 0.4"):
        settle(tmp_path, text, dropout=0.4)


@pytest.mark.parametrize("config_class", [TuneConfig, transfer_config.TuneConfig])
def test_a_sweep_takes_what_a_training_takes(config_class, tmp_path):
    config = parse(config_class, ["--epochs=3", "--no-data-aug", "--precision", "FLOAT32", "--weight-decay", "0.01"])
    given = {name: value for name, value in flatten(config.fixed).items() if value is not None}
    assert given == {"epochs": 3, "data_aug": False, "precision": "float32", "weight_decay": 0.01}
    with pytest.raises(UserError, match="--epochs: 'many' is not allowed; expected a whole number"):
        parse(config_class, ["--epochs", "many"])
    (tmp_path / "c.yaml").write_text("epochs: 3\ndata_aug: yes\n")
    config = parse(config_class, ["--config", str(tmp_path / "c.yaml")])
    assert (config.fixed.epochs, config.fixed.data_aug) == (3, True)


@pytest.mark.parametrize(
    ("parameters", "longest"),
    [
        ("dropout: {values: [0.1, 0.2]}", 20),
        ("mode: {value: all}", 5),
        ("dropout: {values: [0.1, 0.2]}, mode: {values: [all, first_k, last_layer]}", 20),
        ("mode: {values: [all, first_k]}", 10),
        ("mode: {value: all}, epochs: {values: [3, 7]}", 7),
        ("mode: {value: all}, epochs: {value: 9}", 9),
    ],
)
def test_the_longest_training_of_a_fine_tuning_is_that_of_its_modes(tmp_path, parameters, longest):
    assert read(tmp_path, f"parameters: {{{parameters}}}", transfer_defaults.TRIAL).max_epochs == longest


def test_early_terminate_is_compared_with_the_epochs_of_the_mode(tmp_path):
    (tmp_path / "space.yaml").write_text(
        "{early_terminate: {type: hyperband, min_iter: 12, eta: 2}, parameters: {dropout: {values: [0.1, 0.2]}}}"
    )
    config = build(transfer_config.TuneConfig, space=str(tmp_path / "space.yaml"))
    _, space = resolve_search(config, transfer_defaults.TRIAL)
    assert space.max_epochs == 20
