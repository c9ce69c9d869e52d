import contextlib
import io
import json
import os
import pty
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml
from PIL import Image

from cnn_scratch import graph_cache
from cnn_scratch.config import TrainConfig, TuneConfig
from cnn_scratch.fast_model import choose_cnn_precision
from cnn_scratch.graph_cache import GraphCache
from cnn_scratch.train import main, train
from tests.models import leave_stopped_copies, measure_saved_model
from tests.processes import PIPE, TWO_DEVICES, Process, limit_file_size, run
from workbench import cli
from workbench.config import build, replace
from workbench.data.splits.saved_split import read_split
from workbench.devices.device import describe_device
from workbench.errors import UserError
from workbench.files import read_csv, write_csv
from workbench.sweep.command import resolve_sweep
from workbench.training import loop
from workbench.training.run_folder import read_config


@pytest.fixture
def config(red_and_blue, workdir):
    return build(TrainConfig, data=str(red_and_blue), image_size=32, num_filters=16, dense_units=16, epochs=2, name="r")


@pytest.fixture(scope="module")
def trained_once(shared_red_and_blue, tmp_path_factory):
    """(folder with a run like `config`'s and its report, what was printed); tests must not write to it."""
    options = {"image_size": 32, "num_filters": 16, "dense_units": 16, "epochs": 2, "name": "r"}
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as shown:
        patch.chdir(tmp_path_factory.mktemp("trained"))
        assert train(build(TrainConfig, data=str(shared_red_and_blue), **options)) == Path("runs/r")
        return Path.cwd(), shown.getvalue()


@pytest.fixture
def finished(trained_once, workdir):
    """The path `runs/r` of a copy of that run, which a test may write to."""
    shutil.copytree(trained_once[0], workdir, dirs_exist_ok=True)
    return Path("runs/r")


def weights(path):
    return keras.saving.load_model(path, safe_mode=True).get_weights()


def test_a_run_folder_is_left(trained_once):
    root, shown = trained_once
    folder = root / "runs" / "r"
    assert {path.name for path in folder.iterdir()} == {
        *("config.yaml", "classes.json", "history.csv", "metrics.json", "model.keras", "last.keras"),
        *("split.csv", "figures", "report.html"),
    }
    history = read_csv(folder / "history.csv")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["device"] == describe_device()
    assert [row["epoch"] for row in history] == ["1", "2"]
    assert metrics["val_accuracy"] == max(float(row["val_accuracy"]) for row in history)
    assert json.loads((folder / "classes.json").read_text()) == ["blue", "red"]
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    assert saved["image_size"] == 32
    assert saved["seed"] == 0
    assert "images/s" in shown
    assert "epoch 2/2" in shown
    assert "report:      runs/r/report.html" in shown
    assert "python -m cnn_scratch.train --config runs/r/config.yaml" in (folder / "report.html").read_text()
    assert any("tfevents" in path.name for path in (root / "logs" / "r").iterdir())


