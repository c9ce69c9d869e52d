"""A trial that was trained again with other seeds: how much of its score the seed decides."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from workbench.files import read_json
from workbench.sweep.results import format_score
from workbench.wording import agree, format_count

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
        mean: of these scores; None without one.
        deviation: their standard deviation; None of fewer than two.
        unfinished: number of repeats that have not ended.
    """

    trial: str
    metric: str
    score: float
    seeds: Sequence[int]
    scores: Sequence[float]
    mean: float | None
    deviation: float | None
    unfinished: int = 0

    def describe(self) -> str:
        """Return a line with the mean and the spread, and how many repeats are not finished."""
        begin = f"trial {self.trial}: {format_score(self.metric, self.score)} in the sweep; "
        if self.mean is None:
            repeats = format_count(self.unfinished, "repeat")
            unfinished = f"{repeats} with another seed {agree(self.unfinished, 'is', 'are')} not finished"
            return begin + (unfinished if self.unfinished else "no repeat with another seed was completed")
        seeds = format_count(len(self.scores), "further seed")
        low, high = (format_score(self.metric, score) for score in (min(self.scores), max(self.scores)))
        mean = format_score(self.metric, self.mean)
        spread = ""
        if self.deviation is not None:
            is_share = self.metric.endswith("accuracy")
            deviation = f"{100 * self.deviation:.1f} points" if is_share else f"{self.deviation:#.2g}"
            spread = f", standard deviation {deviation} ({low} to {high})"
        more = f"; {self.unfinished} more {agree(self.unfinished, 'is', 'are')} not finished" if self.unfinished else ""
        return f"{begin}with {seeds} {mean} on average{spread}{more}"


def read_repeats(sweep: Path) -> list[RepeatedTrial]:
    """Read the scores of a sweep's repeats; an empty list if there are none."""
    try:
        return [RepeatedTrial(**values) for values in read_json(sweep / REPEATS) or []]
    except TypeError:  # damaged
        return []
