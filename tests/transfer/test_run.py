import contextlib
import functools
import io
import itertools
import json
import os
import shlex
import shutil
import signal
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml

from tests import processes
from tests.models import leave_stopped_copies, measure_model
from tests.processes import PIPE, TWO_DEVICES, Process
from transfer.backbone import build_network
from transfer.config import BackboneConfig, TransferConfig
from transfer.defaults import resolve
from transfer.feature_precision import count_agreements
from transfer.freezing import find_stages, freeze
from transfer.optimizer import build_optimizer
from transfer.plan import plan_options
from transfer.run import main, run
from workbench import cli
from workbench.commands import EvaluateConfig, ExplainConfig, ExportConfig, PredictConfig
from workbench.config import build, replace
from workbench.data.dataset import load_dataset
from workbench.data.splits.saved_split import read_split
from workbench.evaluate import evaluate
from workbench.explain import explain
from workbench.export import export
from workbench.files import read_csv, read_json
from workbench.finished_run import open_run
from workbench.predict import predict

MODES = {"last_layer": {}, "first_k": {"until": "block3_pool"}, "all": {}}


def load(path):
    return keras.saving.load_model(path, safe_mode=True)


def arrays(model):
    """Weights by name, without what Keras numbers differently in each process."""
    return {weight.path: weight.numpy() for weight in model.weights if "seed_generator" not in weight.path}


def images(count=4):
    return np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def train_once(scratch, tmp_path_factory):
    """Function that fine-tunes as `config` says, once in each mode: (working folder, what was printed).

    `all` also leaves what a kill after its first epoch leaves.
    """
    options = {"data": str(scratch[0]), "from_": str(scratch[1]), "epochs": 2, "batch_size": 8, "name": "r"}
    feature_precision = {"first_k": "float32", "all": "auto"}

    @functools.cache
    def train(mode):
        root = tmp_path_factory.mktemp(mode)
        exact = {"precision": "float32", "feature_precision": feature_precision[mode]}
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as shown:
            patch.chdir(root)
            patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
            if mode == "all":
                leave_stopped_copies(patch)
            run(build(TransferConfig, mode=mode, **MODES[mode], **options, **exact))
        return root, shown.getvalue()

    return train


@pytest.fixture
def finish(train_once, workdir):
    """Function that returns the path `runs/r` of a copy of that run, which a test may write to."""

    def finish(mode):
        shutil.copytree(train_once(mode)[0] / "runs", workdir / "runs", dirs_exist_ok=True)
        return Path("runs/r")

    return finish


@pytest.mark.parametrize("mode", ["first_k", "all"])
def test_a_run_folder_is_left(initial, finish, train_once, mode):
    """Where the part behind stored features is trained, and where the whole network is."""
    folder = finish(mode)
    check_trained(folder, initial, mode, "float32")
    model = load(folder / "model.keras")
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)
    assert model.inputs[0].dtype == "uint8"
    assert model.layers[-1].name == "logits"
    metrics = json.loads((folder / "metrics.json").read_text())
    history = read_csv(folder / "history.csv")
    assert [row["epoch"] for row in history] == ["1", "2"]
    assert metrics["val_accuracy"] == max(float(row["val_accuracy"]) for row in history)
    assert metrics["parameters"] == model.count_params()
    assert metrics["feature_images"] == 30  # for `all`, to train the head first
    assert "frozen parameters" in train_once(mode)[1]


