"""The loop of a worker: ask the oracle for a trial, run it, report it."""

import contextlib
import functools
import gc
import io
import time
import traceback
from pathlib import Path

import keras_tuner
from keras_tuner.engine.trial import TrialStatus

from workbench.errors import UserError
from workbench.files import write_json, write_text

_IDLE_SECONDS = 0.3


class SweepTuner(keras_tuner.GridSearch):
    """KerasTuner's tuner over one of our oracles, in this process or, by its protocol, in another.

    The hypermodel's `build(hp)` returns a compiled model. Its `fit(hp, model, trial_id=, trial_dir=, report=)`
    trains it and returns the trial's results as JSON values; it calls `report(row)` after each epoch, and
    stops early where that returns True. Its `worn_out()` tells when the process should be replaced.

    Args:
        hypermodel: a `keras_tuner.HyperModel`.
        oracle: a `workbench.sweep.oracle.TrialKeeper`; in a worker, any oracle with the same objective.
        folder: the sweep's run folder; KerasTuner's project is the folder `tuner` in it.
    """

    def __init__(self, hypermodel, oracle, folder):
        with contextlib.redirect_stdout(io.StringIO()):  # it tells of reloading what the oracle has loaded
            keras_tuner.Tuner.__init__(self, oracle, hypermodel, directory=str(folder), project_name="tuner")

    def _populate_initial_space(self):
        """The space is known; nothing has to be built to find it."""

    def search(self):
        """Run trials until there are none.

        Returns:
            True when the sweep is done, False when this process should be replaced by a fresh one.
        """
        while True:
            trial = self.oracle.create_trial(self.tuner_id)
            if trial.status == TrialStatus.STOPPED:
                return True
            if trial.status == TrialStatus.IDLE:
                time.sleep(_IDLE_SECONDS)
                continue
            with _collector_paused():
                sound = self.run_trial(trial)
            if self.hypermodel.worn_out() or not sound:
                return False

    def run_trial(self, trial):
        """Run one trial and report it, whatever comes of it.

        Returns:
            Whether the process is sound: it is not after an error that was not the user's, such as out of
            memory.

        Raises:
            OSError: the disk is full or cannot be written, which is no fault of the trial.
        """
        trial_dir = Path(self.project_dir) / f"trial_{trial.trial_id}"
        trial_dir.mkdir(parents=True, exist_ok=True)
        start, started = time.perf_counter(), time.time()
        sound = True
        try:
            model = self.hypermodel.build(trial.hyperparameters)
            report = functools.partial(self._report, trial)
            results = self.hypermodel.fit(
                trial.hyperparameters, model, trial_id=trial.trial_id, trial_dir=trial_dir, report=report
            )
        except OSError:
            raise
        except Exception as error:  # whatever one configuration runs into, the others go on
            sound = isinstance(error, UserError)
            name = "" if sound else f"{type(error).__name__}: "
            results = {"status": "failed", "reason": f"{name}{' '.join(str(error).split())}"[:300]}
            write_text(trial_dir / "error.txt", traceback.format_exc())
        timing = {"seconds": time.perf_counter() - start, "started": started, "worker": self.tuner_id}
        write_json(trial_dir / "result.json", {"status": "completed", "reason": "", **results, **timing})
        self.oracle.end_trial(trial)
        return sound

    def _report(self, trial, row):
        metrics = {name: float(row[name]) for name in ("loss", "accuracy", "val_loss", "val_accuracy")}
        answer = self.oracle.update_trial(trial.trial_id, metrics, step=row["epoch"])
        return answer.status == TrialStatus.STOPPED


@contextlib.contextmanager
def _collector_paused():
    """Within the block Python does not search TensorFlow's hundreds of thousands of objects for garbage.

    That takes a fifth of a second each time. What the block leaves behind is collected at its end.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.collect(1)
        gc.enable()
