import collections
import json
import re
import shlex
import signal
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from cnn_scratch.config import TrainConfig
from cnn_scratch.graph_cache import GraphCache
from cnn_scratch.train import train
from cnn_scratch.tune import CnnHyperModel, TuneConfig, main, tune
from tests.models import measure_saved_model
from tests.processes import DEVNULL, Process
from tests.workbench.sweep.noop import find_expected
from workbench import cli
from workbench.commands import EvaluateConfig
from workbench.config import build, replace
from workbench.errors import UserError
from workbench.evaluate import evaluate
from workbench.evaluation.calibration.saved_calibration import read_calibration
from workbench.evaluation.probabilities import softmax
from workbench.evaluation.scoring import find_score
from workbench.files import read_csv
from workbench.finished_run import open_run
from workbench.labels.predictions import collect_predictions
from workbench.sweep.image_hypermodel import load_weights
from workbench.sweep.outcomes.sweep_outcomes import read_outcomes
from workbench.training import estimates

SPACE = """
parameters:
  epochs: {values: [1, 2]}
  num_filters: {value: 16}
  dense_units: {value: 16}
  activation: {values: [gelu, relu]}
  learning_rate: {values: [0.001, 0.005]}
"""  # 8 points, but only two graphs: tracing one takes longer than its trials
LEARNING_RATES = [0.001, 0.002, 0.003, 0.005]
SMALL_NETWORK = {"num_filters": 16, "dense_units": 16, "activation": "gelu"}  # has one of these graphs


@pytest.fixture
def config(red_and_blue, workdir):
    (workdir / "space.yaml").write_text(SPACE)
    return build(
        TuneConfig, data=str(red_and_blue), image_size=32, space="space.yaml", name="s", max_trials=4, workers=0
    )


@pytest.fixture(scope="module")
def graphs():
    """Caches of traced graphs by the number of classes."""
    return collections.defaultdict(GraphCache)


@pytest.fixture(autouse=True)
def share_graphs(graphs, monkeypatch):
    """Let the sweeps that run in this process share their graphs: tracing one takes longer than its trials."""

    def make_model(self, config):
        num_classes = self.count_classes(config)
        return graphs[num_classes].take(config.network, config.training, config.data.resolved_size, num_classes)

    monkeypatch.setattr(CnnHyperModel, "make_model", make_model)


def write_space(**parameters):
    """Write a sweep file of small networks; a list is a parameter's values, anything else its only value."""
    given = {**SMALL_NETWORK, **parameters}
    space = {name: {"values" if isinstance(value, list) else "value": value} for name, value in given.items()}
    Path("space.yaml").write_text(yaml.safe_dump({"parameters": space}, sort_keys=False))


def points(folder):
    names = ("epochs", "activation", "learning_rate")
    return [tuple(row.get(name) for name in names) for row in read_csv(Path(folder) / "trials.csv")]


@pytest.mark.report
def test_a_sweep_leaves_its_trials_the_winner_and_the_logs(config, capsys):
    folder = tune(config)
    rows = read_csv(folder / "trials.csv")  # in the order in which they ended
    assert {row["trial"] for row in rows} == {"0", "1", "2", "3"}
    assert {row["status"] for row in rows} == {"completed"}
    assert all(0 <= float(row["val_accuracy"]) <= 1 and float(row["seconds"]) > 0 for row in rows)
    model = keras.saving.load_model(folder / "model.keras", safe_mode=True)
    assert model.output_shape == (None, 2)
    assert len(list((folder.parents[1] / "logs" / "s").glob("?/*tfevents*"))) == 4
    check_hparams(Path("logs/s"), "0")
    assert json.loads((folder / "tuner" / "trial_0" / "result.json").read_text())["precision"] == "float32"
    assert yaml.safe_load((folder / "best.yaml").read_text())["precision"] == "float32"  # not measured by workers
    shown = capsys.readouterr().out
    assert "8 points of 3 parameters" in shown
    assert "best 4 trials" in shown
    assert "tensorboard --logdir logs" in shown
    assert "--max-trials" in shown
    assert re.search(r"^report: +runs/s/report.html$", shown, re.MULTILINE)
    assert "python -m cnn_scratch.train --config runs/s/best.yaml" in (folder / "report.html").read_text()


