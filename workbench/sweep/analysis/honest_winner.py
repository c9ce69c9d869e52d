"""The accuracy that the winner of a sweep has on new images: its validation accuracy is too good, because it won by it.

The best of N trials is the one that is good and lucky on the validation images; the more trials, the more luck. The
bootstrap repeats the choice: it picks the winner on resampled images and scores it on those that are not in the
resample, which had no part in the choice.

Source: Tsamardinos, Greasidou and Borboudakis, Bootstrapping the out-of-sample predictions for efficient and accurate
cross-validation, Machine Learning 107, 2018.
"""

import dataclasses

import numpy as np

from workbench.sweep.analysis.resamples import draw_resamples

RESAMPLES = 1000
_SMALLEST = 1e-7  # probability
_DRAWS = 20  # of the accuracy on new images, for each resample


@dataclasses.dataclass(frozen=True)
class HonestWinner:
    """What is expected of the best of some trials.

    Attributes:
        trials: number of trials that it was chosen from.
        images: number of validation images.
        best: the winner's accuracy on them.
        expected: its accuracy to expect on new images of the same kind.
        low, high: in 95 % of cases its accuracy on `new_images` new images is in this interval. It is wider than one
            for an endless number of images, because a test on few images is a matter of luck too.
        new_images: number of new images.
    """

    trials: int
    images: int
    best: float
    expected: float
    low: float
    high: float
    new_images: int


def compute_losses(probabilities: np.ndarray) -> np.ndarray:
    """Return the cross-entropy, in nats, of probabilities of true classes."""
    return -np.log(np.maximum(probabilities, _SMALLEST))


def estimate_winner(
    correct: np.ndarray, losses: np.ndarray, new_images: int, *, by_loss: bool = False, seed: int = 0
) -> HonestWinner:
    """Estimate the accuracy of the best trial on new images.

    The choice of each trial's best epoch, which used the same images, is not repeated: its luck stays in the estimate.

    Args:
        correct: for each trial and validation image whether the trial classifies it correctly, bool (trials, n).
        losses: the cross-entropy of each, (trials, n). It decides between trials of equal accuracy.
        new_images: number of new images that the interval is for.
        by_loss: whether trials are ranked by their loss in place of their accuracy.
        seed: of the resamples.
    """
    num_trials, num_images = correct.shape
    hits, rounds = np.zeros(num_images), np.zeros(num_images)
    scores = correct.mean(axis=1)
    winners_scores = []
    for counts in draw_resamples(num_images, RESAMPLES, seed):
        winners = _choose(counts, correct, losses, by_loss)
        is_left_out = counts == 0
        hits += (correct[winners] & is_left_out).sum(axis=0)
        rounds += is_left_out.sum(axis=0)
        winners_scores.append(scores[winners])
    used = rounds > 0
    expected = float((hits[used] / rounds[used]).mean())
    differences = np.concatenate(winners_scores) - np.concatenate(winners_scores).mean()
    draws = _draw_accuracies(expected + differences, num_images, new_images, seed)
    low, high = np.quantile(draws, [0.025, 0.975])
    winner = _choose(np.ones((1, num_images), np.int64), correct, losses, by_loss)[0]
    return HonestWinner(
        num_trials, num_images, float(scores[winner]), expected, float(low), float(high), new_images=new_images
    )


def _choose(counts: np.ndarray, correct: np.ndarray, losses: np.ndarray, by_loss: bool) -> np.ndarray:
    """Return the place of the best trial in each resample, as a sweep ranks its trials."""
    weights = counts.astype(np.float32)
    loss = weights @ losses.T.astype(np.float32)
    if by_loss:
        return loss.argmin(axis=1)
    right = weights @ correct.T.astype(np.float32)  # whole numbers, so they are exact
    return np.where(right == right.max(axis=1, keepdims=True), loss, np.inf).argmin(axis=1)


def _draw_accuracies(means: np.ndarray, num_images: int, new_images: int, seed: int) -> np.ndarray:
    """Draw accuracies on new images, for each of some expected accuracies that were estimated on `num_images` images.

    What the true accuracy may be is drawn from Jeffreys' posterior distribution, and the accuracy on the new images
    from the binomial distribution with it.
    """
    rng = np.random.default_rng(seed)
    right = np.clip(np.repeat(means, _DRAWS), 0, 1) * num_images
    accuracies = rng.beta(right + 0.5, num_images - right + 0.5)
    return rng.binomial(new_images, accuracies) / new_images