def test_a_run_is_tested_explained_predicted_and_exported_like_any(config, finish, capsys):
    """Where the part behind stored features is trained; a network that is trained whole is saved as any other one."""
    folder = finish("first_k")
    assert evaluate(EvaluateConfig(str(folder)))["images"] == 9
    photo = next((Path(config.data.data) / "test" / "red").iterdir())
    figures = explain(ExplainConfig(str(folder), [str(photo)]))
    assert any("gradcam" in Path(figure).name for figure in figures)
    capsys.readouterr()
    predict(PredictConfig(str(folder), [str(photo)], json=True))
    (answer,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert {guess["class"] for guess in answer["predictions"]} == {"blue", "green", "red"}
    exported = export(ExportConfig(str(folder)))
    assert exported.difference < 1e-5


def test_a_budget_ends_the_training_of_the_trained_part(config, monkeypatch):
    seconds = itertools.count(1000, 0.5)
    monkeypatch.setattr("workbench.training.timeline.perf_counter", lambda: next(seconds))
    monkeypatch.setattr("workbench.training.timeline.get_command_start", lambda: 1000.0)
    folder = run(replace(config, mode="first_k", until="block3_pool", budget="40s"))
    rows = read_csv(folder / "history.csv")
    assert float(rows[-1]["progress"]) > 0.97
    assert 1030 < next(seconds) < 1040
    for name in ("model.keras", "metrics.json", "report.html"):
        (folder / name).unlink()  # as if it had been stopped after its last epoch
    run(build(TransferConfig, resume=str(folder)))
    assert all((folder / name).exists() for name in ("model.keras", "metrics.json", "report.html"))
    assert read_config_file()["batch_size"] == 8  # was given


@pytest.fixture(scope="module")
def network(scratch):
    """The network that `config` fine-tunes, with its initial weights; tests may freeze it, and not train it."""
    return build_network(BackboneConfig(from_=str(scratch[1])), 32, 3, 0)


@pytest.fixture
def plan(config, network, monkeypatch):
    """Function that plans a fine-tuning whose forward pass of all images takes so many seconds."""
    dataset = load_dataset(config.data, 0)
    freezes_all = network.layers[-1]

    def plan(seconds, given=(), stores=False, **options):
        def measure(end, dataset, dtype):
            return (seconds if end is freezes_all else seconds / 2) / 24

        chosen = resolve(replace(config, **{"mode": "all", "budget": "60s", "epochs": None, "views": 0} | options))
        freeze(network, chosen.freezing)
        monkeypatch.setattr("transfer.plan.measure_forward", measure)
        monkeypatch.setattr("workbench.clock.get_command_start", time.perf_counter)
        return plan_options(chosen, given, dataset, network, freezes_all if stores else None).training

    return plan


def test_a_plan_depends_on_the_speed_and_the_time(plan, monkeypatch):
    assert plan(1.0).epochs == 20  # the head is trained first; a step is three passes
    assert plan(1.0, head_epochs=30).epochs == 10
    assert plan(1.0, head_epochs=30, views=1).epochs == 20  # on stored features
    assert plan(60.0).epochs == 1
    assert plan(1.0, ["epochs"], epochs=7).epochs == 7
    assert plan(1.0, stores=True).epochs == 5  # they take no time
    monkeypatch.setattr("transfer.plan.count_devices", lambda strategy: 3)
    assert plan(1.0).batch_size % 3 == 0


def test_the_plan_knows_that_frozen_layers_have_no_gradients(plan):
    assert plan(1.0, mode="last_layer").epochs == 60
    assert plan(1.0, mode="first_k", until="block3_pool").epochs == 30


def test_a_short_plan_has_a_short_warm_up(plan):
    assert [plan(60.0).warmup_epochs, plan(1.0).warmup_epochs] == [0.1, 0.5]
    assert plan(1.0, ["epochs"], epochs=2).warmup_epochs == 0.2
    assert plan(1.0, ["warmup_epochs"], warmup_epochs=3.0).warmup_epochs == 3.0


def test_one_cycle_rises_in_its_own_share_of_the_training(config, plan):
    assert plan(1.0, schedule="one_cycle").warmup_epochs == 0
    assert resolve(replace(config, schedule="one_cycle")).training.warmup_epochs == 0
    assert resolve(replace(config, schedule="one_cycle", warmup_epochs=1.5)).training.warmup_epochs == 1.5
    assert resolve(config).training.warmup_epochs == 0.5


def test_rates_are_tried_and_one_is_suggested_with_its_command(config, capsys):
    words = shlex.split(cli.format_options(replace(config, name=None, mode="first_k", until="block3_pool")))
    assert main([*words, "--lr-find"]) == 0
    folder = Path("runs/network-first_k-colours-32px-lr-find")
    assert {path.name for path in folder.iterdir()} == {"lr_find.csv", "lr_find.png"}
    assert len(read_csv(folder / "lr_find.csv")) > 50
    line = capsys.readouterr().out.strip().splitlines()[-1]
    given, _, rates = line.removeprefix("train with it:  python -m transfer.run ").partition(" --learning-rate ")
    assert shlex.split(given) == words
    head, backbone = rates.split(" --backbone-learning-rate ")
    assert float(backbone) == pytest.approx(float(head) / 10, rel=0.1)


def test_the_help_lists_what_a_fine_tuning_takes(capsys):
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "--lr-find" in shown
    assert "--start-size" not in shown
    assert "--optimizer" not in shown


def test_stages_are_unfrozen_from_the_head_downwards(config, initial, capsys):
    config = replace(config, mode="all", unfreeze_epochs=1, ema=0.5, schedule="constant", warmup_epochs=0)
    after = arrays(load(run(config) / "model.keras"))
    changed = {path.split("/")[0] for path in initial if not np.array_equal(initial[path], after[path])}
    assert {"logits", "dense", "block5_conv"} <= changed
    assert not {"block1_conv", "block2_conv", "block3_conv"} & changed
    shown = capsys.readouterr().out
    assert "head alone" in shown
    assert [line.split(" of ")[0] for line in shown.splitlines() if "stages are trained" in line] == [
        "epoch 1: 1",
        "epoch 2: 2",
    ]


def test_stored_features_and_the_plain_way_end_in_the_same_network(config, initial, network, finish):
    stored = load(finish("first_k") / "model.keras")
    folder = run(replace(config, mode="first_k", precision="float32", until="block3_pool", name="plain", views=0))
    check_trained(folder, initial, "first_k", "float32")
    plain = load(folder / "model.keras")
    np.testing.assert_allclose(stored(images()), plain(images()), rtol=1e-3, atol=1e-4)
    assert not np.allclose(stored(images()), network.model(images()), atol=1e-3)


@pytest.mark.parametrize(
    ("mode", "precision", "options"),
    [
        ("last_layer", "float32", {"feature_precision": "auto"}),
        ("last_layer", "float32", {"feature_precision": "bfloat16", "data_aug": True, "views": 2}),
        ("last_layer", "bfloat16", {"feature_precision": "float16", "views": 0}),
        ("first_k", "bfloat16", {"feature_precision": "bfloat16", "ema": 0.8}),
        ("first_k", "bfloat16", {"feature_precision": "float16"}),
        ("all", "bfloat16", {"feature_precision": "bfloat16", "views": 0}),
    ],
)
def test_what_is_saved_was_validated_and_what_is_frozen_is_bit_identical(config, initial, mode, precision, options):
    """With the other callers of `check_trained`, each pair of mode, precision and kind of features occurs."""
    folder = run(replace(config, mode=mode, precision=precision, **options, **MODES[mode], learning_rate=0.01))
    check_trained(folder, initial, mode, precision)


def check_trained(folder, initial, mode, precision):
    """Check that the validation accuracy is that of the saved model, and which of its weights have changed."""
    metrics = json.loads((folder / "metrics.json").read_text())
    model = load(folder / "model.keras")
    accuracy, loss = measure_model(model, folder)
    assert metrics["val_accuracy"] == pytest.approx(accuracy, abs=1e-6)
    assert metrics["val_loss"] == pytest.approx(loss, rel=2e-5)
    best = read_csv(folder / "history.csv")[metrics["best_epoch"] - 1]
    assert float(best["val_loss"]) == metrics["val_loss"]
    assert metrics["precision"] == precision
    after = arrays(model)
    assert {array.dtype for array in after.values()} == {np.dtype("float32")}
    changed = {path.split("/")[0] for path in initial if not np.array_equal(initial[path], after[path])}
    assert (
        changed
        == {
            "last_layer": {"logits"},
            "first_k": {"block4_conv", "block5_conv", "dense", "logits"},
            "all": {*(f"block{number}_conv" for number in range(1, 6)), "dense", "logits"},
        }[mode]
    )


def test_rounded_features_are_used_only_where_predictions_agree(config, monkeypatch, capsys):
    monkeypatch.setattr("transfer.feature_precision.choose_fastest_precision", lambda network: "bfloat16")
    monkeypatch.setattr("transfer.feature_precision._AGREEING", 1.1)  # more than all
    folder = run(replace(config, name="none", epochs=1))
    shown = " ".join(capsys.readouterr().out.split())
    assert "features in bfloat16: predictions agree with float32's on only" in shown
    assert "features of the training images: float32" in shown
    assert json.loads((folder / "metrics.json").read_text())["feature_precision"] == "float32"
    assert yaml.safe_load((folder / "config.yaml").read_text())["feature_precision"] == "float32"

    monkeypatch.setattr("transfer.feature_precision._AGREEING", 0.0)
    monkeypatch.setattr("transfer.frozen_part.FrozenPart.compute", None)  # the counts are remembered
    with pytest.raises(TypeError):  # only the training images have to be computed
        run(replace(config, name="all", epochs=1))
    shown = " ".join(capsys.readouterr().out.split())
    assert "once for 24 training images in bfloat16" in shown
    assert "validation images in" not in shown


def test_predictions_agree_if_rounding_keeps_what_tells_images_apart():
    rng = np.random.default_rng(0)
    head = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)])
    features = rng.normal(0, 1, (50, 8)).astype(np.float32)
    assert count_agreements(head, features, features.astype(np.float16)) == 50
    alike = 1000 + features / 10  # differ by less than float16 has steps
    assert count_agreements(head, alike, alike) == 50
    assert count_agreements(head, alike, alike.astype(np.float16).astype(np.float32)) < 40
    assert count_agreements(head, features, np.full_like(features, np.inf)) == 0


