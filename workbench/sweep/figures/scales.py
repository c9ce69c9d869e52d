"""The positions of a hyperparameter's values on an axis."""

import math
from collections.abc import Sequence

from workbench.sweep.results import Value, format_value

_MAX_STEPS = 12  # if numbers have more different values than these, they are a range


class Scale:
    """Positions of a hyperparameter's values between 0 and 1.

    Up to `_MAX_STEPS` values have equal distances: numbers in ascending order, other values in the order of the space.
    More numbers are a range, which is logarithmic if it spans two orders of magnitude.

    Attributes:
        steps: the values, or None for a range.
        ticks: list of (position, label).

    Args:
        values: the values of the space.
        used: the values of the trials, at least one.
    """

    def __init__(self, values: Sequence[Value], used: Sequence[Value]) -> None:
        used_texts = set(map(str, used))
        found = {str(value): value for value in [*values, *used] if str(value) in used_texts}
        numbers = [v for v in found.values() if isinstance(v, int | float) and not isinstance(v, bool)]
        has_numbers = len(numbers) == len(found)
        if has_numbers and len(found) > _MAX_STEPS:
            self.steps: list[Value] | None = None
            self._set_range(min(numbers), max(numbers))
        else:
            self.steps = list(sorted(numbers) if has_numbers else found.values())
            self._set_steps(self.steps)

    def __call__(self, value: Value) -> float:
        """Return the position of a value."""
        if self.steps is not None:
            return self._positions[str(value)]
        assert isinstance(value, int | float)
        return (self._transform(value) - self._low) / (self._high - self._low)

    def _set_steps(self, values: Sequence[Value]) -> None:
        last = len(values) - 1
        self._positions = {str(value): at / last if last else 0.5 for at, value in enumerate(values)}
        self.ticks = [(self._positions[str(value)], format_value(value)) for value in values]

    def _set_range(self, low: float, high: float) -> None:
        self._is_log = low > 0 and high / low >= 100
        self._low, self._high = self._transform(low), self._transform(high)
        self.ticks = []
        for position in (0.0, 0.25, 0.5, 0.75, 1.0):
            number = self._low + position * (self._high - self._low)
            self.ticks.append((position, f"{math.exp(number) if self._is_log else number:.2g}"))

    def _transform(self, number: float) -> float:
        return math.log(number) if self._is_log else float(number)


def make_scales(parameters: dict[str, list[Value]], trials_values: Sequence[dict[str, Value]]) -> dict[str, Scale]:
    """Return hyperparameter -> its scale.

    Args:
        parameters: hyperparameter -> its values in the space.
        trials_values: for each trial, hyperparameter -> value.
    """
    return {name: Scale(values, [trial[name] for trial in trials_values]) for name, values in parameters.items()}
