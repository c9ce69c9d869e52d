"""TF_CONFIG, and what several processes refuse. In tests/transfer/test_multi_worker.py two processes train."""

import json
from pathlib import Path

import pytest
import tensorflow as tf

from cnn_scratch.config import TrainConfig
from cnn_scratch.train import main, train
from transfer.config import CompareConfig, TransferConfig
from workbench.config import build, flatten
from workbench.devices import multi_worker
from workbench.devices.multi_worker import join_processes, read_cluster
from workbench.errors import UserError

WORKERS = {"worker": ["10.0.0.5:12345", "10.0.0.6:12345"]}


def make_task(kind, index, **jobs):
    return json.dumps({"cluster": jobs or WORKERS, "task": {"type": kind, "index": index}})


@pytest.fixture
def second(monkeypatch):
    """This process is the second of two, which are not connected."""
    monkeypatch.setenv("TF_CONFIG", make_task("worker", 1))
    monkeypatch.setattr(multi_worker, "load_tensorflow", lambda strategy: tf)
    monkeypatch.setattr(multi_worker, "count_devices", lambda strategy: 2)
    monkeypatch.setattr(multi_worker, "gather_numbers", lambda number: [number, number])


@pytest.mark.parametrize(
    ("text", "says", "is_first"),
    [
        (make_task("worker", 0), "process 1 of 2", True),
        (make_task("worker", "1"), "process 2 of 2", False),
        (make_task("chief", 0, chief=["a:1"], worker=["b:1", "c:1"]), "process 1 of 3", True),
        (make_task("worker", 0, chief=["a:1"], worker=["b:1", "c:1"]), "process 2 of 3", False),
    ],
)
def test_tf_config_says_which_process_this_is(text, says, is_first, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    cluster = read_cluster()
    assert (str(cluster), cluster.is_first) == (says, is_first)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", 'expected the address of each process and which one this is, such as \'{"cluster": '),
        ("[]", "expected the address"),
        ('{"cluster": {}}', "expected the address"),
        (json.dumps({"cluster": WORKERS}), "expected the address"),
        (make_task("worker", 2), "expected the address"),
        (make_task("worker", -1), "expected the address"),
        (make_task("evaluator", 0), "expected the address"),
        (make_task("worker", 0, worker=["a:1", "b:1"], ps=["c:1"]), "expected the address"),
        (make_task("worker", 0, worker=["a", "b"]), "expected the address"),
        (make_task("worker", 0, worker=["a:1"]), "lists one process only; add the others, or leave out --strategy"),
        ("", '--strategy multi_worker: set TF_CONFIG in each process, such as TF_CONFIG=\'{"cluster": '),
    ],
)
def test_a_wrong_tf_config_is_one_line(text, says, monkeypatch, workdir, capsys):
    monkeypatch.setenv("TF_CONFIG", text)
    assert main(["--strategy", "multi_worker"]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        (TrainConfig, {"budget": "1m"}, "--budget 1m: several processes have several clocks; give --epochs instead"),
        (TrainConfig, {"lr_find": True}, "--lr-find: uses one machine; leave out --strategy multi_worker"),
        (TransferConfig, {"folds": 3}, "--folds: uses one machine"),
        (CompareConfig, {}, "trains one network, but this command trains several of them"),
    ],
)
def test_what_several_processes_cannot_do_is_refused(kind, options, says, second):
    with pytest.raises(UserError, match=says), join_processes(build(kind, strategy="multi_worker", **options)):
        pass


def test_a_process_that_was_not_connected_cannot_train(monkeypatch, red_and_blue, workdir):
    monkeypatch.setenv("TF_CONFIG", make_task("worker", 1))
    with pytest.raises(UserError, match="processes can be connected only by a command line"):
        train(build(TrainConfig, data=str(red_and_blue), image_size=32, strategy="multi_worker"))
    assert not any(Path("runs").glob("*"))


def test_nothing_is_measured_and_only_the_first_process_leaves_a_run(second, workdir, capsys):
    run = Path("runs/r")
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("strategy: multi_worker\nlogs_dir: logs\nepochs: 3\n")
    with join_processes(build(TransferConfig, strategy="multi_worker", wandb=True)) as config:
        own = flatten(config)
        assert (own["precision"], own["feature_precision"], own["wandb"]) == ("float32", "float32", False)
        assert "runs" not in (own["runs_dir"], own["logs_dir"])
    with join_processes(build(TrainConfig, resume=str(run))) as config:  # the run says how it is trained
        copy = Path(config.run.resume)
        assert copy.name == "r"
        assert "epochs: 3" in (copy / "config.yaml").read_text()
        assert "logs_dir: logs\n" not in (copy / "config.yaml").read_text()
    assert not copy.exists()
    assert capsys.readouterr().out == ""
    with join_processes(build(TrainConfig)) as config:
        assert config == build(TrainConfig)


def test_processes_with_other_images_or_options_are_refused(second, monkeypatch):
    sent = []
    monkeypatch.setattr(multi_worker, "gather_numbers", lambda number: sent.append(number) or [sent[0], number])
    config = build(TrainConfig, strategy="multi_worker")
    multi_worker.compare_processes(config, [("a", "train")])
    multi_worker.compare_processes(build(TrainConfig, strategy="multi_worker", data="x", name="y"), [("a", "train")])
    for other, images in ((config, [("b", "train")]), (build(TrainConfig, strategy="multi_worker", epochs=3), [])):
        with pytest.raises(UserError, match="process 2 has other options, images or labels than process 1"):
            multi_worker.compare_processes(other, images)


@pytest.mark.parametrize(
    ("raised", "expected", "says"),
    [
        (KeyboardInterrupt("To continue: ..."), KeyboardInterrupt, "^process 2 of 2: stopped$"),
        (UserError("no such data"), UserError, "^process 2 of 2: no such data$"),
        (tf.errors.UnavailableError(None, None, "x"), UserError, "^process 2 of 2: another one has ended or cannot be"),
        (ValueError("a mistake"), ValueError, "^a mistake$"),
    ],
)
def test_a_process_says_why_it_ends_early(second, raised, expected, says):
    with pytest.raises(expected, match=says), join_processes(build(TrainConfig, strategy="multi_worker")):
        raise raised