def check_hparams(logs, trial):
    """Check that TensorBoard's logs have the hyperparameters of a trial."""
    events = EventAccumulator(str(logs / trial)).Reload()
    assert {"val_accuracy", "loss", "learning_rate"} <= set(events.Tags()["tensors"])
    start = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert HParamsPluginData.FromString(start).session_start_info.group_name == f"s/{trial}"
    assert "_hparams_/experiment" in EventAccumulator(str(logs)).Reload().summary_metadata


@pytest.mark.report
def test_a_page_that_cannot_be_made_does_not_harm_the_sweep(config, capsys):
    Path("runs/s").mkdir(parents=True)
    Path("runs/s/figures").write_text("in the way")
    folder = tune(replace(config, max_trials=1))
    assert (folder / "model.keras").exists()
    assert re.search(
        r"^report: +none \(FileExistsError.*again with python -m workbench.report", capsys.readouterr().out, re.M
    )


def test_the_winner_in_16_bits_has_the_accuracy_of_its_saved_model(config):
    write_space(epochs=[1, 2], precision="bfloat16")
    folder = tune(replace(config, max_trials=2))
    metrics = json.loads((folder / "metrics.json").read_text())
    accuracy, loss = measure_saved_model(folder)
    assert metrics["val_accuracy"] == pytest.approx(accuracy, abs=1e-6)
    assert metrics["val_loss"] == pytest.approx(loss, rel=2e-5)


def test_all_trials_share_one_split_whatever_their_seed_and_the_winner_can_be_trained_again(config, photo_folder):
    write_space(seed=[3, 4], epochs=1)
    folder = tune(replace(config, data=str(photo_folder(classes=("daisy", "rose"), train=20, test=None, size=32))))
    split = open_run(folder).load_dataset().test
    best = cli.parse(TrainConfig, ["--config", str(folder / "best.yaml"), "--name", "again"])
    assert best.training.seed in (3, 4)
    again = train(best)
    np.testing.assert_array_equal(open_run(again).load_dataset().test, split)
    rows, metrics = read_csv(folder / "trials.csv"), json.loads((again / "metrics.json").read_text())
    winner = max(rows, key=lambda row: (float(row["val_accuracy"]), -float(row["val_loss"])))
    assert metrics["val_accuracy"] == pytest.approx(float(winner["val_accuracy"]))
    assert metrics["val_loss"] == pytest.approx(float(winner["val_loss"]), rel=1e-3)


def test_a_killed_sweep_is_continued_with_every_point_once(config):
    """SIGKILL of the command while two workers train; `sweep/test_stress.py` kills many times."""
    write_space(epochs=[1, 2], learning_rate=LEARNING_RATES)
    options = shlex.split(cli.format_options(replace(config, max_trials="all", workers=2)))
    process = Process([sys.executable, "-m", "cnn_scratch.tune", *options], stdout=DEVNULL)
    while len(list(Path("runs/s/tuner").glob("*/trial.json"))) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(list(Path("runs/s/tuner").glob("*/trial.json"))) < 8
    tune(replace(config, max_trials="all", workers=0))
    assert len(set(points("runs/s"))) == len(points("runs/s")) == 8


def test_a_sweep_is_measured_before_it_starts(config, capsys, monkeypatch):
    write_space(epochs=1, dropout=[0.2, 0.4])
    monkeypatch.setattr(estimates, "_SHORT", 900)  # seconds: no sweep of this test is remembered, even if it is slow
    tune(replace(config, max_trials=1))
    shown = capsys.readouterr().out
    (line,) = find_expected(shown)
    assert re.fullmatch(r"expected: [\d.]+ s \(1 trial\), [\d.]+ GB of memory, [\d.]+ MB on disk", line)
    assert shown.index(line) < shown.index("[1/1]")
    estimates.record_estimate("cnn_scratch.tune --tuner grid", 1000, 1200)
    tune(replace(config, max_trials=2))
    (line,) = find_expected(capsys.readouterr().out)
    assert re.search(r"\(1 trial\).*; the last run took 1.20 times the estimate", line)
    tune(replace(config, max_trials=2))
    assert find_expected(capsys.readouterr().out) == [], "nothing is left"


