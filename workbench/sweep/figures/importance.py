"""How much of what the trials of a sweep differ in is due to each hyperparameter."""

import dataclasses

import numpy as np

from workbench.sweep.figures.scales import Scale

MIN_TRIALS = 8  # fewer say nothing about importance
MAX_TRIALS = 1000  # more add seconds, not knowledge
_FOLDS, _TREES = 5, 30


@dataclasses.dataclass(frozen=True)
class Importance:
    """What the variance of the scores is due to.

    Attributes:
        shares: hyperparameter -> share of the variance that it takes part in, alone or with others (the total
            effect, so that the shares may add up to more than one); the most important first.
        spreads: hyperparameter -> standard deviation of that over the folds.
        explained: share of the variance that the forest explains on trials it has not seen; can be negative.
        trials: number of trials it was computed from.
    """

    shares: dict
    spreads: dict
    explained: float
    trials: int

    @property
    def clear(self):
        """The hyperparameters whose share stands out of its spread; none if unseen trials are not foreseen."""
        told = self.explained >= 0.2
        return [name for name, share in self.shares.items() if told and share > max(0.01, self.spreads[name])]


def importance(trials):
    """Importance of each hyperparameter by a random forest, cross-validated so that chance earns nothing.

    Args:
        trials: a `workbench.sweep.trials.Trials`.

    Returns:
        An `Importance`, or None where there are too few trials or their scores are all the same.

    Source: Breiman, Random Forests, 2001 (permutation importance), by scikit-learn. Half the squared error that
    a shuffled column adds is its total effect: Jansen, Analysis of variance designs for model output, 1999.
    """
    scored = trials.scored
    if len(scored) > MAX_TRIALS:
        chosen = np.random.default_rng(0).choice(len(scored), MAX_TRIALS, replace=False)
        scored = [scored[index] for index in sorted(chosen)]
    scores = np.array([trial.score for trial in scored])
    if trials.metric == "val_loss":
        # A few trials that diverged must not be all there is to explain.
        scores = np.log(np.clip(scores, 1e-12, np.quantile(scores, 0.95)))
    if len(scored) < MIN_TRIALS or np.ptp(scores) < 1e-9 or not trials.parameters:
        return None
    places = np.column_stack([_column(name, values, scored) for name, values in trials.parameters.items()])
    gains, errors = _cross_validated(places, scores)
    shares, spreads = (statistic(gains, axis=0) / 2 / scores.var() for statistic in (np.mean, np.std))
    names = list(trials.parameters)
    order = np.argsort(-shares, kind="stable")
    return Importance(
        {names[at]: float(shares[at]) for at in order},
        {names[at]: float(spreads[at]) for at in order},
        float(1 - errors.mean() / scores.var()),
        len(scored),
    )


def _column(name, values, scored):
    used = [trial.values[name] for trial in scored]
    return list(map(Scale(values, used), used))


def _cross_validated(places, scores):
    """(folds x hyperparameters) mean squared error added by shuffling a column, and each fold's error."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import KFold

    gains, errors = [], []
    for train, test in KFold(_FOLDS, shuffle=True, random_state=0).split(places):
        forest = RandomForestRegressor(_TREES, random_state=0).fit(places[train], scores[train])
        shuffled = permutation_importance(
            forest, places[test], scores[test], scoring="neg_mean_squared_error", n_repeats=3, random_state=0
        )
        gains.append(shuffled.importances_mean)
        errors.append(np.mean((forest.predict(places[test]) - scores[test]) ** 2))
    return np.array(gains), np.array(errors)
