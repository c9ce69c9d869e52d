"""Trainings in two processes, which are connected once and train several networks one after the other."""

import contextlib
import json
import os
import shlex
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np

from cnn_scratch.config import TrainConfig
from cnn_scratch.train import train
from tests.processes import PIPE, Process
from transfer.run import run
from workbench import cli
from workbench.config import build, replace
from workbench.files import read_csv

CODE = """
import faulthandler, importlib, json, os, sys
faulthandler.dump_traceback_later(600, exit=True)  # if the processes wait for each other for ever
for module, words in json.loads(sys.argv[1]):
    if module == "kill the second one":
        if json.loads(os.environ["TF_CONFIG"])["task"]["index"]:
            os.kill(os.getpid(), 9)
    else:
        print(module, importlib.import_module(module).main(words), flush=True)
        sys.stderr.flush()
"""


def find_free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for free in sockets:
            free.bind(("127.0.0.1", 0))
        return [free.getsockname()[1] for free in sockets]


def call_in_two_processes(calls):
    """Call the main functions of some modules in two processes; return what each one printed: (output, errors)."""
    addresses = [f"127.0.0.1:{port}" for port in find_free_ports(2)]
    started = []
    for index in (0, 1):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        command = [sys.executable, "-c", CODE, json.dumps(calls)]
        started.append(Process(command, {**os.environ, "TF_CONFIG": json.dumps(task)}, stdout=PIPE, stderr=PIPE))
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(Process.communicate, started))


def format_words(config, **changes):
    return shlex.split(cli.format_options(replace(config, strategy="multi_worker", **changes)))


def read_losses(folder):
    rows = read_csv(Path(folder) / "history.csv")
    return [[float(row[column]) for column in ("loss", "val_loss", "val_accuracy")] for row in rows]


def test_two_processes_train_with_the_losses_of_one(scratch, config):
    data, _ = scratch
    network = {"image_size": 32, "num_filters": 8, "dense_units": 16, "dropout": 0.0}
    training = {"batch_size": 8, "data_aug": True, "ema": 0.5, "patience": 9, "epochs": 2}
    small = build(TrainConfig, data=str(data), name="one", **network, **training)
    stored = {"dropout": 0.0, "schedule": "constant", "precision": "float32", "feature_precision": "float32"}
    tuned = replace(config, name="tuned", **stored)
    first, second = call_in_two_processes(
        [
            ("cnn_scratch.train", format_words(small, name="two")),
            ("transfer.run", format_words(tuned, name="tuned-by-two", epochs=1)),
            ("transfer.run", ["--resume=runs/tuned-by-two", "--epochs=2"]),
            ("cnn_scratch.train", format_words(small, name="odd", batch_size=7)),
            ("kill the second one", []),
            ("cnn_scratch.train", format_words(small, name="lost")),
        ]
    )
    calls = ["cnn_scratch.train 0", "transfer.run 0", "transfer.run 0", "cnn_scratch.train 2"]
    assert second[0].splitlines() == calls, second
    refusal, end = first[1].splitlines()
    assert refusal.startswith("error: --batch-size 7: 2 devices share each batch")
    assert second[1] == refusal.replace("error: ", "error: process 2 of 2: ") + "\n"
    assert end.startswith("error: process 1 of 2: another one has ended or cannot be reached")
    assert "run folder:  runs/two\n" in first[0]
    assert sorted(path.name for path in Path("runs").iterdir() if path.is_dir()) == ["tuned-by-two", "two"]

    for one, two in ((train(small), Path("runs/two")), (run(tuned), Path("runs/tuned-by-two"))):
        np.testing.assert_allclose(read_losses(one), read_losses(two), rtol=1e-3)
        best = [json.loads((folder / "metrics.json").read_text())["best_epoch"] for folder in (one, two)]
        assert best[0] == best[1]
        models = [keras.saving.load_model(folder / "model.keras").get_weights() for folder in (one, two)]
        for weight, other in zip(*models, strict=True):
            np.testing.assert_allclose(weight, other, atol=1e-3)
