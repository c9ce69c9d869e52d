"""Runs a sweep: an oracle, its workers, and the record they leave. Knows nothing of what is trained."""

import dataclasses
import importlib
import signal
import socket
import threading
import time
from pathlib import Path

from workbench.config import parse_duration
from workbench.errors import UserError
from workbench.files import read_json, write_json, write_text
from workbench.sweep.config import address, trial_limit
from workbench.training.run_folder import dump_config

_TICK = 0.1  # seconds between two looks at the workers


@dataclasses.dataclass(frozen=True)
class Definition:
    """What is swept.

    Attributes:
        tune_module, train_module: the commands that sweep and that train one, for the words on the screen.
        factory: `module:function`; the function takes the path of the sweep's folder and returns the
            `workbench.sweep.hypermodel.TrialHyperModel`. It is called in every worker process.
        config_class: dataclass of the sweep's configuration.
        trial_class: dataclass of a trial's configuration.
        variable: names of the trial's fields that can be varied.
    """

    tune_module: str
    train_module: str
    factory: str
    config_class: type
    trial_class: type
    variable: list

    def hypermodel(self, folder):
        """The hypermodel of the sweep in `folder`."""
        module, _, name = self.factory.partition(":")
        return getattr(importlib.import_module(module), name)(str(folder))


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


def start_workers(config, folder):
    """The pool of this machine's workers, started but without orders; None for a sweep in this process."""
    from workbench.sweep.pool import WorkerPool, auto_workers, count_gpus

    if config.workers.workers == 0:
        return None
    num_gpus = count_gpus()
    count = auto_workers(num_gpus) if config.workers.workers == "auto" else config.workers.workers
    prefix = f"{socket.gethostname()}-worker" if config.workers.worker else "worker"
    pool = WorkerPool(count, num_gpus, folder / "workers", prefix)
    pool.start()
    return pool


def make_oracle(config, space, hypermodel, max_epochs):
    """The oracle that `--tuner` names."""
    from workbench.sweep.oracle import GridOracle, RandomOracle

    limit = trial_limit(config.search)
    if config.search.tuner == "grid":
        return GridOracle(space, limit, config.search.seed, config.search.order, hypermodel.graph_key)
    if config.search.tuner == "random":
        return RandomOracle(space, limit, config.search.seed, hypermodel.graph_key)
    from workbench.sweep.adaptive import BayesianOracle, HyperbandOracle

    if config.search.tuner == "bayesian":
        return BayesianOracle(space, limit, config.search.seed)
    return HyperbandOracle(space, limit, max_epochs, config.search.seed)


def run_sweep(config, folder, space, definition, hypermodel, pool, max_epochs):
    """Run a sweep, or go on with it, until it is complete or its budget is spent.

    Args:
        config: has the fields of `SearchConfig`, `WorkersConfig` and `RunConfig`.
        folder: path of the sweep's run folder, locked by the caller.
        space: a `workbench.sweep.space.Space`.
        definition: a `Definition`.
        hypermodel: the one that `definition` makes.
        pool: the `workbench.sweep.pool.WorkerPool`, started; None runs the trials in this process.
        max_epochs: the largest number of epochs a trial can have.

    Returns:
        The `workbench.sweep.table.TrialTable`.

    Raises:
        UserError: the workers cannot run, or the chief's address cannot be bound.
        KeyboardInterrupt: Ctrl-C or SIGTERM; every finished trial is kept.
    """
    from workbench.sweep.cost import tell_cost
    from workbench.sweep.progress import SweepProgress
    from workbench.sweep.pruning import PRUNERS
    from workbench.sweep.table import TrialTable
    from workbench.training.estimates import record_estimate

    oracle = make_oracle(config, space, hypermodel, max_epochs)
    pruner = PRUNERS[config.search.prune](space.direction, max_epochs) if config.search.prune != "off" else None
    oracle.begin(folder, pruner=pruner, budget=parse_duration(config.search.budget))
    table = TrialTable(folder / "trials.csv", oracle, config.search.keep)
    kind = f"{definition.tune_module} --tuner {config.search.tuner}"
    expected = tell_cost(table, hypermodel, pool, config, kind)
    start = time.perf_counter()
    progress = SweepProgress(table.results, len(oracle), table.running, has_estimate=expected is not None)

    def on_finish(trial):
        if pool:
            pool.forget_deaths()
        progress.show(table.add(trial))

    oracle.on_finish = on_finish
    with progress, _sigterm_as_ctrl_c():
        if pool is None and not config.workers.chief:
            _search_here(oracle, hypermodel, folder)
        else:
            _search_with_workers(config, oracle, definition, folder, pool)
    if expected and not oracle.out_of_time:
        record_estimate(kind, expected, time.perf_counter() - start)
    oracle.save()
    write_json(folder / "tuner" / "tuner0.json", {})  # KerasTuner's own tools look for it
    return table


