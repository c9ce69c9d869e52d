"""The importance of each hyperparameter: how much of the differences between trials it explains."""

import dataclasses
import itertools

import numpy as np

from workbench.sweep.figures.scales import make_scales
from workbench.sweep.figures.style import get_scores
from workbench.sweep.results import SweepResults

MIN_TRIALS = 8  # fewer trials do not show importance
MAX_TRIALS = 1000  # more trials take longer without changing the result
_FOLDS, _TREES = 5, 30
_MIN_EXPLAINED = 0.2  # share of the variance that the forest must explain before its importances are trusted


@dataclasses.dataclass(frozen=True)
class Importance:
    """How much of the variance of the scores each hyperparameter explains.

    Attributes:
        shares: hyperparameter -> share of the variance that it takes part in, alone or together with others (its total
            effect, so the sum may be more than one); the most important first.
        spreads: hyperparameter -> standard deviation of its share over the folds.
        explained: share of the variance that the forest explains on trials it was not fitted on; can be negative.
        num_trials: number of trials that were used.
    """

    shares: dict[str, float]
    spreads: dict[str, float]
    explained: float
    num_trials: int

    @property
    def clear(self) -> list[str]:
        """The first ones, as far as shares are larger than spreads; none if the forest explains too little."""
        if self.explained < _MIN_EXPLAINED:
            return []
        names = itertools.takewhile(lambda name: self.shares[name] > max(0.01, self.spreads[name]), self.shares)
        return list(names)


def estimate_importance(results: SweepResults) -> Importance | None:
    """Estimate the importance of each hyperparameter by a random forest.

    The forest is cross-validated, so that a hyperparameter without effect gets no importance by chance.

    Returns:
        The importance, or None if there are too few trials or all scores are equal.

    Source: Breiman, Random Forests, 2001 (permutation importance), as implemented by scikit-learn. Half of the squared
    error that shuffling a column adds is its total effect: Jansen, Analysis of variance designs for model output, 1999.
    """
    trials = results.scored
    if len(trials) < MIN_TRIALS or not results.parameters:
        return None
    if len(trials) > MAX_TRIALS:
        chosen = np.random.default_rng(0).choice(len(trials), MAX_TRIALS, replace=False)
        trials = [trials[index] for index in sorted(chosen)]
    scores = get_scores(trials)
    if results.metric == "val_loss":
        # Clipped and logarithmic, so that a few diverged trials do not make up nearly all of the variance.
        scores = np.log(np.clip(scores, 1e-12, np.quantile(scores, 0.95)))
    if np.ptp(scores) < 1e-9:
        return None
    scales = make_scales(results.parameters, [trial.values for trial in trials])
    features = np.array([[scale(trial.values[name]) for name, scale in scales.items()] for trial in trials])
    gains, errors = _cross_validate(features, scores)
    shares, spreads = (statistic(gains, axis=0) / 2 / scores.var() for statistic in (np.mean, np.std))
    names = list(results.parameters)
    order = np.argsort(-shares, kind="stable")
    return Importance(
        shares={names[at]: float(shares[at]) for at in order},
        spreads={names[at]: float(spreads[at]) for at in order},
        explained=float(1 - errors.mean() / scores.var()),
        num_trials=len(trials),
    )


def _cross_validate(features: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit a forest on each fold's training part and measure it on the other part.

    Args:
        features: trials x hyperparameters.
        scores: one for each trial.

    Returns:
        folds x hyperparameters: the mean squared error that shuffling the column adds; and each fold's error.
    """
    # These take a second to import, which only sweeps with enough trials should pay.
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import KFold

    gains, errors = [], []
    for train, test in KFold(_FOLDS, shuffle=True, random_state=0).split(features):
        forest = RandomForestRegressor(_TREES, random_state=0).fit(features[train], scores[train])
        shuffled = permutation_importance(
            forest, features[test], scores[test], scoring="neg_mean_squared_error", n_repeats=3, random_state=0
        )
        gains.append(shuffled.importances_mean)
        errors.append(np.mean((forest.predict(features[test]) - scores[test]) ** 2))
    return np.array(gains), np.array(errors)
