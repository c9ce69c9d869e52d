"""What the commands that sweep have in common: the sweep's folder, its record, its winner."""

import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras_tuner

from workbench import cli
from workbench.config import TrainingConfig, build, flatten, option_names, parse_duration, replace
from workbench.console import console, show_decoding
from workbench.data.dataset import Dataset, choose_image_size, describe, load_dataset
from workbench.data.sources import open_source
from workbench.errors import UserError
from workbench.files import read_json, write_json, write_text
from workbench.reporting.run_report import leave_report
from workbench.sweep.config import check_sweep, get_trial_limit, parse_address
from workbench.sweep.cost import print_cost
from workbench.sweep.image_hypermodel import ImageHyperModel, TrialPlan
from workbench.sweep.keras_tuner_adapter.tuner import SchedulerTuner
from workbench.sweep.progress import RunningTrial, SweepProgress, tabulate_best_trials
from workbench.sweep.pruning import PRUNERS
from workbench.sweep.results import ResultsRecorder, SweepResults, TrialResult, make_result
from workbench.sweep.space import Space, read_space
from workbench.sweep.trial import Trial
from workbench.sweep.workers import WorkerPool, has_all_trials, start_workers, take_started_workers
from workbench.training.checkpoints import save_model
from workbench.training.estimates import record_estimate
from workbench.training.run_folder import RunFolder, dump_config, read_config
from workbench.training.tracking import describe_sweep

_TICK = 0.1  # seconds between two looks at the workers
_SHIPPED = Path(__file__).parents[2]  # the default spaces are found from any working directory
_IDENTITY = ("data", "image_size", "resize", "tuner", "order", "seed", "split_seed", "prune")
PROJECT = "tuner"  # name of KerasTuner's project in the sweep's folder


@dataclasses.dataclass
class Sweep:
    """A sweep whose folder this process holds.

    Attributes:
        config: the command's configuration, resolved.
        asked: the same as the user gave it, and so what to type to continue.
        folder: the sweep's run folder.
        space: what it varies.
        plan: what its trials have in common.
        command, train_command: modules of the command that sweeps, and of the one that trains one network.
        pool: the worker processes, started; None where the trials run in this process.
        results: the finished trials; `record` adds them.
        is_out_of_time: whether the budget has ended the search; set by `record`.
    """

    config: Any
    asked: Any
    folder: RunFolder
    space: Space
    plan: TrialPlan
    command: str
    train_command: str
    pool: WorkerPool | None
    results: SweepResults
    is_out_of_time: bool = False

    @property
    def search_options(self) -> dict[str, Any]:
        """The arguments of the tuner that `--tuner` names, but for the hypermodel, objective, directory and workers."""
        search, space, max_epochs = self.config.search, self.space, find_max_epochs(self.space)
        hyperparameters, limit, own = space.hyperparameters, get_trial_limit(search), dict[str, Any]()
        if search.tuner in ("grid", "random"):
            pruner = PRUNERS[search.prune](space.direction, max_epochs) if search.prune != "off" else None
            own = {"grid": space.grid, "pruner": pruner}
        if search.tuner == "grid":
            own |= {"order": search.order, "max_consecutive_failed_trials": None}
        elif search.tuner == "bayesian":
            limit = min(limit or len(space), len(space))
        elif search.tuner == "hyperband":
            hyperparameters = keras_tuner.HyperParameters()  # it chooses the epochs itself
            hyperparameters.merge([hp for hp in space.hyperparameters.space if hp.name != "epochs"])
            own = {"max_epochs": max_epochs}
        return {
            "max_trials": limit,
            "seed": search.seed,
            "hyperparameters": hyperparameters,
            "budget": parse_duration(search.budget),
            "project_name": PROJECT,
            "address": parse_address(self.config.workers.oracle_address),
            "is_chief": self.config.workers.chief,
            **own,
        }

    @contextlib.contextmanager
    def record(self, tuner: SchedulerTuner) -> Iterator[None]:
        """Show a search while it runs, and write its trials to trials.csv as they finish."""
        scheduler, search = tuner.oracle.scheduler, self.config.search
        for trial in scheduler.list_finished():
            self.results.add(self._make_result(trial))
        recorder = ResultsRecorder(
            self.folder.path / "trials.csv", self.results, search.keep, scheduler.files.get_folder
        )
        kind, expected = f"{self.command} --tuner {search.tuner}", None
        if not self.config.workers.chief:  # the number of a chief's workers is not known
            expected = print_cost(scheduler, self.space, tuner.hypermodel, self.pool, search, kind)

        def list_running() -> list[RunningTrial]:
            return [self._describe_running(worker, trial) for worker, trial in scheduler.list_running()]

        total = scheduler.source.count_trials()
        progress = SweepProgress(self.results, total, list_running, has_estimate=expected is not None)

        def finish(trial: Trial) -> None:
            result = self._make_result(trial)
            recorder.add(result)
            progress.show(result)

        scheduler.on_finish = finish
        start = time.perf_counter()
        with progress:
            yield
        if expected and not scheduler.is_out_of_time:
            record_estimate(kind, expected, time.perf_counter() - start)
        self.is_out_of_time = scheduler.is_out_of_time

    def save_winner(self, tuner: SchedulerTuner) -> None:
        """Leave the best trial's model and configuration in the folder, and print where everything is.

        Raises:
            UserError: no trial could be completed; quotes the first one's reason.
        """
        best = self.results.best
        if best is None:
            failed = sorted(self.results.failed, key=lambda trial: trial.id)
            first = failed[0].reason if failed else "the budget is too small for one"
            raise UserError(f"none of the {len(failed)} trials could be completed; the first: {first}")
        path, trial = self.folder.path, tuner.oracle.get_trial(best.id)
        config = tuner.hypermodel.read_config(trial.hyperparameters)
        precision = tuner.oracle.scheduler.trials[best.id].result.get("precision")
        if precision:  # a sweep of an earlier version did not record it
            config = replace(config, precision=precision)
        save_model(tuner.load_model(trial), path / "model.keras")
        write_text(path / "best.yaml", dump_config(config))
        facts = {"trials": len(self.results), "train_module": self.train_command}
        write_json(path / "metrics.json", {**best.to_row(), **facts})
        self._print_summary()

    def _make_result(self, trial: Trial) -> TrialResult:
        return make_result(trial.id, self.space.decode(trial.values), trial.result, self.space.metric)

    def _describe_running(self, worker: str, trial: Trial) -> RunningTrial:
        accuracies = trial.reports.get("val_accuracy", {})
        epoch = max(accuracies) if accuracies else None
        accuracy = None if epoch is None else accuracies[epoch]
        return RunningTrial(worker, trial.id, self.space.decode(trial.values), epoch, accuracy)

    def _print_summary(self) -> None:
        """Print the best trials, where everything is, and what can be done next."""
        path, asked, num_trials = self.folder.path, self.asked, len(self.results)
        console.print()
        console.print(tabulate_best_trials(self.results), soft_wrap=False)
        if self.results.failed:
            failed = len(self.results.failed)
            console.print(f"{failed} of {num_trials} trials failed; their reasons are in {path / 'trials.csv'}")
        if self.is_out_of_time:
            console.print(f"no further trial fits into the budget of {asked.search.budget}")
        lines = [
            ("every trial", path / "trials.csv"),
            ("best model", path / "model.keras"),
            ("its settings", path / "best.yaml"),
            ("report", leave_report(path)),
            ("curves and HParams", f"tensorboard --logdir {asked.run.logs_dir}"),
            ("train the best again", f"python -m {self.train_command} --config {path / 'best.yaml'}"),
        ]
        if num_trials < len(self.space):
            more = replace(asked, max_trials=min(4 * num_trials, len(self.space)), budget=None)
            lines.append(("more trials", f"{format_command(self.command, more)}   (or all: {len(self.space):,})"))
        if asked.data.data == "digits":
            lines.append(
                ("your own photos", f"python -m {self.command} --data FOLDER   (one folder of images a class)")
            )
        console.print()
        for what, where in lines:
            console.print(f"{what + ':':22}{where}")


