import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml

from tests.models import measure_saved_model
from transfer import tune as tune_module
from transfer.backbone import build_network
from transfer.config import TuneConfig
from transfer.run import run
from transfer.tune import main, open_hypermodel, tune
from workbench.config import build, replace
from workbench.evaluation.probabilities import softmax
from workbench.files import read_csv
from workbench.finished_run import open_run
from workbench.keras_graph import rebuild
from workbench.sweep.outcomes.sweep_outcomes import read_outcomes
from workbench.sweep.results import read_results

SPACE = """
parameters:
  from_: {value: RUN}
  mode: {value: first_k}
  feature_precision: {value: bfloat16}
  precision: {value: bfloat16}
  epochs: {value: 1}
  until: {values: [block3_pool, block4_pool]}
  learning_rate: {values: [0.001, 0.01]}
"""


def test_trials_share_stored_features_and_the_winner_is_a_whole_network(config, cache):
    Path("space.yaml").write_text(SPACE.replace("RUN", config.backbone.from_))
    folder = tune(build(TuneConfig, data=config.data.data, space="space.yaml", name="s", max_trials=4, workers=0))
    rows = read_csv(folder / "trials.csv")
    assert {row["status"] for row in rows} == {"completed"}
    assert len({(row["until"], row["learning_rate"]) for row in rows}) == 4
    assert len(list(cache.glob("*/features-*/index.json"))) == 4  # training and validation images of two cuts
    accuracy, loss = measure_saved_model(folder)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["val_accuracy"] == pytest.approx(accuracy, abs=1e-6)
    assert metrics["val_loss"] == pytest.approx(loss, rel=2e-5)
    outcomes = read_outcomes(folder).select([metrics["trial"]])
    assert outcomes.compute_correct().mean() == pytest.approx(accuracy)
    assert -np.log(outcomes.compute_true_probabilities()).mean() == pytest.approx(loss, rel=5e-3)
    check_trials_loaded_again(folder)
    model = keras.saving.load_model(folder / "model.keras", safe_mode=True)
    assert (model.input_shape, model.output_shape) == ((None, 32, 32, 3), (None, 3))
    assert yaml.safe_load((folder / "best.yaml").read_text())["mode"] == "first_k"


def check_trials_loaded_again(folder):
    """As whole networks they predict what the trials, which trained on stored features, left as their outcomes."""
    hypermodel, outcomes, dataset = (
        open_hypermodel(folder, None),
        read_outcomes(folder),
        open_run(folder).load_dataset(),
    )
    trials = read_results(folder).scored[:2]
    models = [
        rebuild(hypermodel.load_trial(trial.values, "bfloat16", folder / "tuner" / f"trial_{trial.id}"))
        for trial in trials
    ]
    for trial, model in zip(trials, models, strict=True):
        probabilities = softmax(model.predict_on_batch(dataset.images[dataset.validation]))
        np.testing.assert_allclose(probabilities, outcomes.get_probabilities(trial.id), atol=2e-3)


def test_trials_share_a_network_and_give_what_single_runs_give(config, monkeypatch):
    space = """
parameters:
  from_: {value: RUN}
  mode: {values: [all, last_layer]}
  epochs: {value: 1}
  dropout: {values: [0.0, 0.5]}
"""
    Path("space.yaml").write_text(space.replace("RUN", config.backbone.from_))
    built = []
    monkeypatch.setattr(tune_module, "build_network", lambda *args: built.append(args) or build_network(*args))
    options = {"space": "space.yaml", "name": "s", "workers": 0, "max_trials": 2}
    folder = tune(build(TuneConfig, data=config.data.data, seed=12, **options))  # its first points differ in both
    assert len(built) == 1
    assert keras.saving.load_model(folder / "model.keras", safe_mode=True).output_shape == (None, 3)
    rows = read_csv(folder / "trials.csv")
    assert [(row["mode"], row["dropout"]) for row in rows] == [("all", "0.5"), ("last_layer", "0.0")]
    for row in rows:
        swept = {"mode": row["mode"], "dropout": float(row["dropout"]), "seed": 12}
        alone = replace(config, **swept, epochs=1, batch_size=32, name=row["trial"], precision="float32")
        (epoch,) = read_csv(run(alone) / "history.csv")
        assert float(epoch["val_loss"]) == pytest.approx(float(row["val_loss"]), rel=1e-3)
    check_ema_changes_no_later_trial(folder)
    check_a_float16_winner_needs_no_gpu(folder)


