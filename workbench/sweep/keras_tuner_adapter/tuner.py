"""A tuner of KerasTuner that runs the trials of a scheduler, in this process or in workers."""

import contextlib
import functools
import gc
import io
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import keras_tuner
import psutil
from keras_tuner.src.engine import tuner_utils
from keras_tuner.src.engine.trial import Trial as KerasTunerTrial
from keras_tuner.src.engine.trial import TrialStatus
from keras_tuner.src.errors import FailedTrialError, FatalError

from workbench.errors import UserError
from workbench.files import write_json, write_text
from workbench.sweep.executor import Executor
from workbench.sweep.hypermodel import TrialHyperModel, TrialRun
from workbench.sweep.keras_tuner_adapter.oracle import SchedulerOracle
from workbench.sweep.keras_tuner_adapter.remote_oracle import RemoteOracle
from workbench.sweep.scheduling.trial import Trial
from workbench.sweep.scheduling.trial_files import TrialFiles
from workbench.sweep.worker_allocation import allocate_workers
from workbench.sweep.workers import WorkerPool

_IDLE_SECONDS = 0.3
_MAX_MEMORY_GROWTH = 2 << 30  # bytes, after which a worker process is replaced: each traced graph stays in memory


class SchedulerTuner(keras_tuner.Tuner):
    """Runs the trials of a `SchedulerOracle`.

    Args:
        oracle: hands out the trials.
        hypermodel: a `keras_tuner.HyperModel`, or a function of the hyperparameters that returns a compiled model.
        workers: number of worker processes of this machine, `auto` for one per GPU or CPU core, or a started executor,
            such as one of a Ray cluster. None or 0 runs the trials in this process.
        on_finish: called with each trial that has finished, such as to show it.
        **kwargs: `directory`, `project_name`, `overwrite`, `executions_per_trial`, and the other arguments of
            `keras_tuner.Tuner`.
    """

    def __init__(
        self,
        oracle: SchedulerOracle,
        hypermodel: keras_tuner.HyperModel | Callable[[keras_tuner.HyperParameters], keras.Model] | None = None,
        *,
        workers: int | str | Executor | None = None,
        on_finish: Callable[[Trial], None] | None = None,
        **kwargs: Any,
    ) -> None:
        self._workers = workers
        self._memory = psutil.Process().memory_info().rss
        self._objective: keras_tuner.Objective | None = None  # in a worker
        is_own = isinstance(hypermodel, TrialHyperModel)
        with contextlib.redirect_stdout(io.StringIO()) if is_own else contextlib.nullcontext():
            super().__init__(oracle, hypermodel, **kwargs)
        self.oracle.verbose = 0 if is_own else self.oracle.verbose
        self.oracle.begin()
        if on_finish:
            self.oracle.scheduler.add_listener(on_finish)

    def reload(self) -> None:
        """Find the search space; the oracle loads the finished trials itself."""
        self._populate_initial_space()

    def _populate_initial_space(self) -> None:
        """Build the model to find the search space, unless the hypermodel is given its whole space."""
        if not isinstance(self.hypermodel, TrialHyperModel):
            super()._populate_initial_space()

    def search(self, *fit_args: Any, **fit_kwargs: Any) -> None:
        """Run trials until there are none.

        Args:
            *fit_args, **fit_kwargs: go to `HyperModel.fit`, and so to `model.fit`.

        Raises:
            RuntimeError: too many trials in a row have failed.
            UserError: the workers cannot run.
        """
        if "verbose" in fit_kwargs:
            self.oracle.verbose = fit_kwargs["verbose"]
        self.on_search_begin()
        if self._workers:
            self._search_with_workers(fit_args, fit_kwargs)
        else:
            while not self.run_trials(*fit_args, **fit_kwargs):
                pass  # this process cannot be replaced
        self.on_search_end()
        if self.oracle.scheduler.error:
            raise RuntimeError(self.oracle.scheduler.error)
        self.save()

    def run_trials(self, *fit_args: Any, **fit_kwargs: Any) -> bool:
        """Run trials in this process.

        Returns:
            True when there are no more, False when this process should be replaced by a fresh one.
        """
        while True:
            self.pre_create_trial()
            trial = self.oracle.create_trial(self.tuner_id)
            if trial.status == TrialStatus.STOPPED:
                return True
            if trial.status == TrialStatus.IDLE:
                time.sleep(_IDLE_SECONDS)
                continue
            self.on_trial_begin(trial)
            with _pause_garbage_collection():
                is_healthy = self._run_and_record(trial, fit_args, fit_kwargs)
            self.on_trial_end(trial)
            if not is_healthy or psutil.Process().memory_info().rss - self._memory > _MAX_MEMORY_GROWTH:
                return False

    def on_trial_end(self, trial: KerasTunerTrial) -> None:
        """Give a trial back to the oracle."""
        self.oracle.end_trial(trial)

    def on_epoch_end(
        self, trial: KerasTunerTrial, model: keras.Model, epoch: int, logs: Mapping[str, float] | None = None
    ) -> None:
        """Stop a trial that is pruned."""
        if self._has_pruner and logs and self.oracle.objective.has_value(logs):
            metrics = {name: float(value) for name, value in logs.items()}
            if self.oracle.update_trial(trial.trial_id, metrics, step=epoch).status == TrialStatus.STOPPED:
                model.stop_training = True

    def load_model(self, trial: KerasTunerTrial) -> keras.Model:
        """Return the model of a finished trial with the weights of its best epoch."""
        if isinstance(self.hypermodel, TrialHyperModel):
            folder = Path(self.get_trial_dir(trial.trial_id))
            return self.hypermodel.build_best_model(trial.hyperparameters, folder)
        return super().load_model(trial)

    def _run_and_record(self, trial: KerasTunerTrial, fit_args: tuple, fit_kwargs: dict[str, Any]) -> bool:
        """Run one trial and write its result into a folder of this worker: another one may run the trial, too.

        Returns:
            Whether the process is healthy: it is not after an error that was not the user's, such as out of memory.

        Raises:
            OSError: the disk is full or cannot be written, which is not the trial's fault.
            FatalError: the hypermodel cannot be used.
        """
        folder = TrialFiles(self.project_dir).open_attempt(trial.trial_id, self.tuner_id)
        start, started, is_healthy = time.perf_counter(), time.time(), True
        given = len(trial.hyperparameters.space)
        try:
            result = self._run(trial, folder, fit_args, fit_kwargs)
            trial.status = TrialStatus.COMPLETED
        except (OSError, FatalError):
            raise
        except Exception as error:  # whatever one trial runs into, the others are run
            is_expected = isinstance(error, UserError | FailedTrialError)
            is_healthy = is_expected
            name = "" if is_expected else f"{type(error).__name__}: "
            trial.status, trial.message = TrialStatus.INVALID, traceback.format_exc()
            result = {
                "status": "failed",
                "reason": f"{name}{' '.join(str(error).split())}"[:300],
                "may_retry": not isinstance(error, FailedTrialError),
            }
            write_text(folder / "error.txt", traceback.format_exc())
        if len(trial.hyperparameters.space) > given:
            result["hyperparameters"] = trial.hyperparameters.get_config()
        timing = {"seconds": time.perf_counter() - start, "started": started, "worker": self.tuner_id}
        write_json(folder / "result.json", {"status": "completed", "reason": "", **result, **timing})
        return is_healthy

    def _run(self, trial: KerasTunerTrial, folder: Path, fit_args: tuple, fit_kwargs: dict[str, Any]) -> dict[str, Any]:
        """Run one trial and return its result."""
        if isinstance(self.hypermodel, TrialHyperModel):
            model = self.hypermodel.build(trial.hyperparameters)
            run = TrialRun(trial.trial_id, folder, functools.partial(self._report, trial))
            return self.hypermodel.fit(trial.hyperparameters, model, *fit_args, trial=run, **fit_kwargs)
        results = self.run_trial(trial, *fit_args, **dict(fit_kwargs))
        objective = self.oracle.objective
        tuner_utils.validate_trial_results(results, objective, "Tuner.run_trial()")
        metrics = {k: float(v) for k, v in tuner_utils.convert_to_metrics_dict(results, objective).items()}
        step = tuner_utils.get_best_step(results, objective)
        if not self._has_pruner:
            self.oracle.update_trial(trial.trial_id, metrics, step=step)
        return {"may_retry": True, **metrics, "best_step": step}  # a score that is no number may be one the next time

    def _report(self, trial: KerasTunerTrial, epoch: Mapping[str, float]) -> bool:
        """Report an epoch of a trial, and return whether the trial should stop there."""
        metrics = {name: float(epoch[name]) for name in ("loss", "accuracy", "val_loss", "val_accuracy")}
        answer = self.oracle.update_trial(trial.trial_id, metrics, step=int(epoch["epoch"]))
        return answer.status == TrialStatus.STOPPED

    @functools.cached_property
    def _has_pruner(self) -> bool:
        return isinstance(self.oracle, SchedulerOracle) and self.oracle.has_pruner

    # Workers.

    def _search_with_workers(self, fit_args: tuple, fit_kwargs: dict[str, Any]) -> None:
        """Let workers run trials until the sweep is complete, and end the executor that this tuner was given."""
        if self.oracle.scheduler.is_complete():
            if self._workers is not None and not isinstance(self._workers, int | str):
                self._workers.stop()  # it would keep its CPUs and GPUs
            return
        executor = self._make_executor()
        try:
            executor.run((self, fit_args, fit_kwargs), self.oracle)
        finally:
            executor.stop()

    def _make_executor(self) -> Executor:
        """Return the executor that this tuner was given, or a started one of this machine."""
        workers = self._workers
        if workers is not None and not isinstance(workers, int | str):
            return workers
        allocation = allocate_workers("auto" if workers == "auto" else int(workers or 0))
        pool = WorkerPool(allocation, Path(self.project_dir) / "workers")
        pool.start()
        return pool

    def __getstate__(self) -> dict[str, Any]:
        """Return what a worker gets: everything but the oracle, which stays here, and the workers."""
        own = {"_has_pruner": self._has_pruner, "_workers": None, "oracle": None}
        return {**self.__dict__, **own, "_objective": self.oracle.objective}

    def list_folders(self) -> dict[str, Path]:
        """Return the folders in which trials leave files: name -> folder."""
        own = self.hypermodel.list_folders() if isinstance(self.hypermodel, TrialHyperModel) else {}
        return {"tuner": Path(self.project_dir), **own}

    def move_folders(self, folders: Mapping[str, Path], load_dataset: Callable[[int], Any]) -> None:
        """Use other folders, and the command's data set: this is a worker on another machine.

        Args:
            folders: with the names of `list_folders`.
            load_dataset: as for `TrialHyperModel.move_folders`.
        """
        self.directory = str(folders["tuner"].parent)
        if isinstance(self.hypermodel, TrialHyperModel):
            self.hypermodel.move_folders(folders, load_dataset)

    def connect(self, ask: Callable[..., Any], worker: str) -> None:
        """Make this tuner, which has come from another process, one of the workers of that process.

        Args:
            ask: sends a call of the oracle to the other process, see `RemoteOracle`.
            worker: name of this worker.
        """
        self.tuner_id, self._memory = worker, psutil.Process().memory_info().rss
        self.oracle = RemoteOracle(self._objective, ask)


@contextlib.contextmanager
def _pause_garbage_collection() -> Iterator[None]:
    """Do not let Python search TensorFlow's many objects for garbage in this block, which takes 0.2 s each time."""
    gc.disable()
    try:
        yield
    finally:
        gc.collect(1)
        gc.enable()
