"""What a sweep will cost, told before it starts."""

import statistics

import numpy as np

from workbench.config import parse_duration as budget_seconds
from workbench.console import console
from workbench.errors import UserError
from workbench.runtime import measure_peak_memory
from workbench.training.estimates import print_estimate
from workbench.training.pace import measure_pace

LONG = 86_400  # seconds: a sweep that takes longer is told what would shorten it
_ENOUGH = 3  # finished trials from which the others' time is known
_SAMPLE = 400  # points of the space that stand for all of them
_TRIAL_FILES = 40_000  # bytes of a trial's results and curves


def tell_cost(table, hypermodel, pool, config, kind):
    """Print what the rest of a sweep will cost: from its trials so far, else from a short measurement.

    Args:
        table: its `workbench.sweep.table.TrialTable`.
        hypermodel: a `workbench.sweep.hypermodel.TrialHyperModel`; its `work` says how trials differ.
        pool: of the workers; None where the trials run in this process.
        config: has the fields of `SearchConfig` and `WorkersConfig`.
        kind: as `workbench.training.budget.tell` takes it.

    Returns:
        The seconds expected; None where nothing can be told, such as how fast other processes' GPUs are.
    """
    num_workers = len(pool.pids()) if pool else 1
    left = len(table.oracle) - len(table)
    done = [result["seconds"] for result in table.oracle.results.values() if result.get("seconds")]
    if left <= 0 or config.workers.chief:  # nobody knows who will work for it
        return None
    if len(done) >= _ENOUGH:
        seconds, parameters = left * statistics.mean(done) / num_workers, 0
    else:
        if hypermodel.work is None or (pool and pool.num_gpus):  # this process has seen no GPU
            return None
        try:
            seconds, parameters = _measured(_comparable(table.oracle.space, hypermodel), hypermodel, left)
        except UserError:  # the point that was to be measured will fail when its turn comes
            return None
    disk = 4 * parameters * config.search.keep + left * _TRIAL_FILES
    memory = (num_workers + 1) * measure_peak_memory()
    budget = budget_seconds(config.search.budget)
    if budget and budget < seconds:
        each = f"the budget; time for about {int(left * budget / seconds):,} of {left:,} trials"
        print_estimate(kind, budget, disk, each, memory)
        return seconds
    print_estimate(kind, seconds, disk, f"{left:,} trials", memory)
    if seconds > LONG:
        console.print(advice(seconds, left), style="yellow")
    return seconds


def advice(seconds, trials):
    """What to do about a sweep that takes days."""
    in_time = max(1, int(trials * 8 * 3600 / seconds))
    return (
        f"that is {seconds / 86_400:.1f} days. --budget 8h ends it after about {in_time:,} trials, a fair sample of "
        "the space, and the same command goes on; --prune median ends weak trials early. Ctrl-C keeps what is done."
    )


def _comparable(space, hypermodel):
    """[(values, configuration, work)] of a sample of points, the least work first."""
    size, points = len(space), []
    drawn = np.random.default_rng(0).integers(size, size=_SAMPLE)
    for index in range(size) if size <= _SAMPLE else drawn:
        values = space.point(int(index))
        config = hypermodel.with_values(values)
        points.append((values, config, hypermodel.work(config)))
    return sorted(points, key=lambda point: point[2])


def _measured(points, hypermodel, left):
    """(seconds of the trials that are left, parameters of a network), from a few steps at the median point."""
    _, config, work = points[len(points) // 2]
    pace = measure_pace(hypermodel.make(config), hypermodel.examples(config), hypermodel.settings(config))
    graphs = min(left, len({hypermodel.graph_key(values) for values, *_ in points}))
    mean = statistics.mean(point[2] for point in points)
    return graphs * pace.start + left * mean / work * pace.seconds(config.training.epochs), hypermodel.parameters(
        config
    )