@pytest.fixture(scope="module")
def initial(network):
    """Weights by name of the network that `config` fine-tunes."""
    return arrays(network.model)


def test_batch_norm_is_trained_on_request(config, initial):
    config = replace(config, mode="first_k", until="block4_pool", train_bn=True, epochs=1)
    after = arrays(load(run(config) / "model.keras"))
    changed = {path for path in initial if not np.array_equal(initial[path], after[path])}
    assert {"block5_bn/moving_mean", "block5_bn/gamma", "block5_conv/kernel"} <= changed
    assert not any("block4" in path for path in changed)


def test_dropout_changes_a_training_of_the_head(config):
    folders = [run(replace(config, dropout=dropout, epochs=1, name=f"{dropout}")) for dropout in (0.0, 0.5)]
    losses = [read_csv(folder / "history.csv")[0]["loss"] for folder in folders]
    assert losses[0] != losses[1]


def test_features_are_shared_by_later_runs(config, capsys):
    """Augmented views take the place of augmentation; the validation images have none."""
    config = replace(config, epochs=1)
    first = run(config)
    shown = " ".join(capsys.readouterr().out.split())
    assert "computing the frozen layers once for 6 validation images in float32" in shown
    assert "computing the frozen layers once for 24 training images" in shown
    second = run(replace(config, name="s", learning_rate=1e-2))
    shown = " ".join(capsys.readouterr().out.split())
    assert "computing the frozen layers" not in shown
    assert "; cached, computing them took" in shown
    costs = [json.loads((folder / "metrics.json").read_text()) for folder in (first, second)]
    assert [cost["features"] for cost in costs] == ["computed", "cached"]
    assert [cost["feature_images"] for cost in costs] == [30, 0]
    assert costs[1]["feature_seconds"] == costs[0]["feature_seconds"] > 0
    assert load(first / "model.keras").count_params() == load(second / "model.keras").count_params()

    third = run(replace(config, name="t", data_aug=True, views=3))
    shown = " ".join(capsys.readouterr().out.split())
    assert "computing the frozen layers once for 72 training images" in shown  # 3 views of 24
    assert "validation images in float32" not in shown
    assert json.loads((third / "metrics.json").read_text())["feature_images"] == 72
    files = Path(os.environ["XDG_CACHE_HOME"]).glob("*/features-*/features.bin")
    training = max(files, key=lambda path: path.stat().st_size)
    views = np.fromfile(training, np.float16).reshape(3, 24, -1)
    assert not np.allclose(views[0], views[1], atol=1e-3)
    run(replace(config, data_aug=True, views=3, rand_augment=9, name="u"))
    assert "once for 72 training images" in capsys.readouterr().out  # they have other views


