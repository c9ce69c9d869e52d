"""Runs the trials of a sweep: KerasTuner's tuner over our oracle, and the record it leaves."""

import contextlib
import io
import time
import traceback
from pathlib import Path

import keras_tuner
from keras_tuner.engine.trial import TrialStatus

from vision.errors import UserError
from vision.files import read_json, write_json, write_text


class SweepTuner(keras_tuner.GridSearch):
    """KerasTuner's GridSearch over a `GridOracle`.

    The hypermodel's `build(hp)` returns a compiled model and its `fit(hp, model, trial_id=, trial_dir=)`
    trains it and returns the trial's results: the objective and the other `vision.sweep.table.RESULTS`.

    Args:
        hypermodel: a `keras_tuner.HyperModel`.
        oracle: a `vision.sweep.oracle.GridOracle`.
        directory: the sweep's run folder; KerasTuner's project is the folder `tuner` in it.
        on_end: called with each finished trial.
    """

    def __init__(self, hypermodel, oracle, directory, on_end=lambda trial: None):
        self._on_end = on_end
        with contextlib.redirect_stdout(io.StringIO()):  # KerasTuner prints that it reloads
            keras_tuner.Tuner.__init__(self, oracle, hypermodel, directory=str(directory), project_name="tuner")
        self.oracle.reload()

    def _populate_initial_space(self):
        """The space is known; nothing has to be built to find it."""

    def run_trial(self, trial, **kwargs):
        """Build and fit one trial."""
        start = time.perf_counter()
        hp = trial.hyperparameters
        trial_dir = Path(self.get_trial_dir(trial.trial_id))
        model = self.hypermodel.build(hp)
        results = self.hypermodel.fit(hp, model, trial_id=trial.trial_id, trial_dir=trial_dir)
        return {**results, "seconds": time.perf_counter() - start}

    def _try_run_and_update_trial(self, trial, *args, **kwargs):
        """As KerasTuner's, but the message is the reason in one line; the traceback goes beside trial.json."""
        try:
            self._run_and_update_trial(trial, *args, **kwargs)
            trial.status = TrialStatus.COMPLETED
        except (KeyboardInterrupt, OSError):
            raise
        except Exception as error:  # whatever one configuration runs into, the others go on
            trial.status = TrialStatus.FAILED
            trial.message = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
            write_text(Path(self.get_trial_dir(trial.trial_id)) / "error.txt", traceback.format_exc())

    def on_trial_end(self, trial):
        """Record the trial."""
        self.oracle.end_trial(trial)
        self._on_end(self.oracle.get_trial(trial.trial_id))

    def on_search_end(self):
        """Leave a project that KerasTuner's own tools can open."""
        self.save()


def check_same_sweep(folder, identity):
    """Refuse to go on with a sweep that was begun with something else; remember the identity of a new one.

    Args:
        folder: the sweep's run folder.
        identity: name -> what must stay the same between two calls, as JSON values.

    Raises:
        UserError: names what differs.
    """
    path = Path(folder) / "sweep.json"
    before = read_json(path)
    if before is None:
        write_json(path, identity)
        return
    differences = [
        f"{name} was {before.get(name)}, is {identity.get(name)}"
        for name in sorted({*before, *identity})
        if before.get(name) != identity.get(name)
    ]
    if differences:
        raise UserError(
            f"{folder} holds a sweep begun with other settings ({'; '.join(differences)}): "
            "choose another --name, or start anew with --overwrite"
        )
