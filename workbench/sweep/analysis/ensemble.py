"""The greedy ensemble of a sweep's kept trials: their averaged probabilities, and what is gained by them.

Source: Caruana, Niculescu-Mizil, Crew and Ksikes, Ensemble selection from libraries of models, ICML 2004.
"""

import collections
import dataclasses

import numpy as np

from workbench.sweep.analysis.honest_winner import compute_losses
from workbench.sweep.analysis.resamples import draw_resamples

ROUNDS = 20  # members that are tried, counted with repetition
_RESAMPLES, _FEWEST_RESAMPLES = 200, 40
_MOST_WORK = 4e9  # numbers that are looked at in all resamples


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """An ensemble, and how it compares with the best single trial.

    Attributes:
        weights: place of a trial -> its weight in the average; the weights sum to 1.
        accuracy: on the validation images, on which it was selected; too good, like that of a winner.
        single: accuracy of the best single trial on the same images.
        gain: difference of the accuracies to expect on new images. The bootstrap repeats the selection of both.
        low, high: its 95 % interval.
    """

    weights: dict[int, float]
    accuracy: float
    single: float
    gain: float
    low: float
    high: float


def build_ensemble(probabilities: np.ndarray, labels: np.ndarray, *, by_loss: bool = False, seed: int = 0) -> Ensemble:
    """Select an ensemble on the validation images, and estimate its gain by the bootstrap.

    Args:
        probabilities: float32 (trials, n, num_classes).
        labels: int (n,).
        by_loss: see `select_members`.
        seed: of the resamples.
    """
    num_images = len(labels)
    members = select_members(probabilities, labels, np.ones(num_images), by_loss=by_loss)
    work = probabilities.size * ROUNDS
    count = int(np.clip(_MOST_WORK / work, _FEWEST_RESAMPLES, _RESAMPLES))
    gains = []
    for resamples in draw_resamples(num_images, count, seed):
        for counts in resamples:
            left_out = counts == 0
            if left_out.any():
                chosen = select_members(probabilities, labels, counts, by_loss=by_loss)
                together = _score(probabilities[:, left_out], labels[left_out], chosen)
                gains.append(together - _score(probabilities[:, left_out], labels[left_out], chosen[:1]))
    low, high = np.quantile(gains, [0.025, 0.975])
    return Ensemble(
        weights={place: number / len(members) for place, number in sorted(collections.Counter(members).items())},
        accuracy=_score(probabilities, labels, members),
        single=_score(probabilities, labels, members[:1]),
        gain=float(np.mean(gains)),
        low=float(low),
        high=float(high),
    )


def select_members(
    probabilities: np.ndarray, labels: np.ndarray, counts: np.ndarray, *, by_loss: bool = False
) -> list[int]:
    """Add one trial after the other, each time the one with which the average is the best; the same may come again.

    An average is better if it is right more often, and of equal ones if its loss is lower, as a sweep ranks its trials.

    Args:
        probabilities: float32 (trials, n, num_classes).
        labels: int (n,).
        counts: how often each image counts, (n,).
        by_loss: whether an average is better if its loss is lower, whatever its accuracy.

    Returns:
        Places of the members with repetition, the best single trial first.
    """
    used = counts > 0
    probabilities, labels, counts = probabilities[:, used], labels[used], counts[used]
    images = np.arange(len(labels))
    total = np.zeros(probabilities.shape[1:], np.float32)
    members: list[int] = []
    best, length = (-np.inf, -np.inf), 0
    for number in range(1, ROUNDS + 1):
        sums = total + probabilities
        right = (sums.argmax(axis=2) == labels) @ counts
        loss = compute_losses(sums[:, images, labels] / number) @ counts
        first = -loss if by_loss else right
        scores = list(zip(first.tolist(), (-loss).tolist(), strict=True))
        place = max(range(len(scores)), key=scores.__getitem__)
        members.append(place)
        total = sums[place]
        if scores[place] > best:
            best, length = scores[place], number
    return members[:length]


def _score(probabilities: np.ndarray, labels: np.ndarray, members: list[int]) -> float:
    """Return the accuracy of the average over members."""
    return float((probabilities[members].sum(axis=0).argmax(axis=1) == labels).mean())