@pytest.mark.parametrize("options", [{"fold": "1/2"}, {"head_epochs": 1}])
def test_the_seconds_of_each_stored_array_are_counted_once(config, options, cache):
    folder = run(replace(config, feature_precision="float32", epochs=1, **options))
    stored = [sum(read_json(path)["content"]["seconds"]) for path in cache.glob("*/features-*/index.json")]
    assert read_json(folder / "metrics.json")["feature_seconds"] == pytest.approx(sum(stored))


def test_features_of_images_that_are_decoded_in_another_way_are_computed_again(config, capsys, monkeypatch):
    run(replace(config, epochs=1))
    capsys.readouterr()
    monkeypatch.setattr("workbench.data.store.FORMAT", 0)
    run(replace(config, epochs=1, name="s"))
    assert capsys.readouterr().out.count("computing the frozen layers once") == 2


def test_a_stopped_run_is_resumed(config):
    config = replace(config, mode="first_k", epochs=200, schedule="constant", **MODES["first_k"])
    command = [sys.executable, "-m", "transfer.run", *shlex.split(cli.format_options(config))]
    with Process(command, stdout=PIPE, stderr=PIPE) as process:
        for line in process.stdout:
            if line.startswith("epoch   2/"):
                process.send_signal(signal.SIGINT)
                break
        _, said = process.communicate()
    assert said.endswith("To continue:\n  python -m transfer.run --resume runs/r\n")
    done = len(read_csv("runs/r/history.csv"))
    path = Path("runs/r/config.yaml")
    path.write_text(path.read_text().replace("epochs: 200", f"epochs: {done + 1}"))
    resumed = run(build(type(config), resume="runs/r"))
    assert [row["epoch"] for row in read_csv("runs/r/history.csv")] == [str(n + 1) for n in range(done + 1)]
    used = read_json(resumed / "metrics.json")["feature_precision"]
    assert f"feature_precision: {used}" in path.read_text()
    assert len(evaluate(EvaluateConfig(str(resumed)))["per_class"]) == 3


