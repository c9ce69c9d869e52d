"""The points of a grid of hyperparameters, also of conditional ones, and the trials that visit each point once."""

import itertools
import random
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from workbench.sweep.scheduling.trial import Parameter, Trial, Value

Order = Literal["shuffled", "lexicographic"]
WINDOW = 64  # trials ahead of the first open one among which a worker may choose
_MAX_SHUFFLED = 1 << 24  # points that are shuffled as a whole; of larger grids a sample is drawn
_SAMPLE = 100_000
Numbers = Sequence[int] | np.ndarray


class Grid:
    """All combinations of the values of hyperparameters, numbered so that the last one changes fastest.

    Args:
        parameters: a conditional one comes after the ones that it depends on.
        fixed: values that every point has besides; a parameter of such a name takes no part.
    """

    def __init__(self, parameters: Sequence[Parameter], fixed: Mapping[str, Value] | None = None) -> None:
        self.parameters, self._fixed = tuple(parameters), dict(fixed or {})
        self._parents = sorted({parent for parameter in parameters for parent, _ in parameter.conditions})
        self._counts: dict[tuple, int] = {}
        self.size = self._count(0, self._fixed)

    def __getitem__(self, number: int) -> dict[str, Value]:
        """Return the values at place `number`, without those of inactive hyperparameters."""
        values = dict(self._fixed)
        for at, parameter in enumerate(self.parameters):
            if not self._takes_part(parameter, values):
                continue
            if parameter.name not in self._parents:
                digit, number = divmod(number, self._count(at + 1, values))
                values[parameter.name] = parameter.values[digit]
                continue
            for value in parameter.values:
                values[parameter.name] = value
                count = self._count(at + 1, values)
                if number < count:
                    break
                number -= count
        return values

    def find(self, values: Mapping[str, Value]) -> int:
        """Return the place of a point, the inverse of `grid[number]`.

        Raises:
            ValueError: a value is not on the grid.
        """
        number, known = 0, dict(self._fixed)
        for at, parameter in enumerate(self.parameters):
            if not self._takes_part(parameter, known):
                continue
            for value in parameter.values[: parameter.values.index(values[parameter.name])]:
                number += self._count(at + 1, {**known, parameter.name: value})
            known[parameter.name] = values[parameter.name]
        return number

    def _takes_part(self, parameter: Parameter, values: Mapping[str, Value]) -> bool:
        return parameter.name not in values and parameter.is_active(values)

    def _count(self, at: int, values: Mapping[str, Value]) -> int:
        """Return the number of combinations of the parameters from place `at`, where the earlier ones have `values`."""
        key = at, *(values.get(parent) for parent in self._parents)
        if key not in self._counts:
            self._counts[key] = self._sum_up(at, values)
        return self._counts[key]

    def _sum_up(self, at: int, values: Mapping[str, Value]) -> int:
        if at == len(self.parameters):
            return 1
        parameter = self.parameters[at]
        if not self._takes_part(parameter, values):
            return self._count(at + 1, values)
        if parameter.name not in self._parents:
            return len(parameter.values) * self._count(at + 1, values)
        return sum(self._count(at + 1, {**values, parameter.name: value}) for value in parameter.values)


def order_numbers(size: int, order: Order, seed: int) -> Numbers:
    """Return the numbers below `size` in the order in which they are visited.

    A shuffled order depends on the seed alone. Of more than 16 million numbers it holds a random sample.
    """
    if order == "lexicographic":
        return range(min(size, sys.maxsize))
    if size > _MAX_SHUFFLED:
        draw = random.Random(seed)
        return list(dict.fromkeys(draw.randrange(size) for _ in range(_SAMPLE)))
    numbers = np.arange(size)
    np.random.default_rng(seed).shuffle(numbers)
    return numbers


