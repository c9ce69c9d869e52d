"""Where the values of a hyperparameter stand on an axis."""

import math

from workbench.sweep.progress import short

_MAX_STEPS = 12  # more values than these are a range


class Scale:
    """Places a hyperparameter's values between 0 and 1.

    A few values stand at equal distances, numbers in their order, others in the space's. Many numbers are a
    range, and a logarithmic one where they span two orders of magnitude.

    Attributes:
        steps: the values, or None for a range.
        ticks: list of (position, label).

    Args:
        values: the space's.
        used: those that trials had, at least one.
    """

    def __init__(self, values, used):
        met = set(map(str, used))
        found = {str(value): value for value in [*values, *used] if str(value) in met}
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in found.values())
        ordered = sorted(found.values()) if numbers else list(found.values())
        self.steps = None if numbers and len(ordered) > _MAX_STEPS else ordered
        if self.steps is not None:
            last = max(1, len(ordered) - 1)
            self._places = {str(value): at / last if len(ordered) > 1 else 0.5 for at, value in enumerate(ordered)}
            self.ticks = [(self._places[str(value)], short(value)) for value in ordered]
            return
        low, high = ordered[0], ordered[-1]
        self._curve = math.log if low > 0 and high / low >= 100 else float
        self._low, self._high = self._curve(low), self._curve(high)
        back = math.exp if self._curve is math.log else float
        shares = (0, 0.25, 0.5, 0.75, 1)
        self.ticks = [(share, f"{back(self._low + share * (self._high - self._low)):.2g}") for share in shares]

    def __call__(self, value):
        """The value's place."""
        if self.steps is not None:
            return self._places[str(value)]
        return (self._curve(value) - self._low) / (self._high - self._low)
