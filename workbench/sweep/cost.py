"""What a sweep will cost, printed before it starts."""

import random
import statistics

from workbench.config import parse_duration
from workbench.console import console
from workbench.errors import UserError
from workbench.runtime import measure_peak_memory
from workbench.sweep.config import SearchConfig
from workbench.sweep.executor import Executor
from workbench.sweep.image_hypermodel import ImageHyperModel
from workbench.sweep.scheduling.scheduler import Scheduler
from workbench.sweep.space import Space
from workbench.training.estimates import print_estimate
from workbench.training.pace import measure_pace
from workbench.wording import format_count

LONG = 86_400  # seconds: for a sweep that takes longer, advice is printed
_MIN_TRIALS = 3  # finished trials from which the time of the others is estimated
_SAMPLE = 400  # points of the space that represent all of them
_BYTES_PER_TRIAL = 40_000  # of a trial's results and curves


def print_cost(
    scheduler: Scheduler,
    space: Space,
    hypermodel: ImageHyperModel,
    executor: Executor | None,
    search: SearchConfig,
    kind: str,
) -> float | None:
    """Print what the rest of a sweep will cost, from its trials so far or else from a short measurement.

    Args:
        scheduler: of the sweep.
        space: what it varies.
        hypermodel: its `estimate_work` says how trials differ.
        executor: the workers; None where the trials run in this process.
        search: settings of the sweep.
        kind: of run; earlier estimates of the same kind are compared with.

    Returns:
        The seconds that are expected; None where they cannot be estimated, such as the speed of GPUs or of other
        machines.
    """
    num_workers = max(1, executor.count_workers()) if executor else 1
    finished = scheduler.list_finished()
    left = scheduler.source.count_trials() - len(finished)
    seconds_so_far = [trial.result["seconds"] for trial in finished if trial.result.get("seconds")]
    if left <= 0:
        return None
    if len(seconds_so_far) >= _MIN_TRIALS:
        seconds, parameters = left * statistics.mean(seconds_so_far) / num_workers, 0
    else:
        if not hypermodel.can_estimate_work or (executor and not executor.computes_like_command()):
            return None
        try:
            seconds, parameters = _measure(space, hypermodel, left)
        except UserError:  # the point that was to be measured will fail when its turn comes
            return None
    disk = 4 * parameters * search.keep + left * _BYTES_PER_TRIAL
    memory = (num_workers + 1) * measure_peak_memory()
    budget = parse_duration(search.budget)
    if budget and budget < seconds:
        each = f"the budget; time for about {int(left * budget / seconds):,} of {format_count(left, 'trial')}"
        print_estimate(kind, budget, disk, each, memory)
        return seconds
    print_estimate(kind, seconds, disk, format_count(left, "trial"), memory)
    if seconds > LONG:
        console.print(advise(seconds, left), style="yellow")
    return seconds


def advise(seconds: float, trials: int) -> str:
    """Return what can be done about a sweep that takes days."""
    in_time = max(1, int(trials * 8 * 3600 / seconds))
    return (
        f"that is {seconds / 86_400:.1f} days. --budget 8h ends it after about {format_count(in_time, 'trial')}, "
        "a fair sample of the space, and the same command continues it; --prune median ends weak trials early. "
        "Ctrl-C keeps the finished trials."
    )


def _measure(space: Space, hypermodel: ImageHyperModel, left: int) -> tuple[float, int]:
    """Estimate (seconds of the trials that are left, parameters of a network) from a few steps at the median point."""
    count, draw = space.num_points, random.Random(0)
    numbers = range(count) if count <= _SAMPLE else [draw.randrange(count) for _ in range(_SAMPLE)]
    configs = [hypermodel.make_config(space.get_point(number)) for number in numbers]
    work = {index: hypermodel.estimate_work(config) for index, config in enumerate(configs)}
    median = sorted(work, key=lambda index: work[index])[len(work) // 2]
    config = configs[median]
    model = hypermodel.make_model(config)
    pace = measure_pace(model, hypermodel.get_dataset(config), hypermodel.get_training(config))
    num_graphs = min(left, len({hypermodel.make_key(config) for config in configs}))
    relative_work = statistics.mean(work.values()) / work[median]
    trial_seconds = relative_work * pace.seconds(config.training.epochs)
    return num_graphs * pace.start + left * trial_seconds, hypermodel.count_parameters(config)