def test_two_colours_are_learnt_and_logged_by_wandb_offline_without_a_key(config, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", "/nowhere")
    monkeypatch.setenv("HOME", str(config.run.runs_dir))
    folder = train(replace(config, epochs=8, batch_size=4, batch_norm=False, wandb=True))
    assert len(list((folder / "wandb").glob("offline-run-*/*.wandb"))) == 1
    model = keras.saving.load_model(folder / "model.keras", safe_mode=True)
    red = np.full((1, 32, 32, 3), (200, 40, 40), np.uint8)
    blue = np.full((1, 32, 32, 3), (40, 40, 200), np.uint8)
    assert [int(np.argmax(model(image))) for image in (blue, red)] == [0, 1]


def test_the_best_epoch_is_kept_beside_the_last(config):
    folder = train(replace(config, learning_rate=0.02, epochs=5))
    best = json.loads((folder / "metrics.json").read_text())["best_epoch"]
    again = train(replace(config, learning_rate=0.02, epochs=best, name="again"))
    for one, other in zip(weights(folder / "model.keras"), weights(again / "last.keras"), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_a_training_in_16_bits_reports_the_accuracy_of_the_saved_model(config):
    """Of averaged weights; of others see `test_a_resumed_run_keeps_its_number_format`."""
    check_reported_accuracies(train(replace(config, precision="bfloat16", ema=0.8, learning_rate=0.01)))


def check_reported_accuracies(folder):
    history, metrics = read_csv(folder / "history.csv"), json.loads((folder / "metrics.json").read_text())
    reported = {
        "model.keras": (metrics["val_accuracy"], metrics["val_loss"]),
        "last.keras": (float(history[-1]["val_accuracy"]), float(history[-1]["val_loss"])),
    }
    for name, (accuracy, loss) in reported.items():
        saved_accuracy, saved_loss = measure_saved_model(folder, name)
        assert accuracy == pytest.approx(saved_accuracy, abs=1e-6)
        assert loss == pytest.approx(saved_loss, rel=2e-5)


RECIPE = {"ema": 0.8, "mixup": 0.4, "cutmix": 1.0, "erasing": 0.5, "weight_decay": 0.05, "label_smoothing": 0.1}


MUON = {"optimizer": "muon", "learning_rate": 3e-3, "ema": 0.8, "weight_decay": 0.05}


@pytest.mark.parametrize("options", [{"data_aug": True, **RECIPE}, MUON])
def test_a_resumed_training_equals_an_uninterrupted_one(config, monkeypatch, options):
    leave_stopped_copies(monkeypatch)
    whole = train(replace(config, dropout=0.5, **options))
    part = train(build(TrainConfig, resume="runs/r-stopped"))
    check_equal_trainings(whole, part)


def check_equal_trainings(whole, part):
    for name in ("last.keras", "model.keras"):
        for one, other in zip(weights(whole / name), weights(part / name), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    columns = ("epoch", "loss", "val_loss")
    histories = [[[float(row[c]) for c in columns] for row in read_csv(run / "history.csv")] for run in (whole, part)]
    np.testing.assert_allclose(*histories, rtol=1e-4)


def test_a_training_on_a_traced_graph_equals_one_on_a_new_graph(config, monkeypatch):
    monkeypatch.setitem(train.__globals__, "_GRAPHS", GraphCache(adjusts_dropout=False))
    built = []
    build_once = graph_cache.build_cnn
    monkeypatch.setattr(graph_cache, "build_cnn", lambda *args: built.append(args) or build_once(*args))
    config = replace(config, dropout=0.5, batch_size=8)
    first = train(replace(config, name="first"))
    train(replace(config, name="other", seed=1, learning_rate=0.1, batch_size=4))
    with pytest.raises(UserError, match="diverged"):
        train(replace(config, name="diverged", learning_rate=1e30))
    again = train(replace(config, name="again"))
    assert len(built) == 1
    for name in ("last.keras", "model.keras"):
        for one, other in zip(weights(first / name), weights(again / name), strict=True):
            np.testing.assert_array_equal(one, other)


def test_several_steps_at_a_time_change_no_result(config, monkeypatch):
    monkeypatch.setattr("cnn_scratch.fast_model.LARGE_MAPS", 10_000)  # the first block is fused
    monkeypatch.setitem(train.__globals__, "_GRAPHS", GraphCache(adjusts_dropout=False))  # none without fused blocks
    config = replace(config, batch_size=8, dropout=0.0)
    plain = train(replace(config, name="plain"))
    monkeypatch.setitem(train.__globals__, "choose_steps_per_execution", lambda steps_per_epoch: 2)
    several = train(replace(config, name="several"))
    histories = [[float(row["val_loss"]) for row in read_csv(run / "history.csv")] for run in (plain, several)]
    np.testing.assert_allclose(histories[1], histories[0], rtol=1e-3)
    assert [len(read_csv(run / "history.csv")) for run in (plain, several)] == [2] * 2


def test_a_resumed_training_keeps_its_split(config, photo_folder, monkeypatch, capsys):
    """A photo that is added is named and not used; a training image that is gone is refused."""
    data = photo_folder(train=8, test=None, size=32)
    leave_stopped_copies(monkeypatch)
    whole, part = train(replace(config, data=str(data), dropout=0.5, optimizer="sgd")), Path("runs/r-stopped")
    split = (part / "split.csv").read_bytes()
    Image.fromarray(np.full((32, 32, 3), 200, np.uint8)).save(data / "daisy" / "a-new-one.png")
    train(build(TrainConfig, resume=str(part)))
    assert "1 image was added (daisy/a-new-one.png) and is not used" in capsys.readouterr().out
    for one, other in zip(weights(whole / "model.keras"), weights(part / "model.keras"), strict=True):
        np.testing.assert_array_equal(one, other)
    check_equal_trainings(whole, part)
    next(data / image.name for image in read_split(part) if image.part == "train").unlink()
    before = {path: path.read_bytes() for path in part.iterdir() if path.is_file()}
    with pytest.raises(
        UserError, match=r"1 training image is gone \(daisy/.*runs/r-stopped is continued with the images"
    ):
        train(build(TrainConfig, resume=str(part), epochs=3))
    assert before == {path: path.read_bytes() for path in part.iterdir() if path.is_file()}
    assert split == (part / "split.csv").read_bytes()


def test_a_resumed_run_keeps_its_number_format(config, monkeypatch):
    """`auto` is settled once and written down, also if another format is faster where the run is resumed.

    The accuracies of the resumed run are those of its saved models.
    """
    monkeypatch.setattr("workbench.training.precision.LARGE", 0)

    def make_faster(fast):
        def measure(model, *args, **kwargs):
            return 1.0 if model.get_layer("block1_conv").compute_dtype == fast else 2.0

        monkeypatch.setattr("cnn_scratch.fast_model.measure_step_seconds", measure)

    make_faster("bfloat16")
    folder = train(replace(config, epochs=1, learning_rate=0.01))
    assert yaml.safe_load((folder / "config.yaml").read_text())["precision"] == "bfloat16"
    with pytest.raises(UserError, match="its only epoch is done"):
        train(build(TrainConfig, resume=str(folder)))
    make_faster("float32")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "another-machine"))
    train(build(TrainConfig, resume=str(folder), epochs=2))
    assert json.loads((folder / "metrics.json").read_text())["precision"] == "bfloat16"
    assert yaml.safe_load((folder / "config.yaml").read_text())["precision"] == "bfloat16"
    assert choose_cnn_precision(config.network, config.training, 32) == "float32"  # what a new run would get
    check_reported_accuracies(folder)


def test_a_killed_training_is_resumed(config):
    """Three times, each time where the one before was stopped by another signal."""
    options = shlex.split(cli.format_options(replace(config, epochs=200, name="killed")))
    done, folder = 0, Path("runs/killed")
    for kill in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        before, last = done, f"epoch {done + 3:3}/"
        with Process([sys.executable, "-m", "cnn_scratch.train", *options], stdout=PIPE, stderr=PIPE) as process:
            for line in process.stdout:
                if line.startswith(last):
                    process.send_signal(kill)
                    break
            _, said = process.communicate()
        done = len(read_csv("runs/killed/history.csv"))
        if kill != signal.SIGKILL:
            assert process.returncode == 130
            assert f"\nstopped; {done} epoch" in said
            assert said.endswith(f"To continue:\n  python -m cnn_scratch.train --resume {folder}\n")
        assert before + 3 <= done < 200
        folder = folder.resolve()
        options = [f"--resume={folder}"]
    path = Path("runs/killed/config.yaml")
    path.write_text(path.read_text().replace("epochs: 200", f"epochs: {done + 1}"))
    train(build(TrainConfig, resume="runs/killed"))
    assert [row["epoch"] for row in read_csv("runs/killed/history.csv")] == [str(n + 1) for n in range(done + 1)]


def test_nan_stops_the_run_with_a_word_and_leaves_nothing(finished, config):
    """The logs are those of another run of the name, so they are kept."""
    finished.rename("others")
    logs = sorted(Path("logs/r").rglob("*.v2"))
    with pytest.raises(UserError, match=r"loss became nan in epoch \d: .*diverged.*learning rate below 1e\+30"):
        train(replace(config, learning_rate=1e30))
    assert not Path("runs/r").exists()
    assert logs
    assert set(logs) <= set(Path("logs/r").rglob("*.v2"))


def test_a_training_that_patience_has_ended_is_continued_with_more_of_it(finished):
    config, history = finished / "config.yaml", finished / "history.csv"
    config.write_text(config.read_text().replace("epochs: 2", "epochs: 4").replace("patience: 0", "patience: 1"))
    rows = read_csv(history)
    write_csv(history, [rows[0], {**rows[1], "val_accuracy": "0"}])
    with pytest.raises(UserError, match=r"ended after 2 epochs, because the last one was not better; .* --patience 0"):
        train(build(TrainConfig, resume=str(finished), epochs=60))
    train(build(TrainConfig, resume=str(finished), patience=4))
    assert len(read_csv(history)) == 4
    assert "patience: 4" in config.read_text()


def test_folds_that_were_refused_or_killed_at_once_do_not_block_a_corrected_command(config, red_and_blue):
    data = red_and_blue.rename(red_and_blue.with_name("my photos"))
    config = replace(config, data=str(data), epochs=1, name=None, folds=2)
    with pytest.raises(UserError, match="--image-size 16"):
        train(replace(config, image_size=16))
    folder = Path("runs/cnn-my-photos-2-folds")
    (folder / "fold-1").mkdir()
    (folder / "fold-1" / "config.yaml").write_text((folder / "config.yaml").read_text())
    assert train(config) == folder
    assert read_config(folder, TrainConfig).data.image_size == 32
    with pytest.raises(UserError, match=r"--image-size 64: .* was begun with 32; choose another --name"):
        train(replace(config, image_size=64))


def test_an_error_removes_the_bar_and_shows_the_cursor_again(config):
    """On a terminal. The message is the last that is printed."""
    options = shlex.split(cli.format_options(replace(config, learning_rate=1e30)))
    terminal, other_end = pty.openpty()
    with open(other_end, "r+b", buffering=0) as output:
        command = [sys.executable, "-m", "cnn_scratch.train", *options]
        process = Process(command, {**os.environ, "TERM": "xterm"}, stdout=output, stderr=output)
    shown = b""
    with contextlib.suppress(OSError):  # raised when the other end is closed
        while read := os.read(terminal, 1 << 16):
            shown += read
    os.close(terminal)
    assert process.wait() == 2
    hidden, _, rest = shown.decode().rpartition("\x1b[?25l")
    assert hidden
    assert "\x1b[?25h" in rest
    assert "loss became nan in epoch 1" in rest.rpartition("\x1b[")[2]


def test_resume_refuses_another_configuration(finished):
    """Also where what is given is a default. What the run has already may be given, and `auto`."""
    for options, message in (
        ({"num_filters": 64}, "--num-filters 64: runs/r was made with 16"),
        ({"num_filters": 32}, "--num-filters 32: runs/r was made with 16"),
        ({"data": "digits"}, "--data digits: runs/r was made with .*red_and_blue"),
        ({"epochs": 1}, "--epochs 1: runs/r was made with 2, and a resumed run can only have more"),
        ({"name": "other"}, "--name other: runs/r is continued in its own folder"),
        ({"runs_dir": "elsewhere"}, "--runs-dir elsewhere: runs/r is continued in its own folder"),
        ({"overwrite": True}, "--overwrite: runs/r is continued by --resume; leave one of them out"),
        ({"name": "r", "runs_dir": "runs", "num_filters": 16, "precision": "auto", "image_size": None}, "all 2 epochs"),
    ):
        with pytest.raises(UserError, match=message):
            train(build(TrainConfig, resume=str(finished), **options))
    with pytest.raises(UserError, match="not a run folder"):
        train(build(TrainConfig, resume="runs/none"))


def test_epochs_are_raised_to_the_default_too(finished):
    defaults = Path("defaults.yaml")
    defaults.write_text(f"epochs: {TrainConfig().training.epochs}\n")
    assert main(["--resume", str(finished), "--config", str(defaults)]) == 0
    assert len(read_csv(finished / "history.csv")) == 10


def test_a_run_is_overwritten_only_where_that_is_asked_for(finished, config):
    """Without --name it is the run of the default name."""
    with pytest.raises(UserError, match="exists: resume it with --resume"):
        train(config)
    old = finished.rename("runs/cnn-red_and_blue-32px")
    (old / "old.txt").write_text("of the first run")
    config = replace(config, name=None)
    assert train(replace(config, overwrite=True, epochs=1)) == old
    assert len(read_csv(old / "history.csv")) == 1
    assert not (old / "old.txt").exists()
    assert list(Path("runs").glob("cnn*")) == [old]


def test_ctrl_c_before_a_training_that_overwrites_keeps_the_old_run(finished, config, monkeypatch):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    files = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt) as stop:
        patch.setattr(loop, "measure_pace", interrupt)
        train(replace(config, epochs=1, overwrite=True))
    assert str(stop.value) == "stopped before the training began; runs/r is unchanged"
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == files
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt) as stop:
        patch.setattr(loop, "fit", interrupt)
        train(replace(config, epochs=1, overwrite=True))
    assert str(stop.value) == "stopped in the first epoch; nothing is kept"
    assert not finished.exists()


