"""Trials an hour of a sweep against plain KerasTuner on the same model and data, and whether memory stays flat.

    python -m benchmarks.sweep_speed [--plain-trials 24] [--long]

96 one-epoch trials on the embedded digits: 8 filters, activation x batch_norm x dropout x learning_rate (8 graphs), all
workers, start-up included, next to keras_tuner.GridSearch in one process on the first `--plain-trials` of the
same points (it slows down as it goes on, so that fewer trials flatter it). `--long` runs 300 trials instead and
prints how memory and speed change once every graph has been traced; no peer.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from workbench.files import read_csv

SPACE = """
parameters:
  epochs: {{value: 1}}
  num_filters: {{value: 8}}
  activation: {{values: [mish, gelu, relu, silu]}}
  batch_norm: {{values: [true, false]}}
  dropout: {{values: [0.2, 0.3, 0.4, 0.5]}}
  learning_rate: {{values: [0.001, 0.005, 0.0001]}}
  seed: {{values: {seeds}}}
"""


def ours(trials, seeds):
    """Run the sweep; (seconds, rows of trials.csv, [(seconds, resident bytes of the process tree)])."""
    with tempfile.TemporaryDirectory() as folder:
        space = Path(folder) / "space.yaml"
        space.write_text(SPACE.format(seeds=seeds))
        words = [f"--space={space}", f"--max-trials={trials}", "--name=s"]
        words += [f"--runs-dir={folder}/runs", f"--logs-dir={folder}/logs"]
        start = time.time()
        process = subprocess.Popen([sys.executable, "-m", "cnn_scratch.tune", *words], stdout=subprocess.DEVNULL)
        memory = []
        watcher = threading.Thread(target=_watch, args=(process.pid, memory))
        watcher.start()
        if process.wait() != 0:
            raise SystemExit("the sweep failed")
        seconds = time.time() - start
        watcher.join()
        return seconds, read_csv(Path(folder) / "runs" / "s" / "trials.csv"), memory


def _watch(pid, memory):
    while True:
        try:
            parent = psutil.Process(pid)
            tree = [parent, *parent.children(recursive=True)]
            memory.append((time.time(), sum(process.memory_info().rss for process in tree)))
        except psutil.Error:
            return
        time.sleep(0.5)


def plain(trials):
    """keras_tuner.GridSearch as its documentation shows it, on the same model, data and points; seconds."""
    start = time.time()
    code = f"from benchmarks.sweep_speed import plain_search; plain_search({trials})"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.time() - start


def plain_search(trials):
    """What `plain` runs in a process of its own."""
    from workbench.runtime import load_tensorflow

    load_tensorflow()
    import keras
    import keras_tuner

    from cnn_scratch.model import NetworkConfig, build_cnn
    from workbench.data.dataset import DataConfig, load_dataset

    dataset = load_dataset(DataConfig(), 0)
    train = dataset.images[dataset.train], dataset.labels[dataset.train]
    validation = dataset.images[dataset.validation], dataset.labels[dataset.validation]

    def build(hp):
        config = NetworkConfig(
            num_filters=8,
            activation=hp.Choice("activation", ["mish", "gelu", "relu", "silu"]),
            batch_norm=hp.Boolean("batch_norm", True),
            dropout=hp.Choice("dropout", [0.2, 0.3, 0.4, 0.5]),
        )
        model = build_cnn(config, 32, 10)
        rate = hp.Choice("learning_rate", [0.001, 0.005, 0.0001])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"], jit_compile=False)
        return model

    with tempfile.TemporaryDirectory() as folder:
        tuner = keras_tuner.GridSearch(build, "val_accuracy", max_trials=trials, directory=folder, project_name="plain")
        tuner.search(*train, validation_data=validation, epochs=1, batch_size=32, verbose=0)


def compare(plain_trials):
    seconds, rows, _ = ours(96, [0])
    failed = sum(row["status"] != "completed" for row in rows)
    hourly = 3600 * len(rows) / seconds
    print(f"this sweep:       {len(rows)} trials ({failed} failed) in {seconds:.1f} s, {hourly:,.0f} trials an hour")
    plain_seconds = plain(plain_trials)
    plain_hourly = 3600 * plain_trials / plain_seconds
    print(f"plain KerasTuner: {plain_trials} trials in {plain_seconds:.1f} s, {plain_hourly:,.0f} trials an hour")
    print(f"ratio: {hourly / plain_hourly:.1f}")


def long():
    seconds, rows, memory = ours(300, [0, 1, 2, 3])
    ends = sorted(float(row["ended"]) for row in rows)
    rate = {name: (last - first) / 50 for name, first, last in (
        ("trials 100 to 150", ends[99], ends[149]), ("the last 50", ends[249], ends[299]),
    )}  # fmt: skip
    traced = ends[99]  # every graph has been traced by then
    before = max(size for at, size in memory if traced - 3 <= at <= traced + 1)
    after = max(size for at, size in memory if at >= ends[299] - 3)
    print(f"{len(rows)} trials in {seconds:.1f} s")
    print("; ".join(f"{name}: {1000 * each:.0f} ms a trial" for name, each in rate.items()))
    print(f"memory of all processes: {before / 1e9:.2f} GB after 100 trials, {after / 1e9:.2f} GB at the end", end=" ")
    print(f"({after / before - 1:+.1%})")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plain-trials", type=int, default=24)
    parser.add_argument("--long", action="store_true")
    arguments = parser.parse_args()
    long() if arguments.long else compare(arguments.plain_trials)


if __name__ == "__main__":
    main()