def test_a_killed_run_of_the_whole_network_equals_an_uninterrupted_one(finish, train_once, capsys):
    """The folder is as SIGKILL leaves it after the first epoch. The head, trained before, is not trained again."""
    whole = finish("all")
    assert "head alone" in train_once("all")[1]
    before = read_csv("runs/r-stopped/history.csv")
    part = run(build(TransferConfig, resume="runs/r-stopped"))
    assert "head alone" not in capsys.readouterr().out
    assert read_csv(part / "history.csv")[:1] == before
    assert [row["epoch"] for row in read_csv(part / "history.csv")] == ["1", "2"]
    np.testing.assert_allclose(
        load(whole / "model.keras")(images()), load(part / "model.keras")(images()), rtol=1e-3, atol=1e-5
    )
    used = read_json(part / "metrics.json")["feature_precision"]
    assert used == read_json(whole / "metrics.json")["feature_precision"] == "float16"
    assert f"feature_precision: {used}" in (part / "config.yaml").read_text()
    assert len(evaluate(EvaluateConfig(str(part)))["per_class"]) == 3


@pytest.mark.parametrize(
    ("mode", "precision", "ema", "unfreeze_epochs"),
    [("last_layer", "float32", 0.0, 0.0), ("first_k", "bfloat16", 0.8, 1.0)],
)
def test_a_resumed_run_equals_an_uninterrupted_one(config, monkeypatch, mode, precision, ema, unfreeze_epochs):
    """It continues what SIGKILL leaves after the first epoch."""
    config = replace(config, mode=mode, **MODES[mode], precision=precision, ema=ema)
    config = replace(config, schedule="constant", warmup_epochs=0, unfreeze_epochs=unfreeze_epochs)
    leave_stopped_copies(monkeypatch)
    whole = run(config)
    part = run(build(TransferConfig, resume="runs/r-stopped"))
    assert [row["epoch"] for row in read_csv(part / "history.csv")] == ["1", "2"]
    assert read_split(part) == read_split(whole) == open_run(part).load_dataset().split
    assert {image.part for image in read_split(part)} == {"train", "validation", "test"}
    np.testing.assert_allclose(
        load(whole / "model.keras")(images()), load(part / "model.keras")(images()), rtol=1e-3, atol=1e-5
    )


def read_config_file():
    return yaml.safe_load(Path("runs/r/config.yaml").read_text())


