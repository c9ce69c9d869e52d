"""Which of the upcoming trials a worker gets: one whose graph it has traced already, if there is one."""

import statistics
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence

from workbench.sweep.scheduling.recent_values import RecentValues
from workbench.sweep.scheduling.trial import Trial, Value


class GraphAffinity:
    """Knows which worker holds which traced graph, and how long trials take with and without tracing.

    Args:
        graph_key: function of a trial's values; two trials whose keys are equal can share a graph.
    """

    def __init__(self, graph_key: Callable[[Mapping[str, Value]], Hashable]) -> None:
        self._graph_key = graph_key
        self._keys: dict[str, Hashable] = {}  # trial id -> key, of upcoming trials
        self._holders: dict[Hashable, set[str]] = {}  # key -> workers
        self._held: dict[str, set[Hashable]] = {}  # worker -> keys
        self._first: set[str] = set()  # running trials that are the first of their graph on their worker
        self._seconds = {True: RecentValues(), False: RecentValues()}  # by whether the graph was traced

    def choose(self, worker: str, trials: Sequence[Trial], busy: Collection[str]) -> Trial | None:
        """Return the trial that a worker should run next.

        Args:
            worker: name of the worker.
            trials: the upcoming ones, in order; at least one.
            busy: names of the workers that run a trial now.

        Returns:
            The first trial whose graph this worker holds; else the first whose graph no worker holds; else the first of
            all, or None if the others are done with them before this worker has traced a graph.
        """
        for each in trials:
            if each.id not in self._keys:
                self._keys[each.id] = self._graph_key(each.values)
        holders = {each.id: self._holders.get(self._keys[each.id], set()) for each in trials}
        held = next((each for each in trials if worker in holders[each.id]), None)
        trial = held or next((each for each in trials if not holders[each.id]), None)
        if trial is None and self._pays_to_trace(len(trials), holders.values(), busy):
            trial = trials[0]
        if trial is not None:
            key = self._keys.pop(trial.id)
            if held is None:
                self._first.add(trial.id)
                self._holders.setdefault(key, set()).add(worker)
                self._held.setdefault(worker, set()).add(key)
        return trial

    def record(self, trial_id: str, seconds: float) -> None:
        """Record how long a trial took."""
        self._seconds[trial_id in self._first].add(trial_id, seconds)
        self._first.discard(trial_id)

    def forget(self, worker: str) -> None:
        """Record that a worker's process is new and has traced nothing."""
        for key in self._held.pop(worker, ()):
            self._holders[key].discard(worker)

    def _pays_to_trace(self, num_left: int, holders: Iterable[set[str]], busy: Collection[str]) -> bool:
        """Return whether the last trials are done sooner if one more worker traces their graph first."""
        if not any(worker in busy for each in holders for worker in each):
            return True
        if not all(values.sorted for values in self._seconds.values()):
            return True
        traced, usual = (statistics.median(self._seconds[is_first].sorted) for is_first in (True, False))
        return num_left * usual > traced - usual