def test_raised_later_it_goes_on_and_another_sweep_in_the_folder_is_refused(config):
    Path("other.yaml").write_text(SPACE.replace("[1, 2]", "[1, 3]"))
    tune(replace(config, max_trials=1))
    for change, says in (
        ({"image_size": 64}, "image_size was 32, is 64"),
        ({"order": "lexicographic"}, "order was shuffled, is lexicographic"),
        ({"seed": 1}, "seed was 0, is 1"),
        ({"tuner": "random"}, "tuner was grid, is random"),
        ({"labels": "labels.csv"}, "labels was None, is labels.csv"),
        ({"space": "other.yaml"}, "parameters was"),
    ):
        with pytest.raises(UserError, match=says):
            tune(replace(config, **change))
        assert len(points("runs/s")) == 1
    first = points("runs/s")
    tune(replace(config, max_trials=2))
    assert points("runs/s")[:1] == first
    assert len(points("runs/s")) == 2
    tune(replace(config, max_trials=4))
    assert len(set(points("runs/s"))) == len(points("runs/s")) == 4
    folder = tune(replace(config, overwrite=True, max_trials=1, space="other.yaml", seed=1))
    assert len(points(folder)) == 1


def test_a_finished_sweep_that_is_continued_keeps_the_test_of_its_winner(config):
    write_space(epochs=1)
    folder = tune(config)
    evaluate(EvaluateConfig(str(folder)))
    run = open_run(folder)
    content, test, calibration = (folder / "model.keras").read_bytes(), run.metrics["test"], read_calibration(run)
    assert calibration
    tune(replace(config, repeat=1))
    assert (folder / "model.keras").read_bytes() == content
    assert open_run(folder).metrics["test"] == test
    assert find_score(open_run(folder)).metrics == test
    assert read_calibration(open_run(folder)) == calibration

    loaded = open_run(folder).model
    weights = loaded.get_weights()
    loaded.set_weights([0 * values for values in weights])
    for damage in (lambda: loaded.save(folder / "model.keras"), lambda: (folder / "model.keras").write_bytes(b"torn")):
        damage()
        tune(config)
        assert all(map(np.array_equal, open_run(folder).model.get_weights(), weights))
        assert "test" not in open_run(folder).metrics


def test_a_sweep_keeps_its_split(config, photo_folder, capsys):
    """A photo that is added is named and not used, by the trials neither; a changed training image is refused."""
    data = photo_folder(classes=("daisy", "rose"), train=8, test=None, size=32)
    config = replace(config, data=str(data), max_trials=1)
    folder = tune(config)
    before = open_run(folder).load_dataset().split
    Image.fromarray(np.full((32, 32, 3), 200, np.uint8)).save(data / "daisy" / "a-new-one.png")
    capsys.readouterr()
    tune(replace(config, max_trials=2))
    assert len(points(folder)) == 2
    assert "1 image was added (daisy/a-new-one.png) and is not used" in capsys.readouterr().out
    assert open_run(folder).load_dataset().split == before
    next(data / image.name for image in before if image.part == "train").unlink()
    with pytest.raises(UserError, match=r"1 training image is gone \(daisy/.*runs/s is continued with the images"):
        tune(replace(config, max_trials=3))
    assert len(points(folder)) == 2


def test_changed_photos_of_a_sweep_without_a_split_are_refused(config, red_and_blue):
    """Sweeps of earlier versions keep no split."""
    (tune(replace(config, max_trials=1)) / "split.csv").unlink()
    next((red_and_blue / "train" / "red").iterdir()).unlink()
    with pytest.raises(UserError, match="content of the data was"):
        tune(config)