def test_a_resumed_run_keeps_the_precisions_that_were_chosen(config, monkeypatch):
    """Those of the trained layers and of the stored features."""

    def choose(fastest, fastest_of_features):
        monkeypatch.setattr(
            "transfer.precision.choose_precision", lambda asked, *_: fastest if asked == "auto" else asked
        )
        monkeypatch.setattr("transfer.feature_precision.choose_fastest_precision", lambda network: fastest_of_features)

    monkeypatch.setattr("transfer.feature_precision._AGREEING", 0.0)
    choose("bfloat16", "bfloat16")
    run(replace(config, mode="first_k", **MODES["first_k"], epochs=1))
    assert (read_config_file()["precision"], read_config_file()["feature_precision"]) == ("bfloat16", "bfloat16")
    choose("float32", "float16")  # as on another machine
    run(build(TransferConfig, resume="runs/r", epochs=2))
    assert (read_config_file()["precision"], read_config_file()["feature_precision"]) == ("bfloat16", "bfloat16")
    metrics = json.loads(Path("runs/r/metrics.json").read_text())
    assert (metrics["precision"], metrics["feature_images"]) == ("bfloat16", 0)

    path = Path("runs/r/config.yaml")  # as an earlier version wrote it
    path.write_text(path.read_text().replace("feature_precision: bfloat16", "feature_precision: auto"))
    run(build(TransferConfig, resume="runs/r", epochs=3))
    assert read_config_file()["feature_precision"] == "float16"
    assert json.loads(Path("runs/r/metrics.json").read_text())["feature_images"] == 24  # those to train on


@pytest.mark.parametrize("mode", ["last_layer", "all"])
def test_images_that_are_trained_on_can_be_mixed(config, finish, mode):
    features = "auto" if mode == "all" else "float32"
    config = replace(config, mode=mode, precision="float32", feature_precision=features)
    if mode == "last_layer":
        config = replace(config, views=0, epochs=1)
        plain = run(config)
    else:
        plain = finish("all")
    mixed = run(replace(config, name="mixed", mixup=0.4, cutmix=1.0, erasing=0.5))
    losses = [read_csv(folder / "history.csv")[0]["loss"] for folder in (plain, mixed)]
    assert losses[0] != losses[1]


def test_a_backbone_of_keras_applications_is_flat(config):
    """Its head is trained on stored features first, then all of it."""
    config = replace(config, from_=None, backbone="MobileNet", weights="none", image_size=32, epochs=1)
    folder = run(replace(config, mode="all", head_epochs=1))
    assert read_json(folder / "metrics.json")["feature_images"] == 30
    model = load(folder / "model.keras")
    assert model.get_layer("conv_pw_11_relu").output.shape[-1] == 512
    assert model.output_shape == (None, 3)


