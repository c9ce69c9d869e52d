"""Kill a search with trials that only wait: `python -m tests.workbench.sweep.killed_search FOLDER TRIALS KILLS`.

Prints the counts of `benchmarks.kill_stress` as JSON. This process imports TensorFlow once. The command of the search
and its workers are forks of it, so that a restart takes little time. The search writes its trials to trials.csv as a
command does.
"""

import json
import os
import select
import sys
import time
from pathlib import Path

import numpy as np
import psutil

from benchmarks import kill_stress
from workbench.runtime import skip_optional_imports

with skip_optional_imports():
    import keras_tuner

from tests.workbench.sweep.forked import ForkedProcess
from workbench.data.splits.saved_split import SplitImage, write_split
from workbench.files import write_json
from workbench.sweep import worker
from workbench.sweep.hypermodel import TrialHyperModel
from workbench.sweep.outcomes.outcome import CHECKSUM, make_outcome, save_outcome
from workbench.sweep.outcomes.outcome_store import OutcomeStore
from workbench.sweep.results import ResultsRecorder, SweepResults, make_result
from workbench.sweep.tuners import GridSearch
from workbench.sweep.worker_allocation import WorkerAllocation
from workbench.sweep.workers import WorkerPool

CLASSES = [f"class {number}" for number in range(40)]
NUM_WORKERS = 2
NUM_SPARES = 2  # workers forked before the command has threads, to replace the one killed before the command itself


class WaitingHyperModel(TrialHyperModel):
    def build(self, hp):
        return None

    def fit(self, hp, model, *, trial):
        if (trial.folder / "trial.json").exists():
            (trial.folder.parents[1] / "repeated.log").write_text(trial.id)
        score = (hp.get("seed") * 37 % 101) / 101
        time.sleep(0.1)
        trial.report({"epoch": 1, "loss": 1.0, "accuracy": score, "val_loss": 1 - score, "val_accuracy": score})
        logits = np.random.default_rng(hp.get("seed")).normal(size=(len(CLASSES), len(CLASSES)))
        checksum = save_outcome(trial.folder, make_outcome(logits, np.arange(len(CLASSES)), "all"))
        return {"val_accuracy": score, "val_loss": 1 - score, CHECKSUM: checksum}


def stress(folder, num_trials, kills):
    write_json(folder / "classes.json", CLASSES)
    write_split(folder, [SplitImage(f"{name}.jpg", name, "validation", "-") for name in CLASSES])

    def start():
        with open(folder / "command.log", "a") as log:
            return ForkedProcess(lambda: search(folder, num_trials), log)

    return kill_stress.stress(
        start,
        folder,
        kills=kills,
        trials=num_trials,
        seconds=0.2,
        find_workers=lambda command: find_workers(command, folder),
    )


def find_workers(command, folder):
    """Return the workers of a command that have got their orders, without the spare ones."""
    return [child for child in psutil.Process(command).children() if (folder / f"worker-{child.pid}").exists()]


def work(folder):
    select.select([sys.stdin], [], [])  # wait for orders, or the command's end
    (folder / f"worker-{os.getpid()}").touch()
    worker.main()


def search(folder, num_trials):
    with open(folder / "workers.log", "a") as log:
        forks = [ForkedProcess(lambda: work(folder), log) for _ in range(NUM_WORKERS + NUM_SPARES)]
    allocation = WorkerAllocation(NUM_WORKERS)
    pool = WorkerPool(allocation, folder / "workers", start_process=lambda log, environment: forks.pop())
    pool.start()
    hyperparameters = keras_tuner.HyperParameters()
    hyperparameters.Choice("seed", list(range(num_trials)))
    tuner = GridSearch(
        WaitingHyperModel(),
        keras_tuner.Objective("val_accuracy", "max"),
        hyperparameters=hyperparameters,
        order="shuffled",
        directory=str(folder),
        project_name="tuner",
        workers=pool,
    )
    scheduler = tuner.oracle.scheduler
    results = SweepResults({"seed": list(range(num_trials))}, {}, "val_accuracy", "max")
    for trial in scheduler.list_finished():
        results.add(make_result(trial.id, trial.values, trial.result, "val_accuracy"))
    recorder = ResultsRecorder(folder / "trials.csv", results, 5, scheduler.files.get_folder)
    store = OutcomeStore(folder, "all", scheduler.files.get_folder)
    store.open(scheduler.list_finished())
    scheduler.add_listener(
        lambda trial: recorder.add(make_result(trial.id, trial.values, trial.result, "val_accuracy"))
    )
    scheduler.add_listener(store.add)
    tuner.search()
    pool.stop()


if __name__ == "__main__":
    from tests.workbench.sweep import killed_search  # the workers cannot import `__main__`

    print(json.dumps(killed_search.stress(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