def test_a_failed_trial_is_recorded_with_its_reason(config):
    write_space(learning_rate=[1e30, 0.001], epochs=1)
    folder = tune(config)
    rows = sorted(read_csv(folder / "trials.csv"), key=lambda row: row["status"])
    assert [row["status"] for row in rows] == ["completed", "failed"]
    assert "loss became" in rows[1]["reason"]
    assert rows[1]["val_accuracy"] == ""


def test_only_failures_end_in_one_line(config):
    write_space(learning_rate=[1e30, 1e31], epochs=1)
    with pytest.raises(UserError, match=r"none of the 2 trials could be completed; the first: .*loss became"):
        tune(config)


def test_outcomes_are_the_predictions_of_the_saved_weights(config, capsys):
    """Of trials in 16 bits and in 32 bits, with averaged weights; half of them continue others."""
    write_space(epochs=[1, 2], precision=["bfloat16", "float32"], ema=0.9)
    folder = tune(replace(config, max_trials="all", repeat=1))
    repeated = json.loads((folder / "repeats.json").read_text())
    assert [entry["seeds"] for entry in repeated] == [[1]] * 3
    assert all(0 <= entry["mean"] <= 1 for entry in repeated)
    assert "outcomes: up to 0.0 MB (4 trials, 4 validation images)\n" in capsys.readouterr().out
    outcomes, rows = read_outcomes(folder), {row["trial"]: row for row in read_csv(folder / "trials.csv")}
    assert sorted(outcomes.trials) == sorted(rows)
    run = open_run(folder)
    dataset = run.load_dataset()
    assert list(outcomes.names) == [dataset.names[row] for row in dataset.validation]
    network = run.model
    for trial, correct in zip(outcomes.trials, outcomes.compute_correct(), strict=True):
        network.set_weights(load_weights(folder / "tuner" / f"trial_{trial}" / "weights.npz"))
        expected = softmax(network.predict_on_batch(dataset.images[dataset.validation]))
        np.testing.assert_allclose(outcomes.get_probabilities(trial), expected, atol=2e-3)
        assert correct.mean() == pytest.approx(float(rows[trial]["val_accuracy"]))

    # The search for wrong labels averages the trials whose accuracy is within two standard errors of the best one.
    accuracies = outcomes.compute_correct().mean(axis=1)
    least = accuracies.max() - 2 * np.sqrt(accuracies.max() * (1 - accuracies.max()) / 4)
    good = [trial for trial, accuracy in zip(outcomes.trials, accuracies, strict=True) if accuracy >= least]
    found = collect_predictions([str(folder)])
    assert found.names == list(outcomes.names)
    assert (found.votes.sum(axis=1) == len(good)).all()
    expected = np.mean([outcomes.get_probabilities(trial) for trial in good], axis=0)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-3)


def test_workers_give_what_one_process_gives(config, forked_workers):
    """Trial by trial; the longer ones continue from the shorter ones' state. Only the best weights are kept."""
    write_space(epochs=[1, 2], learning_rate=LEARNING_RATES[:3])
    alone = tune(replace(config, max_trials="all", name="alone"))
    together = tune(replace(config, max_trials="all", name="together", workers=2))
    rows = [sorted(read_csv(folder / "trials.csv"), key=lambda row: row["trial"]) for folder in (alone, together)]
    for one, other in zip(*rows, strict=True):
        assert one["val_accuracy"] == pytest.approx(other["val_accuracy"]) or float(one["val_loss"])
        assert float(one["val_loss"]) == pytest.approx(float(other["val_loss"]), rel=2e-2)
    assert {row["worker"] for row in rows[1]} == {"worker-1", "worker-2"}
    for folder, trials in zip((alone, together), rows, strict=True):
        kept = {path.parent.name.removeprefix("trial_") for path in folder.glob("tuner/*/weights.npz")}
        trials.sort(key=lambda row: (-float(row["val_accuracy"]), float(row["val_loss"])))
        assert kept == {row["trial"] for row in trials[:5]}