def test_rates_fall_towards_the_image(config):
    config = replace(config, mode="all", lr_decay=0.5, backbone_learning_rate=1e-4, weight_decay=0.0)
    config = resolve(config)
    network = build_network(config.backbone, 32, 3, config.training.seed)  # its weights change
    freeze(network, config.freezing)
    made = build_optimizer(network, config.training, network.model)
    variables = network.model.trainable_variables
    made.build(variables)
    before = [variable.numpy() for variable in variables]
    made.apply([np.ones(variable.shape, np.float32) for variable in variables])
    steps = {v.path: np.abs(v.numpy() - b).mean() for v, b in zip(variables, before, strict=True)}
    assert steps["logits/kernel"] == pytest.approx(1e-3, rel=1e-2)  # Adam's first step is its learning rate
    assert steps["dense/kernel"] == pytest.approx(1e-4, rel=1e-2)
    assert steps["block1_conv/kernel"] == pytest.approx(1e-4 / 2 ** (len(find_stages(network)) - 1), rel=1e-2)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--mode", "first_k", "--k", "999"], "--k 999: MobileNetV2 has 154 layers; its stages begin at 13, 31"),
        (["--from", "RUN", "--mode", "first_k", "--until", "block3_poo"], "did you mean block3_pool?"),
        (["--from", "RUN", "--image-size", "64"], "--image-size 64: the network of --from"),
        (["--k", "3"], "--k and --until: options of --mode first_k"),
        (["--backbone", "mobilenetv4"], "--backbone mobilenetv4: unknown; did you mean MobileNet"),
        (["--weights", "no.h5"], "--weights no.h5: no such file"),
        (["--weights", "best"], "--weights best: give imagenet, none, or a file"),
        (["--from", "nowhere"], "nowhere: no such run folder"),
        (["--backbone", "ResNet50", "--image-size", "16"], "--image-size 16: ResNet50 cannot take it"),
        (["--lr-decay", "0"], "--lr-decay 0"),
        (["--views", "-1"], "--views -1"),
        (["--unfreeze-epochs", "1"], "--unfreeze-epochs 1: last_layer trains no stage of the backbone"),
        (["--rand-augment", "11"], "--rand-augment 11.0: must be between 0 and 10"),
        (["--start-size", "16"], "--start-size 16: fine-tuning trains at one image size"),
        (
            ["--from", "RUN", "--mixup", "0.2"],
            "--mixup 0.2: changes images, but features are stored; give --views 0 as well",
        ),
        (["--from", "RUN", "--cutmix", "1"], "--cutmix 1: changes images"),
        (["--no-data-aug", "--shift", "0.1"], "--shift 0.1: changes images by --data-aug, which is switched off"),
        (["--from", "RUN", "--mode", "first_k", "--erasing", "0.5"], "--erasing 0.5: changes images"),
        (["--mode", "middle"], "--mode: 'middle' is not allowed; expected last_layer or first_k or all"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(words, says, config, capsys):
    words = [config.backbone.from_ if word == "RUN" else word for word in words]
    given = [f"--data={config.data.data}", "--backbone=MobileNetV2", "--weights=none", "--image-size=32"]
    assert main([*given, *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert says in error
    assert not Path("runs").exists()


def test_two_devices_share_a_training_with_the_same_losses(config):
    """On two logical devices: the head is trained on stored features first, then the whole network on images."""
    code = f"{TWO_DEVICES}from transfer.run import main\nsys.exit(main())\n"
    config = replace(config, mode="all", dropout=0.0, precision="float32", unfreeze_epochs=1)
    single = run(replace(config, name="single"))
    words = shlex.split(cli.format_options(replace(config, name="mirrored", strategy="mirrored")))
    processes.run([sys.executable, "-c", code, *words], check=True)
    histories = []
    for folder in (single, Path("runs/mirrored")):
        rows = read_csv(folder / "history.csv")
        histories.append([[float(row[column]) for column in ("loss", "val_loss")] for row in rows])
    np.testing.assert_allclose(*histories, rtol=1e-3)


def test_a_damaged_run_is_refused_in_one_line_and_left_alone(finish, capsys):
    folder = finish("first_k")
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    for name, content, says in (
        ("last.keras", None, "last.keras: missing"),
        ("last.keras", files["last.keras"][:-1000], "last.keras: damaged"),
        ("best.keras", None, "best.keras: missing"),
        ("best.keras", files["best.keras"][:-1000], "best.keras: damaged"),
        ("history.csv", b"epoch,loss\n?,?\n", "history.csv: damaged"),
    ):
        (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
        before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        capsys.readouterr()
        assert main(["--resume", str(folder), "--epochs", "3"]) == 2
        error = capsys.readouterr().err
        assert says in error
        assert "nothing was changed: restore the file, or train again with python -m transfer.run --config" in error
        assert error.count("\n") == 1
        assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
        (folder / name).write_bytes(files[name])


def test_images_that_the_network_has_seen_are_warned_of(config, scratch, tmp_path, capsys):
    """The parts are swapped: the network was trained on the images that are now test images."""
    for part, other in (("train", "test"), ("test", "train")):
        shutil.copytree(scratch[0] / part, tmp_path / "swapped" / other)
    folder = run(replace(config, data=str(tmp_path / "swapped"), mode="last_layer", epochs=1))
    said = "warning: 30 of 30 test images were already used to train or validate the network that --from names, such as"
    assert said in capsys.readouterr().out
    test = [image for image in read_split(folder) if image.part == "test"]
    assert all(image.seen_in.startswith(f"{scratch[1]}: train/") for image in test)


def test_a_network_whose_images_are_not_known_is_warned_of(config, scratch, tmp_path, capsys):
    base = shutil.copytree(scratch[1], tmp_path / "base", ignore=shutil.ignore_patterns("split.csv"))
    run(replace(config, from_=str(base), mode="last_layer", epochs=1))
    assert f"warning: {base} has no split.csv, so it is not known whether" in capsys.readouterr().out