@contextlib.contextmanager
def open_sweep(
    config: Any, trial_class: type, variable: Sequence[str], *, command: str, train_command: str
) -> Iterator[Sweep]:
    """Hold the folder of a sweep, a new one or the one that the same command has begun.

    The worker processes are started first, so that they import TensorFlow while the data are loaded.

    Args:
        config: the command's configuration, with the sections `data`, `search`, `workers` and `run`.
        trial_class: the configuration of a trial.
        variable: options of a trial that can be varied.
        command, train_command: modules of the command that sweeps, and of the one that trains one network.

    Raises:
        UserError: the space, the data or the folder cannot be used, or the folder holds another sweep.
        KeyboardInterrupt: Ctrl-C or SIGTERM; says how to continue.
    """
    asked, pool = config, take_started_workers()
    try:
        config = resolve_sweep(config)
        folder = RunFolder(config.run)
        with folder.lock(), _interrupt_on_sigterm():
            if config.run.overwrite:
                folder.clear()
            if has_all_trials(config.search, folder.path):
                _stop(pool)
                pool = None
            elif pool is None:
                pool = start_workers(config)
            if pool:
                pool.move_logs(folder.path / "workers")
            space = _begin(config, folder, trial_class, variable)
            plan = make_plan(folder, type(config), trial_class, variable)
            console.print(f"space: {len(space):,} points of {len(space.parameters)} parameters")
            describe_sweep(folder.logs, space.parameters)
            results = SweepResults(space.parameters, space.fixed, space.metric, space.direction)
            yield Sweep(config, asked, folder, space, plan, command, train_command, pool, results)
    except KeyboardInterrupt:
        resume = format_command(command, asked)
        raise KeyboardInterrupt(f"stopped; finished trials are kept. To continue:\n  {resume}") from None
    finally:
        _stop(pool)


