"""A sweep while it runs: the arguments of its tuner, the record of its trials, and its winner."""

import contextlib
import dataclasses
import functools
import shlex
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import keras
import keras_tuner
import numpy as np

from workbench import cli
from workbench.commandline.calls import format_call
from workbench.config import parse_duration, replace
from workbench.console import console
from workbench.errors import UserError
from workbench.files import format_bytes, read_json, write_json, write_text
from workbench.reporting.run_report import leave_report
from workbench.saved_metrics import find_damage
from workbench.sweep.analysis.repeated_trial import RepeatedTrial
from workbench.sweep.analysis.sweep_analysis import analyse_sweep, write_analysis
from workbench.sweep.config import get_trial_limit
from workbench.sweep.cost import print_cost
from workbench.sweep.executor import Executor
from workbench.sweep.image_hypermodel import TrialDefaults
from workbench.sweep.keras_tuner_adapter.space import make_hyperparameters, make_objective
from workbench.sweep.keras_tuner_adapter.tuner import SchedulerTuner
from workbench.sweep.outcomes.outcome_store import OutcomeStore
from workbench.sweep.progress import SweepProgress, tabulate_best_trials
from workbench.sweep.repeats import repeat_finalists
from workbench.sweep.results import ResultsRecorder, SweepResults, TrialResult, make_result
from workbench.sweep.scheduling.pruning import PRUNERS, HalvingPruner
from workbench.sweep.scheduling.scheduler import Scheduler
from workbench.sweep.scheduling.trial import Trial
from workbench.sweep.space import Space
from workbench.sweep.status import RunningTrial, SweepStatus, publish_status
from workbench.training.augmentation_options import reset_unused_augmentation
from workbench.training.checkpoints import save_model
from workbench.training.estimates import record_estimate
from workbench.training.run_folder import RunFolder, dump_config
from workbench.wording import agree, format_count

PROJECT = "tuner"  # name of KerasTuner's project in the sweep's folder


