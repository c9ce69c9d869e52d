"""What a sweep's outcomes say of its winner on new images, of the trials that equal it, and of an ensemble.

It is written to analysis.json of the sweep's folder when the sweep ends. A sweep without outcomes has none.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workbench.data.source import TEST
from workbench.data.splits.saved_split import read_split
from workbench.files import write_json
from workbench.sweep.analysis.ensemble import build_ensemble
from workbench.sweep.analysis.honest_winner import HonestWinner, compute_losses, estimate_winner
from workbench.sweep.analysis.indistinguishable import compare_with_winner
from workbench.sweep.outcomes.sweep_outcomes import SweepOutcomes, read_outcomes
from workbench.sweep.results import WEIGHTS, SweepResults, TrialResult
from workbench.wording import agree, format_count

ANALYSIS = "analysis.json"


@dataclasses.dataclass(frozen=True)
class EqualTrial:
    """A trial that is not distinguishable from the winner.

    Attributes:
        trial: its id.
        accuracy: on the validation images.
        only_winner, only_trial, p, p_adjusted: see `PairedTest`.
        parameters: of its network.
        seconds: that it took.
    """

    trial: str
    accuracy: float
    only_winner: int
    only_trial: int
    p: float
    p_adjusted: float
    parameters: int | None
    seconds: float | None


@dataclasses.dataclass(frozen=True)
class TrialEnsemble:
    """The ensemble of kept trials.

    Attributes:
        weights: id of a trial -> its weight.
        kept: number of trials that it was selected from.
        accuracy, single, gain, low, high: see `Ensemble`.
    """

    weights: dict[str, float]
    kept: int
    accuracy: float
    single: float
    gain: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class SweepAnalysis:
    """What the outcomes of a sweep say.

    Attributes:
        winner: id of the best trial.
        trials: number of finished trials with a score; those of an earlier version have no outcome.
        metric: by which the sweep ranks its trials.
        honest_winner: what is expected of it on new images.
        equal: the trials that are not distinguishable from it, the best first.
        ensemble: of kept trials; None if fewer than two are kept, or if not all probabilities are.
    """

    winner: str
    trials: int
    metric: str
    honest_winner: HonestWinner
    equal: Sequence[EqualTrial]
    ensemble: TrialEnsemble | None

    @property
    def by_loss(self) -> bool:
        """Whether the trials are ranked by their loss."""
        return self.metric == "val_loss"

    @property
    def smallest(self) -> EqualTrial | None:
        """The equal trial with the fewest parameters."""
        return min((t for t in self.equal if t.parameters), key=lambda t: t.parameters or 0, default=None)

    @property
    def fastest(self) -> EqualTrial | None:
        """The equal trial that took the least time."""
        return min((t for t in self.equal if t.seconds), key=lambda t: t.seconds or 0, default=None)

    def describe(self) -> list[str]:
        """Return the lines that are printed at the end of the sweep."""
        lines = [self.describe_winner(), self.describe_equal(), self.describe_ensemble()]
        return [line for line in lines if line]

    def describe_winner(self) -> str:
        """Return a line about the winner on new images."""
        found = self.honest_winner
        images = format_count(found.new_images, "new image")
        trials = format_count(found.trials, "trial")
        chosen = (
            f"is the accuracy of the trial with the lowest loss of {trials}"
            if self.by_loss
            else f"is the best of {trials}"
        )
        return (
            f"{found.best:.1%} {chosen}; on {images} expect {found.expected:.1%} ({found.low:.1%} to {found.high:.1%})"
        )

    def describe_equal(self) -> str:
        """Return a line about the trials that are not distinguishable from the winner."""
        if not self.equal:
            return f"every other trial is distinguishable from the winner, trial {self.winner}"
        count = len(self.equal)
        line = f"{format_count(count, 'other trial')} {agree(count, 'is', 'are')} not distinguishable from the winner"
        if self.smallest:
            line += f"; the smallest: trial {self.smallest.trial} with {self.smallest.parameters:,} parameters"
        if self.fastest:
            line += f"; the fastest: trial {self.fastest.trial} in {self.fastest.seconds:.1f} s"
        return line

    def describe_ensemble(self) -> str | None:
        """Return a line about the ensemble; None without one, or if a single trial is the best one."""
        found = self.ensemble
        if found is None or len(found.weights) < 2:
            return None
        gain, low, high = (f"{round(100 * value, 1) + 0.0:+.1f}" for value in (found.gain, found.low, found.high))
        if found.gain <= 0:
            kept = format_count(found.kept, "kept trial")
            return f"no ensemble of the {kept} is expected to gain accuracy ({gain} points, {low} to {high})"
        return (
            f"an ensemble of {len(found.weights)} of the {format_count(found.kept, 'kept trial')}: expect {gain} "
            f"points of accuracy on new images ({low} to {high})"
        )


def analyse_sweep(sweep: Path, results: SweepResults) -> SweepAnalysis | None:
    """Analyse the outcomes of a sweep, finished or not.

    Args:
        sweep: its folder.
        results: its trials.

    Returns:
        None if fewer than two trials have outcomes, or the best one has none, because an earlier version ran it.

    Raises:
        UserError: a file is damaged.
    """
    outcomes = read_outcomes(sweep)
    if outcomes is None:
        return None
    known = set(outcomes.trials)
    trials = [trial for trial in results.scored if trial.id in known]
    if len(trials) < 2 or trials[0] is not results.best:
        return None
    outcomes = outcomes.select([trial.id for trial in trials])
    correct = outcomes.compute_correct()
    losses = compute_losses(outcomes.compute_true_probabilities())
    new_images = sum(image.part == TEST for image in read_split(sweep) or []) or len(outcomes.labels)
    tests, by_loss = compare_with_winner(correct, 0), results.metric == "val_loss"
    equal = [
        EqualTrial(
            trial.id,
            float(right.mean()),
            test.only_winner,
            test.only_trial,
            test.p,
            test.p_adjusted,
            trial.parameters,
            trial.seconds,
        )
        for trial, right, test in zip(trials, correct, tests, strict=True)
        if test and not test.is_distinguishable
    ]
    return SweepAnalysis(
        winner=trials[0].id,
        trials=len(results.scored),
        metric=results.metric,
        honest_winner=estimate_winner(correct, losses, new_images, by_loss=by_loss),
        equal=equal,
        ensemble=_build_ensemble(outcomes, list_members(sweep, trials), by_loss=by_loss),
    )


def list_members(sweep: Path, trials: Sequence[TrialResult]) -> list[TrialResult]:
    """Return the trials that may be members of an ensemble: their weights are kept, and they take the same images.

    Args:
        sweep: folder of the sweep.
        trials: the best first.
    """
    kept = [trial for trial in trials if (sweep / "tuner" / f"trial_{trial.id}" / WEIGHTS).exists()]
    return [trial for trial in kept if trial.values.get("image_size") == kept[0].values.get("image_size")]


def write_analysis(sweep: Path, analysis: SweepAnalysis) -> None:
    """Write an analysis to the folder of its sweep."""
    content: dict[str, Any] = dataclasses.asdict(analysis)
    for name, trial in (("smallest", analysis.smallest), ("fastest", analysis.fastest)):
        content[name] = trial.trial if trial else None
    write_json(sweep / ANALYSIS, content)


def _build_ensemble(outcomes: SweepOutcomes, members: Sequence[TrialResult], *, by_loss: bool) -> TrialEnsemble | None:
    if len(members) < 2 or not outcomes.has_all_classes:
        return None
    probabilities = np.stack([outcomes.get_probabilities(trial.id) for trial in members])
    found = build_ensemble(probabilities, outcomes.labels, by_loss=by_loss)
    weights = {members[place].id: weight for place, weight in found.weights.items()}
    return TrialEnsemble(weights, len(members), found.accuracy, found.single, found.gain, found.low, found.high)