class _Branch:
    """Part of a grid: the points that share the values of one trial, or the whole grid as it is known at the start.

    Args:
        prefix: begins the ids of the branch's trials; the rest is the place in the order.
        grid: the points.
        known: all hyperparameters that have a value or a condition at these points.
        numbers: the grid's numbers in the order in which they are visited.
    """

    def __init__(self, prefix: str, grid: Grid, known: Sequence[Parameter], numbers: Numbers) -> None:
        self.prefix, self.grid, self.known, self.numbers = prefix, grid, tuple(known), numbers
        self.width = len(str(max(0, len(numbers) - 1)))
        self.open: dict[int, Trial] = {}  # place -> trial, of the window
        self.taken: set[int] = set()
        self._drawn = 0  # places below it have been put into `open`

    def get_id(self, place: int) -> str:
        """Return the id of the trial at a place of the order."""
        return f"{self.prefix}{place:0{self.width}d}"

    def get_next_id(self) -> str:
        """Return the id of the first open trial."""
        return self.get_id(next(iter(self.open)))

    def count_left(self) -> int:
        """Return the number of points that no trial has visited."""
        return len(self.numbers) - len(self.taken)

    def fill_window(self, make_values: Callable[["_Branch", int], dict[str, Value]], limit: int) -> None:
        """Make the trials from the first open place to `WINDOW` places further, but none from place `limit` on."""
        while True:
            first = next(iter(self.open), self._drawn)
            if self._drawn >= min(first + WINDOW, limit, len(self.numbers)):
                return
            if self._drawn not in self.taken:
                values = make_values(self, self._drawn)
                self.open[self._drawn] = Trial(self.get_id(self._drawn), values, parameters=self.known)
            self._drawn += 1


class GridSource:
    """Gives the points of a grid to trials, each point once.

    A trial's id is its place in the order, so the id alone says which point it visits. Where a trial discovers
    hyperparameters (its model asks for some that were not known), it has visited the point with their defaults. The
    other combinations of the new ones with this trial's values become a branch. Its trials' ids begin with this one's.

    Args:
        parameters: the hyperparameters that are known at the start.
        max_trials: number of trials at most; None visits the whole grid.
        order: `shuffled`, so that any prefix is a random sample, or `lexicographic`, the last parameter changing
            fastest.
        seed: of the shuffled order.
        discovers: whether trials may discover hyperparameters.
    """

    def __init__(
        self,
        parameters: Sequence[Parameter],
        max_trials: int | None = None,
        *,
        order: Order = "shuffled",
        seed: int = 0,
        discovers: bool = False,
    ) -> None:
        self._order, self._seed, self._max_trials, self._discovers = order, seed, max_trials, discovers
        grid = Grid(parameters)
        self._branches = {"": _Branch("", grid, parameters, self._order_root(grid.size))}
        self._random = random.Random(seed)
        self._num_taken = 0

    def _order_root(self, size: int) -> Numbers:
        return order_numbers(size, self._order, self._seed)

    def count_trials(self) -> int:
        """Return the number of trials that the sweep will hold when it is complete, as far as that is known."""
        size = self._num_taken + sum(branch.count_left() for branch in self._branches.values())
        return size if self._max_trials is None else min(self._max_trials, size)

    def make_values(self, branch: _Branch, place: int) -> dict[str, Value]:
        """Return the values at a place of a branch's order."""
        return branch.grid[int(branch.numbers[place])]

    def upcoming(self) -> Sequence[Trial]:
        """Return the next trials, in order; any of them may be taken."""
        if self._max_trials is not None and self._num_taken >= self._max_trials:
            return ()
        branches = [branch for branch in self._branches.values() if branch.count_left()]
        limited = self._max_trials is not None and len(self._branches) == 1
        for branch in branches:
            size = len(branch.numbers)
            branch.fill_window(self.make_values, min(self._max_trials or 0, size) if limited else size)
        if len(branches) > 1:
            branches = self._sort(branches)
        return list(itertools.islice(itertools.chain(*(branch.open.values() for branch in branches)), WINDOW))

    def _sort(self, branches: list[_Branch]) -> list[_Branch]:
        """Return branches in the order in which they are visited."""
        if self._order == "lexicographic":  # a branch comes right after the trial that it began with
            return sorted(branches, key=lambda branch: [int(part) for part in branch.get_next_id().split("-")])
        first = self._random.choices(branches, [branch.count_left() for branch in branches])[0]
        return [first, *(branch for branch in branches if branch is not first)]

    def take(self, trial: Trial) -> None:
        """Remove a trial from the upcoming ones."""
        prefix, place = _split(trial.id)
        branch = self._branches[prefix]
        branch.taken.add(place)
        branch.open.pop(place, None)
        self._num_taken += 1

    def finish(self, trial: Trial) -> None:
        """Open a branch if the trial has discovered hyperparameters."""
        branch = self._branches[_split(trial.id)[0]]
        new = [parameter for parameter in trial.discovered if parameter not in branch.known]
        if not (self._discovers and new) or f"{trial.id}-" in self._branches:
            return
        names = {parameter.name for parameter in new}
        given = {name: value for name, value in trial.values.items() if name not in names}
        grid = Grid(new, given)
        try:
            own = grid.find(trial.values)
        except (KeyError, ValueError):  # the trial's values are not on the grid, such as a value between two steps
            own = -1
        numbers = [int(number) for number in order_numbers(grid.size, self._order, self._seed) if number != own]
        if numbers:
            self._branches[f"{trial.id}-"] = _Branch(f"{trial.id}-", grid, (*branch.known, *new), numbers)

    def restore(self, trials: Iterable[Trial]) -> Sequence[Trial]:
        """Take the finished trials of an earlier process.

        Returns:
            The unfinished trials that have to be run before others: none.

        Raises:
            ValueError: a trial is not one of this grid.
        """
        for trial in sorted(trials, key=lambda trial: trial.id.count("-")):
            prefix, place = _split(trial.id)
            branch = self._branches.get(prefix)
            if branch is None or not 0 <= place < len(branch.numbers):
                raise ValueError(f"trial {trial.id} is not one of this search space")
            for name, value in self.make_values(branch, place).items():
                if trial.values.get(name) != value and not self._is_drawn(name):
                    raise ValueError(f"trial {trial.id} has {name} = {trial.values.get(name)}, not {value}")
            self.take(trial)
            self.finish(trial)
        return ()

    def _is_drawn(self, name: str) -> bool:
        """Return whether a hyperparameter's values are drawn at random and so may differ from call to call."""
        return False