@dataclasses.dataclass
class Sweep:
    """A sweep whose folder this process holds.

    Attributes:
        config: the command's configuration, resolved.
        asked: the same as the user typed it; used to print the command that continues.
        folder: the sweep's run folder.
        space: what it varies.
        trial_defaults: what its trials have in common.
        command, train_command: modules of the command that sweeps, and of the one that trains one network.
        executor: the workers, started; None where the trials run in this process.
        device: what the trials compute on.
        results: the finished trials; `track` adds them.
        ended: why the search has ended, see `SweepStatus`; set by `track`.
        repeated: the trials that were trained again with other seeds; set by `repeat_finalists`.
    """

    config: Any
    asked: Any
    folder: RunFolder
    space: Space
    trial_defaults: TrialDefaults
    command: str
    train_command: str
    executor: Executor | None
    device: str
    results: SweepResults
    ended: Literal["", "complete", "budget"] = ""
    repeated: Sequence[RepeatedTrial] = ()

    @property
    def tuner(self) -> str:
        """Name of the tuner."""
        return self.config.search.tuner

    @property
    def search_options(self) -> dict[str, Any]:
        """The arguments of the tuner, but for the hypermodel, directory and workers."""
        search, space, max_epochs = self.config.search, self.space, self.space.max_epochs
        hyperparameters, limit, own = make_hyperparameters(space), get_trial_limit(search), dict[str, Any]()
        if search.tuner in ("grid", "random"):
            pruner = PRUNERS[search.prune](space.direction, max_epochs) if search.prune != "off" else None
            if search.prune == "halving" and space.halving:
                pruner = HalvingPruner(space.direction, max_epochs, space.halving.rungs, space.halving.factor)
            own = {"grid": space.grid, "pruner": pruner}
        if search.tuner == "random":
            own["draws"] = space.list_draws()
        if search.tuner == "grid":
            own |= {"order": search.order, "max_consecutive_failed_trials": None}
        elif search.tuner == "bayesian":
            limit = limit or space.num_points
            if all(drawn.step is not None for drawn in space.distributions.values()):  # else there is no last point
                limit = min(limit, space.num_points)
        elif search.tuner == "hyperband":
            known, hyperparameters = hyperparameters, keras_tuner.HyperParameters()
            hyperparameters.merge([hp for hp in known.space if hp.name != "epochs"])  # it chooses the epochs itself
            own = {"max_epochs": max_epochs}
        return {
            "objective": make_objective(space),
            "max_trials": limit,
            "seed": search.seed,
            "hyperparameters": hyperparameters,
            "budget": parse_duration(search.budget),
            "project_name": PROJECT,
            **own,
        }

    @contextlib.contextmanager
    def track(self, tuner: SchedulerTuner) -> Iterator[None]:
        """Show a search while it runs, and write its trials to trials.csv as they finish."""
        scheduler, search = tuner.oracle.scheduler, self.config.search
        for trial in scheduler.list_finished():
            self.results.add(self._make_result(trial))
        recorder = ResultsRecorder(
            self.folder.path / "trials.csv", self.results, search.keep, scheduler.files.get_folder
        )
        if self.executor:
            make = functools.partial(make_result, values={}, metric=self.space.metric)
            self.executor.choose_weights(lambda trial, result: recorder.may_keep(make(trial, result=result)))
        outcomes = self._open_outcomes(scheduler)
        kind = f"{self.command} --tuner {search.tuner}"
        expected = print_cost(scheduler, self.space, tuner.hypermodel, self.executor, search, kind)

        def list_running() -> list[RunningTrial]:
            return [self._describe_running(worker, trial) for worker, trial in scheduler.list_running()]

        total = scheduler.source.count_trials()
        progress = SweepProgress(self.results, total, list_running, has_estimate=expected is not None)

        def finish(trial: Trial) -> None:
            result = self._make_result(trial)
            recorder.add(result)
            if outcomes:
                outcomes.add(trial)
            progress.show(result)

        def describe() -> SweepStatus:
            return SweepStatus(
                total=total,
                workers=self.executor.count_workers() if self.executor else 0,
                seconds_left=progress.estimate_seconds_left(),
                running=tuple(list_running()),
                updated=time.time(),
                ended=self.ended,
            )

        scheduler.add_listener(finish)
        start = time.perf_counter()
        with publish_status(self.folder.path, describe), progress:
            yield
            self.ended = "budget" if scheduler.is_out_of_time else "complete"
        if expected and self.ended == "complete":
            record_estimate(kind, expected, time.perf_counter() - start)

    def repeat_finalists(self, tuner: SchedulerTuner) -> None:
        """Train the best trials again with other seeds, if the command asks for it."""
        if self.config.search.repeat:
            self.repeated = repeat_finalists(self.config, self.trial_defaults, type(tuner.hypermodel), self.results)

    def save_winner(self, tuner: SchedulerTuner) -> None:
        """Leave the best trial's model and configuration in the folder.

        A model that is in the folder already is not saved again, because its file would have another hash. Its test and
        its calibration stay valid.

        Raises:
            UserError: no trial could be completed; quotes the first one's reason.
        """
        best = self.results.best
        if best is None:
            failed = sorted(self.results.failed, key=lambda trial: trial.id)
            if not failed:
                raise UserError("no trial could be completed: the budget is too small for one")
            if len(failed) == 1:
                raise UserError(f"the only trial could not be completed: {failed[0].reason}")
            raise UserError(f"none of the {len(failed):,} trials could be completed; the first: {failed[0].reason}")
        path, trial = self.folder.path, tuner.oracle.get_trial(best.id)
        config = reset_unused_augmentation(tuner.hypermodel.read_config(trial.hyperparameters))
        precision = tuner.oracle.scheduler.trials[best.id].result.get("precision")
        if precision:  # a sweep of an earlier version did not record it
            config = replace(config, precision=precision)
        model, before = tuner.load_model(trial), read_json(path / "metrics.json")
        is_same = isinstance(before, dict) and before.get("trial") == best.id
        is_saved = is_same and _has_weights(path / "model.keras", model)
        if not is_saved:
            save_model(model, path / "model.keras")
        kept = {"test": before["test"]} if is_saved and "test" in before and not find_damage(before) else {}
        write_text(path / "best.yaml", dump_config(config))
        facts = {"trials": len(self.results), "train_module": self.train_command, "device": self.device}
        write_json(path / "metrics.json", {**best.to_row(), **facts, **kept})

    def print_summary(self) -> None:
        """Print the best trials, what is expected of them, where everything is, and what can be done next."""
        path, asked, num_trials = self.folder.path, self.asked, len(self.results)
        console.print()
        console.print(tabulate_best_trials(self.results), soft_wrap=False)
        if self.results.failed:
            failed = len(self.results.failed)
            reasons = agree(failed, "its reason is", "their reasons are")
            trials = format_count(num_trials, "trial")
            console.print(f"{failed:,} of {trials} failed; {reasons} in {path / 'trials.csv'}")
        analysis = analyse_sweep(path, self.results)
        if analysis:
            write_analysis(path, analysis)
            console.print(*analysis.describe(), sep="\n")
        for trial in self.repeated:
            console.print(trial.describe())
        if self.ended == "budget":
            console.print(f"no further trial fits into the budget of {asked.search.budget}")
        best = shlex.quote(str(path / "best.yaml"))
        lines = [
            ("every trial", path / "trials.csv"),
            ("best model", path / "model.keras"),
            ("its settings", path / "best.yaml"),
            ("report", leave_report(path)),
            ("curves and HParams", f"tensorboard --logdir {asked.run.logs_dir}"),
            ("train the best again", f"{format_call(self.train_command)} --config {best}"),
        ]
        is_endless = self.space.is_endless(self.tuner)
        if is_endless or num_trials < self.space.num_points:
            most = 4 * num_trials if is_endless else min(4 * num_trials, self.space.num_points)
            command = format_command(self.command, replace(asked, max_trials=most, budget=None))
            lines.append(("more trials", command if is_endless else f"{command}   (or all: {self.space.num_points:,})"))
        if asked.data.data == "digits":
            lines.append(
                ("your own photos", f"{format_call(self.command)} --data FOLDER   (one folder of images a class)")
            )
        console.print()
        for what, where in lines:
            console.print(f"{what + ':':22}{where}")

    def _open_outcomes(self, scheduler: Scheduler) -> OutcomeStore | None:
        """Open the array of the trials' outcomes, and print how large it may become; None where none are kept."""
        kind = self.trial_defaults.outcomes
        if kind == "none":
            return None
        store = OutcomeStore(self.folder.path, kind, scheduler.files.get_folder)
        store.open(scheduler.list_finished())
        trials, images = scheduler.source.count_trials(), format_count(store.format.images, "validation image")
        most = format_bytes(trials * store.format.num_bytes)
        console.print(f"outcomes: up to {most} ({format_count(trials, 'trial')}, {images})")
        return store

    def _make_result(self, trial: Trial) -> TrialResult:
        return make_result(trial.id, self.space.decode(trial.values), trial.result, self.space.metric)

    def _describe_running(self, worker: str, trial: Trial) -> RunningTrial:
        accuracies = dict(trial.reports.get("val_accuracy", {}))  # a copy: another thread adds epochs
        epoch = max(accuracies) if accuracies else None
        accuracy = None if epoch is None else accuracies[epoch]
        return RunningTrial(worker, trial.id, self.space.decode(trial.values), epoch, accuracy)


def _has_weights(path: Path, model: keras.Model) -> bool:
    """Return whether a file holds a model with the weights of this one."""
    try:
        saved = keras.saving.load_model(path, compile=False).get_weights()
    except Exception:  # a damaged file can raise nearly any exception in the loader
        return False
    weights = model.get_weights()
    return len(saved) == len(weights) and all(map(np.array_equal, saved, weights))


def format_command(command: str, config: Any) -> str:
    """Return the command line that has this configuration."""
    return f"{format_call(command)}{cli.format_options(config, skip={'overwrite'})}"
