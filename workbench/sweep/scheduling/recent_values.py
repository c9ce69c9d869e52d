"""The latest values of a long sequence, sorted. Their number is bounded, and so are memory and time."""

import bisect

LIMIT = 4096  # values that represent the others


class RecentValues:
    """Holds the latest `LIMIT` values of keys.

    Attributes:
        sorted: the values, the smallest first.
    """

    def __init__(self) -> None:
        self._values: dict[str, float] = {}
        self.sorted: list[float] = []

    def add(self, key: str, value: float) -> None:
        """Add a value, in place of an earlier one of the same key and of the oldest one if there are too many."""
        self._remove(key)
        self._values[key] = value
        bisect.insort(self.sorted, value)
        if len(self._values) > LIMIT:
            self._remove(next(iter(self._values)))

    def list_others(self, key: str) -> list[float]:
        """Return the sorted values without that of a key."""
        own = self._find(self._values[key])
        return self.sorted[:own] + self.sorted[own + 1 :]

    def _remove(self, key: str) -> None:
        if key in self._values:
            del self.sorted[self._find(self._values.pop(key))]

    def _find(self, value: float) -> int:
        return bisect.bisect_left(self.sorted, value)