def test_a_training_that_was_killed_before_its_first_epoch_was_saved_starts_again(finished):
    before = weights(finished / "model.keras")
    for name in ("last.keras", "metrics.json"):  # last.keras is written last, metrics.json in the end
        (finished / name).unlink()
    history = finished / "history.csv"
    history.write_text("".join(history.read_text().splitlines(keepends=True)[:2]))
    train(build(TrainConfig, resume=str(finished)))
    for one, other in zip(before, weights(finished / "model.keras"), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_a_full_disk_names_the_file_and_what_to_do(config, capsys):
    words = shlex.split(cli.format_options(replace(config, dense_units=4096, epochs=1)))
    with limit_file_size(400 << 10):
        assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: runs/r/model.keras: File too large (")
    assert " MB needed); " in error
    assert "are free there: delete what is no longer needed" in error
    assert error.count("\n") == 1
    assert not Path("runs/r").exists()  # nothing of it could be used


def test_a_run_that_does_not_fit_on_the_disk_is_refused_before_it_begins(finished, config, monkeypatch):
    before = (finished / "model.keras").read_bytes()
    monkeypatch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(1000, 999, 1))
    with pytest.raises(UserError, match=r"runs/r: the run needs about 10\.0 MB on its disk; 0.0 MB are free there"):
        train(replace(config, num_filters=128, overwrite=True))
    assert (finished / "model.keras").read_bytes() == before


def test_unreadable_images_are_listed_in_the_run_folder(config, red_and_blue):
    """The default name is taken, so the run's name is numbered."""
    Path("runs/cnn-red_and_blue-32px").mkdir(parents=True)
    (red_and_blue / "train" / "red" / "torn.jpg").write_bytes(b"\xff\xd8\xff torn")
    (red_and_blue / "train" / "red" / ".DS_Store").write_bytes(b"Bud1")
    with pytest.raises(UserError, match=r"1 of 31 images is unreadable \(3.2%\), such as train/red/torn.jpg"):
        train(config)
    folder = train(replace(config, epochs=1, max_unreadable=0.05, name=None))
    assert folder.name == "cnn-red_and_blue-32px-2"
    assert [row["image"] for row in read_csv(folder / "unreadable.csv")] == ["train/red/torn.jpg"]


def test_a_default_name_is_made_of_any_name_of_the_data(config, red_and_blue):
    data = red_and_blue.rename(red_and_blue.with_name("my photos"))
    assert train(replace(config, data=str(data), epochs=1, name=None)) == Path("runs/cnn-my-photos-32px")
    sweep = resolve_sweep(build(TuneConfig, data=str(data)))
    assert sweep.run.name == "sweep-my-photos-128px"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--data", "/no/such/folder"], "--data /no/such/folder: no such folder"),
        (["--image-size", "16"], "--image-size 16"),
        (["--filter-org", "half", "--num-filters", "8"], "--num-filters 8"),
        (["--num-filters", "1000000"], "the network has 36,000,5"),
        (["--dense-units", "1000000000"], "Lower one of these options"),
        (["--epochs", "0"], "--epochs 0"),
        (["--batch-size", "0"], "--batch-size 0"),
        (["--mixup", "-1"], "--mixup -1.0: must be 0 or more"),
        (["--erasing", "2"], "--erasing 2.0: must be between 0 and 1"),
        (["--crop-area", "0"], "--crop-area 0.0: must be above 0 and at most 1"),
        (["--shift", "2"], "--shift 2.0: must be between 0 and 0.5"),
        (["--ema", "1"], "--ema 1.0: must be at least 0 and below 1"),
        (["--learning-rate", "0"], "--learning-rate 0"),
        (["--activation", "tanh"], "--activation: 'tanh' is not allowed; expected mish or gelu or relu or silu"),
        (["--seed", "-1"], "--seed -1: must be 0 or more, and below 2^32"),
        (["--split-seed", "9999999999"], "--split-seed 9999999999"),
        (["--name", "../up"], "--name ../up"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(words, says, workdir, capsys):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert says in error
    assert not (workdir / "runs").exists()


def test_chatter_does_not_reach_the_screen(config, red_and_blue):
    Image.new("L", (8, 8)).save(red_and_blue / "train" / "red" / "grey.png")
    command = [sys.executable, "-m", "cnn_scratch.train", f"--data={red_and_blue}", "--image-size=32", "--epochs=1"]
    command += ["--num-filters=4", "--dense-units=4"]
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    shown = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert shown.stderr == ""
    assert "epoch 1/1" in shown.stdout


def test_two_devices_share_a_training_with_the_same_losses(red_and_blue, workdir):
    """On two logical devices; images that do not fill the last batch are left out.

    As on GPUs, several steps run without returning to Python where one device trains.
    """
    code = (
        f"{TWO_DEVICES}from cnn_scratch.train import main\n"
        "from workbench.training import optimizer\n"
        "optimizer.list_gpus = lambda: ['/device:CPU:0', '/device:CPU:1']\n"
        "for batch_size, strategy in ((8, 'single'), (8, 'mirrored'), (7, 'mirrored')):\n"
        "    code = main([*sys.argv[1:], f'--strategy={strategy}', f'--name={strategy}-{batch_size}', "
        "f'--batch-size={batch_size}'])\n"
        "main(['--resume=runs/mirrored-8', '--epochs=3'])\n"
        "sys.exit(code)"
    )
    words = [f"--data={red_and_blue}", "--image-size=32", "--num-filters=16", "--dense-units=16", "--dropout=0"]
    ended = run([sys.executable, "-c", code, *words, "--epochs=2"])
    assert ended.returncode == 2
    assert "--batch-size 7: 2 devices share each batch" in ended.stderr
    histories = []
    for name in ("single-8", "mirrored-8"):
        rows = read_csv(Path("runs") / name / "history.csv")
        assert len(rows) == (3 if name == "mirrored-8" else 2)  # resumed
        rows = rows[:2]
        histories.append([[float(row[column]) for column in ("loss", "val_loss", "val_accuracy")] for row in rows])
    np.testing.assert_allclose(*histories, rtol=1e-3)