def test_a_longer_trial_continues_a_shorter_one_with_the_same_result(config):
    write_space(epochs=[1, 3], dropout=[0.2, 0.5])
    folder = tune(replace(config, order="lexicographic", max_trials="all"))
    results = [json.loads(path.read_text()) for path in sorted(folder.glob("tuner/*/result.json"))]
    assert [result["resumed_after"] for result in results] == [0, 0, 1, 1]
    write_space(epochs=3, dropout=[0.2, 0.5])
    folder = tune(replace(config, order="lexicographic", max_trials="all", name="fresh"))
    fresh = [json.loads(path.read_text()) for path in sorted(folder.glob("tuner/*/result.json"))]
    for one, other in zip(results[2:], fresh, strict=True):
        assert one["val_loss"] == pytest.approx(other["val_loss"], rel=1e-4)
        assert one["best_epoch"] == other["best_epoch"]
    continued, whole = read_outcomes(Path("runs/s")), read_outcomes(folder)
    for one, other in zip(["2", "3"], ["0", "1"], strict=True):
        np.testing.assert_allclose(continued.get_probabilities(one), whole.get_probabilities(other), atol=2e-3)
    assert not list(folder.glob("tuner/states/*"))


def test_the_precision_of_the_training_is_recorded_with_the_winner(config, monkeypatch):
    """Also where the workers choose another one than this process would."""
    write_space(epochs=[1, 2])
    monkeypatch.setattr(CnnHyperModel, "choose_precision", lambda self, config: "bfloat16")
    folder = tune(replace(config, max_trials=1))
    assert yaml.safe_load((folder / "best.yaml").read_text())["precision"] == "bfloat16"


@pytest.mark.parametrize("tuner", ["random", "bayesian", "hyperband"])
def test_the_other_searches(config, tuner):
    folder = tune(replace(config, tuner=tuner, max_trials=4))
    rows = read_csv(folder / "trials.csv")
    assert len(rows) == 4
    assert {row["status"] for row in rows} == {"completed"}


def test_a_space_may_have_more_points_than_64_bits_can_count(config):
    names = ("learning_rate", "weight_decay", "label_smoothing", "dropout", "ema", "erasing", "mixup")
    drawn = {name: {"distribution": "q_uniform", "min": 1e-4, "max": 0.1, "q": 1e-4} for name in names}
    fixed = {name: {"value": value} for name, value in {"epochs": 1, **SMALL_NETWORK}.items()}
    Path("space.yaml").write_text(yaml.safe_dump({"method": "random", "parameters": {**drawn, **fixed}}))
    (row,) = read_csv(tune(replace(config, max_trials=1)) / "trials.csv")
    assert row["status"] == "completed"


def test_the_image_size_and_the_filter_sizes_can_be_swept(config):
    write_space(image_size=[32, 48], epochs=1, filter_size=[[3, 3, 3, 3, 3], [2, 2, 2, 2, 2]])
    rows = read_csv(tune(replace(config, seed=4, max_trials=2)) / "trials.csv")  # its first points differ in both
    sizes = sorted((row["image_size"], row["filter_size"]) for row in rows)
    assert sizes == [("32", "[3, 3, 3, 3, 3]"), ("48", "[2, 2, 2, 2, 2]")]