def check_a_float16_winner_needs_no_gpu(folder):
    """The command, which builds the model that is kept, uses no GPU where workers run the trials."""
    values, trial = {"mode": "all", "dropout": 0.5}, folder / "tuner" / "trial_0"
    hypermodel = open_hypermodel(folder, None)
    half, single = (hypermodel.load_trial(values, precision, trial) for precision in ("float16", "float32"))
    for weight, other in zip(half.get_weights(), single.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)


def check_ema_changes_no_later_trial(folder):
    """A trial with `ema` raises the momentum of batch norm."""
    hypermodel, momenta = open_hypermodel(folder, None), []
    trial = hypermodel.make_config({"mode": "all", "dropout": 0.0})
    for ema in (0.0, 0.9999, 0.0):
        model = hypermodel.make_model(replace(trial, ema=ema))
        momenta.append({layer.momentum for layer in model.layers if hasattr(layer, "momentum")})
    assert momenta[0] == momenta[2] != momenta[1] == {0.9999}


def test_options_of_a_fine_tuning_hold_for_all_trials(config):
    """The image size is that of the network that --from names."""
    Path("space.yaml").write_text("parameters: {learning_rate: {values: [0.001, 0.01]}}")
    options = {"from_": config.backbone.from_, "mode": "first_k", "until": "block4_pool", "epochs": 1}
    folder = tune(build(TuneConfig, data=config.data.data, space="space.yaml", name="s", workers=0, **options))
    rows = read_csv(folder / "trials.csv")
    assert {row["status"] for row in rows} == {"completed"}
    best = yaml.safe_load((folder / "best.yaml").read_text())
    assert {name: best[name] for name in options} == options
    assert best["image_size"] == 32


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--backbone", "MobileNetV2"], "gives 'backbone' its values, and so does --backbone MobileNetV2"),
        (["--lr-decay", "2"], "--lr-decay 2.0: must be above 0 and at most 1"),
        (["--until", "conv4"], "--k and --until: options of --mode first_k, not of last_layer"),
    ],
)
def test_options_that_do_not_fit_the_sweep_file_are_one_line(words, says, workdir, capsys):
    Path("space.yaml").write_text("parameters: {backbone: {value: ResNet50}, dropout: {values: [0.1, 0.2]}}")
    assert main(["--space", "space.yaml", *words]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_images_that_a_swept_network_has_seen_are_warned_of(scratch, workdir, capsys):
    """The parts are swapped: one of two networks was trained on the images that are now test images."""
    data, base = scratch
    for part, other in (("train", "test"), ("test", "train")):
        shutil.copytree(data / part, workdir / "swapped" / other)
    other = shutil.copytree(base, workdir / "other", ignore=shutil.ignore_patterns("split.csv"))
    Path("space.yaml").write_text(f"parameters: {{from_: {{values: [{other}, {base}]}}, epochs: {{value: 1}}}}")
    tune(build(TuneConfig, data="swapped", space="space.yaml", name="s", max_trials=1, workers=0))
    said = capsys.readouterr().out
    assert "warning: 30 of 30 test images were already used to train or validate the network that --from names" in said
    assert f"warning: {other} has no split.csv, so it is not known whether" in said


@pytest.mark.parametrize(
    ("words", "parameter", "says"),
    [
        (["--backbone", "Nope"], "dropout: {values: [0.1, 0.2]}", "--backbone Nope: unknown; expected ConvNeXtBase, "),
        (["--weights", "no.h5"], "dropout: {values: [0.1, 0.2]}", "--weights no.h5: no such file\n"),
        ([], "backbone: {values: [ResNet50, Nope]}", "--backbone Nope: unknown; expected ConvNeXtBase, "),
        ([], "weights: {value: no.h5}", "--weights no.h5: no such file\n"),
    ],
)
def test_a_backbone_or_weights_that_are_not_there_are_refused_before_the_sweep_begins(
    words, parameter, says, workdir, capsys
):
    Path("space.yaml").write_text(f"parameters: {{{parameter}}}")
    assert main(["--space", "space.yaml", "--workers", "0", *words]) == 2
    assert f"error: {says}" in capsys.readouterr().err
    assert not Path("runs").exists()