def work_for_chief(
    config: Any, hypermodel_class: type[ImageHyperModel], trial_class: type, variable: Sequence[str]
) -> Path:
    """Run this machine's workers for a chief elsewhere, until it has no more trials or has ended.

    Args:
        config: the command's configuration; its name and `runs_dir` lead to the folder of the chief's sweep.
        hypermodel_class: the class of the sweep's hypermodel.
        trial_class, variable: as for `open_sweep`.

    Returns:
        Path of the sweep's folder.
    """
    pool = take_started_workers()
    try:
        config = resolve_sweep(config)
        folder = RunFolder(config.run)
        plan = make_plan(folder, type(config), trial_class, variable)
        pool = pool or start_workers(config)
        if pool is None:
            raise UserError("--workers 0: a worker command needs at least one worker process")
        pool.move_logs(folder.path / "workers")
        oracle = keras_tuner.Oracle(plan.space.objective)
        tuner = SchedulerTuner(oracle, hypermodel_class(plan), directory=str(folder.path), project_name=PROJECT)
        with _interrupt_on_sigterm():
            pool.send_orders((tuner, (), {}), *parse_address(config.workers.oracle_address))
            while not pool.have_all_finished():
                pool.watch()
                time.sleep(_TICK)
    finally:
        _stop(pool)
    return folder.path


def resolve_sweep(config: Any) -> Any:
    """Return the configuration of a sweep with its image size and its name.

    Raises:
        UserError: an option has a value that it cannot have.
    """
    check_sweep(config.search, config.workers)
    image_size = choose_image_size(config.data)
    name = config.run.name or f"sweep-{open_source(config.data.data).name}-{image_size}px"
    return replace(config, image_size=image_size, name=name)


def make_plan(folder: RunFolder, config_class: type, trial_class: type, variable: Sequence[str]) -> TrialPlan:
    """Return what the trials of a sweep have in common, from its `config.yaml` and `space.yaml` alone."""
    config: Any = read_config(folder.path, config_class)
    space = read_space(folder.path / "space.yaml", trial_class, variable)
    options = set(option_names(trial_class)) - {"budget"}  # that of the sweep is for all trials
    shared = {name: value for name, value in flatten(config).items() if name in options}
    split_seed = config.search.seed if config.data.split_seed is None else config.data.split_seed
    own = {"name": None, "runs_dir": "runs", "logs_dir": "logs", "split_seed": split_seed}  # one split for all seeds
    base: Any = build(trial_class, **{**shared, **own, **space.fixed})
    can_continue = "epochs" in space.parameters or config.search.tuner == "hyperband"
    return TrialPlan(base, space, folder, find_max_epochs(space) if can_continue else 0)


def find_max_epochs(space: Space) -> int:
    """Return the largest number of epochs that a trial can have."""
    epochs: Any = space.parameters.get("epochs") or [space.fixed.get("epochs", TrainingConfig.epochs)]
    return max(epochs)


def format_command(command: str, config: Any) -> str:
    """Return the command line that has this configuration."""
    return f"python -m {command}{cli.format_options(config, skip={'overwrite'})}"


def _begin(config: Any, folder: RunFolder, trial_class: type, variable: Sequence[str]) -> Space:
    """Read the space and the data, refuse another sweep's folder, and write the sweep's first files."""
    path = Path(config.search.space)
    if config.search.space == type(config)().search.space and not path.exists():
        path = _SHIPPED / path
    space = read_space(path, trial_class, variable)
    dataset = load_dataset(config.data, config.search.seed, show_decoding)
    _check_same_sweep(folder.path, config, space, dataset)
    write_text(folder.path / "space.yaml", path.read_text(encoding="utf-8"))
    folder.write_config(config)
    folder.write_dataset(dataset)
    for line in describe(dataset, str(space.fixed.get("class_weights", "none"))):
        console.print(line)
    return space


def _check_same_sweep(folder: Path, config: Any, space: Space, dataset: Dataset) -> None:
    """Refuse a folder with a sweep that was begun with other settings; record the settings of a new one.

    Raises:
        UserError: names what differs.
    """
    values = flatten(config)
    settings = {
        "parameters": space.parameters,
        "fixed": space.fixed,
        "metric": [space.metric, space.direction],
        "content of the data": dataset.key[:12],
        **{name: values[name] for name in _IDENTITY},
    }
    before = read_json(folder / "sweep.json")
    if before is None:
        write_json(folder / "sweep.json", settings)
        return
    differences = [
        f"{name} was {before.get(name)}, is {settings.get(name)}"
        for name in sorted({*before, *settings})
        if before.get(name) != settings.get(name)
    ]
    if differences:
        raise UserError(
            f"{folder} holds a sweep that was begun with other settings ({'; '.join(differences)}): "
            "choose another --name, or replace it with --overwrite"
        )


def _stop(pool: WorkerPool | None) -> None:
    if pool:
        pool.stop()


@contextlib.contextmanager
def _interrupt_on_sigterm() -> Iterator[None]:
    """Let SIGTERM, which the schedulers of clusters send, end this block as Ctrl-C does."""

    def interrupt(signum: int, frame: Any) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