def _search_here(oracle, hypermodel, folder):
    from workbench.sweep.tuner import SweepTuner

    tuner = SweepTuner(hypermodel, oracle, folder)
    while not tuner.search():
        pass  # this process cannot be replaced


def _search_with_workers(config, oracle, definition, folder, pool):
    from workbench.sweep.server import serve

    server, port = serve(oracle, *address(config.workers.oracle_address))
    host = address(config.workers.oracle_address)[0]
    host = "127.0.0.1" if host in ("0.0.0.0", "::", "[::]") else host
    orders = {
        "factory": definition.factory,
        "folder": str(folder),
        "objective": [oracle.objective.name, oracle.objective.direction],
        "host": host,
        "port": port,
    }
    try:
        if pool:
            pool.order(oracle.worker_started, **orders)
        while not oracle.complete():
            if pool:
                pool.watch(oracle.worker_died)
            oracle.release_silent_workers()
            time.sleep(_TICK)
    finally:
        if pool:
            pool.stop()
        server.stop(None if not config.workers.chief else 2)  # workers elsewhere get to hear that it is over


def work_for_chief(config, folder, definition, metric, pool):
    """Run this machine's workers for a chief elsewhere, until it has no more trials or is gone."""
    host, port = address(config.workers.oracle_address)
    try:
        with _sigterm_as_ctrl_c():
            pool.order(factory=definition.factory, folder=str(folder), objective=list(metric), host=host, port=port)
            while not pool.all_finished():
                pool.watch()
                time.sleep(_TICK)
    finally:
        pool.stop()


class _sigterm_as_ctrl_c:
    """Within the block SIGTERM, which schedulers send, ends the sweep as Ctrl-C does."""

    def __enter__(self):
        def interrupt(signum, frame):
            raise KeyboardInterrupt

        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._before = signal.signal(signal.SIGTERM, interrupt)

    def __exit__(self, *exception):
        if self._main:
            signal.signal(signal.SIGTERM, self._before)


def save_winner(folder, table, hypermodel, train_module):
    """Leave the best trial's model and configuration in the sweep's folder; the trial.

    Args:
        folder: the sweep's run folder.
        table: its `workbench.sweep.table.TrialTable`.
        hypermodel: the one that its `Definition` makes.
        train_module: the command that trains with such a configuration, for who reads `metrics.json`.

    Raises:
        UserError: no trial could be completed; gives the first one's reason.
    """
    from workbench.training.checkpoints import save_model

    result = table.results.best
    if result is None:
        failed = sorted(table.results.failed, key=lambda trial: trial.id)
        first = failed[0].reason if failed else "the budget is too small for one"
        raise UserError(f"none of the {len(failed)} trials could be completed; the first: {first}")
    best = table.oracle.trials[result.id]
    model = hypermodel.best_model(best.hyperparameters, table.oracle.trial_dir(best.trial_id))
    save_model(model, Path(folder) / "model.keras")
    write_text(Path(folder) / "best.yaml", dump_config(hypermodel.config(best.hyperparameters)))
    write_json(Path(folder) / "metrics.json", {**result.to_row(), "trials": len(table), "train_module": train_module})
    return best
