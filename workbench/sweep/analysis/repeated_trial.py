"""A trial that was trained again with other seeds: how much of its score the seed decides."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from workbench.files import read_json
from workbench.sweep.results import format_score
from workbench.wording import format_count

REPEATS = "repeats.json"


@dataclasses.dataclass(frozen=True)
class RepeatedTrial:
    """A trial that was trained again with other seeds.

    Attributes:
        trial: its id.
        metric: by which the sweep ranks its trials.
        score: of the trial in the sweep.
        seeds: of the repeats that were completed.
        scores: of these repeats.
        mean: of these scores.
        deviation: their standard deviation; None of a single one.
    """

    trial: str
    metric: str
    score: float
    seeds: Sequence[int]
    scores: Sequence[float]
    mean: float
    deviation: float | None

    def describe(self) -> str:
        """Return a line with the mean and the spread."""
        seeds = format_count(len(self.scores), "further seed")
        low, high = (format_score(self.metric, score) for score in (min(self.scores), max(self.scores)))
        mean, own = format_score(self.metric, self.mean), format_score(self.metric, self.score)
        spread = ""
        if self.deviation is not None:
            is_share = self.metric.endswith("accuracy")
            deviation = f"{100 * self.deviation:.1f} points" if is_share else f"{self.deviation:#.2g}"
            spread = f", standard deviation {deviation} ({low} to {high})"
        return f"trial {self.trial}: {own} in the sweep; with {seeds} {mean} on average{spread}"


def read_repeats(sweep: Path) -> list[RepeatedTrial]:
    """Read the scores of a sweep's repeats; an empty list if there are none."""
    try:
        return [RepeatedTrial(**values) for values in read_json(sweep / REPEATS) or []]
    except TypeError:  # damaged
        return []