def test_wandb_makes_one_offline_run_a_trial(config, monkeypatch):
    """In a sweep that keeps no outcomes."""
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", "/nowhere")
    monkeypatch.setenv("HOME", str(Path.cwd()))
    folder = tune(replace(config, max_trials=2, wandb=True, keep_outcomes="none"))
    assert len(list(folder.glob("wandb/offline-run-*"))) == 2
    assert read_outcomes(folder) is None
    assert not (folder / "outcomes").exists()
    assert "outcome_crc32" not in json.loads((folder / "tuner" / "trial_0" / "result.json").read_text())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--space", "/no/such.yaml"], "--space /no/such.yaml"),
        (["--max-trials", "0"], "--max-trials 0"),
        (["--max-trials", "some"], "--max-trials: 'some' is not allowed; expected a whole number or all"),
        (["--data", "/no/such"], "--data /no/such"),
        (["--workers", "-1"], "--workers -1"),
        (["--budget", "soon"], "--budget soon: give a time such as 45s, 30m, 1h30m or 1d"),
        (["--seed", "-1"], "--seed -1: must be 0 or more"),
        (["--ray-address", "auto"], "--ray-address: is for --executor ray"),
        (["--executor", "ray", "--workers", "0"], "--workers 0: --executor ray needs at least one worker"),
        (["--tuner", "bayesian", "--prune", "median"], "--prune median"),
        (["--order", "random"], "expected shuffled or lexicographic"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(words, says, workdir, capsys):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert says in error


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ("parameters: {dropout: {values: [0.1, 7, nan]}}", "--dropout 7.0: must be at least 0 and below 1"),
        ("parameters: {num_filters: {values: [2, 4]}, filter_org: {value: half}}", "--num-filters 2 --filter-org half"),
        ("method: grid\nmethod: bayes\nparameters: {}", "line 2: 'method' is given twice, first in line 1"),
        ("method: random\nparameters: {dropout: {distribution: normal}}", "'dropout' is drawn between"),
        ("method: bayes\nearly_terminate: {type: hyperband, min_iter: 1}\nparameters: {}", "early_terminate is for"),
        ("parameters: {epochs: {values: [2, 3]}}", "so does --epochs 1; leave one of them out"),
    ],
)
def test_a_sweep_file_that_cannot_be_honoured_starts_no_worker(space, says, workdir, capsys, monkeypatch):
    monkeypatch.setattr("workbench.sweep.early_start.start_workers", lambda config: pytest.fail("a worker was started"))
    Path("space.yaml").write_text(space)
    assert main(["--space", "space.yaml", "--epochs", "1"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --space space.yaml: ")
    assert says in error
    assert error.count("\n") == 1
    assert not Path("runs").exists()


def test_options_of_a_training_hold_for_all_trials(config):
    Path("space.yaml").write_text("parameters: {dropout: {values: [0.2, 0.4]}}")
    config = replace(config, epochs=1, num_filters=16, dense_units=16, activation="gelu", max_trials=1)
    folder = tune(config)
    (row,) = read_csv(folder / "trials.csv")
    assert (row["status"], row["epochs"]) == ("completed", "1")
    best = yaml.safe_load((folder / "best.yaml").read_text())
    assert (best["epochs"], best["num_filters"], best["activation"]) == (1, 16, "gelu")
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    assert saved["num_filters"] == 16
    assert "learning_rate" not in saved  # it was not given
    with pytest.raises(UserError, match=r"fixed was .*'epochs': 1.*, is .*'epochs': 2"):
        tune(replace(config, epochs=2))
    tune(replace(config, max_trials=2))
    assert len(read_csv(folder / "trials.csv")) == 2


def test_the_reference_projects_sweep_file_runs_as_it_is(config):
    space = Path(__file__).parents[1] / "workbench" / "sweep" / "reference_sweep.yaml"
    folder = tune(replace(config, space=str(space), max_trials=1))
    (row,) = read_csv(folder / "trials.csv")
    assert row["status"] == "completed"
    assert row["activation"] in ("mish", "gelu", "relu", "silu")
    assert yaml.safe_load((folder / "config.yaml").read_text())["tuner"] == "bayesian"
    assert yaml.safe_load((folder / "best.yaml").read_text())["activation"] == row["activation"]


def test_an_image_size_next_to_swept_ones_is_refused(workdir, capsys):
    Path("space.yaml").write_text("parameters: {image_size: {values: [32, 48]}}")
    assert main(["--space", "space.yaml", "--image-size", "64"]) == 2
    assert capsys.readouterr().err == (
        "error: --image-size 64: --space space.yaml gives 'image_size' its values already\n"
    )
