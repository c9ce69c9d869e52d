"""A search with trials that only wait, to be killed: `python -m tests.workbench.sweep.killed_search FOLDER TRIALS`.

It starts faster than a command, because it imports little else than what a search needs. It writes its trials to
trials.csv as a command does.
"""

import sys
import time
from pathlib import Path

from workbench.runtime import load_tensorflow, skip_optional_imports
from workbench.sweep.workers import WorkerPool


def main():
    folder, num_trials = Path(sys.argv[1]), int(sys.argv[2])
    pool = WorkerPool(2, 0, folder / "workers")
    pool.start()
    load_tensorflow()
    from tests.workbench.sweep.killed_search import search  # the workers cannot import `__main__`

    search(folder, num_trials, pool)


if __name__ == "__main__":
    sys.exit(main())

with skip_optional_imports():
    import keras_tuner

from workbench.sweep.hypermodel import TrialHyperModel
from workbench.sweep.results import ResultsRecorder, SweepResults, make_result
from workbench.sweep.tuners import GridSearch


class WaitingHyperModel(TrialHyperModel):
    def build(self, hp):
        return None

    def fit(self, hp, model, *, trial):
        if (trial.folder / "trial.json").exists():
            (trial.folder.parents[1] / "repeated.log").write_text(trial.id)
        score = (hp.get("seed") * 37 % 101) / 101
        time.sleep(0.1)
        trial.report({"epoch": 1, "loss": 1.0, "accuracy": score, "val_loss": 1 - score, "val_accuracy": score})
        return {"val_accuracy": score, "val_loss": 1 - score}


def search(folder, num_trials, pool):
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
    scheduler.add_listener(
        lambda trial: recorder.add(make_result(trial.id, trial.values, trial.result, "val_accuracy"))
    )
    tuner.search()
    pool.stop()