class RandomSource(GridSource):
    """Random search without replacement: a shuffled grid, in which ranges without a step are drawn for each trial.

    Args:
        parameters, max_trials, seed: as for `GridSource`.
        ranges: name -> function of a seed that draws a value. With any of these the search has no end but `max_trials`.
    """

    def __init__(
        self,
        parameters: Sequence[Parameter],
        max_trials: int | None = None,
        *,
        seed: int = 0,
        ranges: Mapping[str, Callable[[int], Value]] | None = None,
    ) -> None:
        self._ranges, self._draw_seed, self._asked = dict(ranges or {}), seed, max_trials
        super().__init__(parameters, max_trials, order="shuffled", seed=seed + 1)

    def _order_root(self, size: int) -> Numbers:
        numbers = super()._order_root(size)
        if not self._ranges or self._asked is None:
            return numbers
        return np.concatenate([np.asarray(numbers)] * -(-self._asked // size))

    def make_values(self, branch: _Branch, place: int) -> dict[str, Value]:
        """Return the values at a place of the order, with newly drawn ones of the ranges."""
        values = super().make_values(branch, place)
        for at, (name, draw) in enumerate(self._ranges.items()):
            values[name] = draw(int(np.random.SeedSequence([self._draw_seed, place, at]).generate_state(1)[0]))
        return values

    def _is_drawn(self, name: str) -> bool:
        return name in self._ranges


def _split(trial_id: str) -> tuple[str, int]:
    """Return (prefix, place) of a trial's id; place -1 if the id has another form."""
    head, dash, last = trial_id.rpartition("-")
    return head + dash, int(last) if last.isdigit() else -1
