"""Rank images by how likely their label is wrong, with confident learning (Northcutt, Jiang and Chuang 2021)."""

import importlib.util

import numpy as np

from workbench.errors import UserError


def check_cleanlab() -> None:
    """Refuse to search where cleanlab is missing.

    Raises:
        UserError: says how to install it.
    """
    if importlib.util.find_spec("cleanlab") is None:
        raise UserError("the search for wrong labels needs cleanlab: pip install cleanlab")


def rank_labels(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how well each label fits, and which labels confident learning finds wrong.

    Args:
        labels: int (n,) class indices.
        probabilities: (n, num_classes) by models that have not seen the image.

    Returns:
        (scores, is_wrong): float64 (n,), the probability of the label, 0 for one that does not fit; and bool (n,).
    """
    import cleanlab.filter  # here, because it is optional, and takes seconds to import
    import cleanlab.rank

    present, encoded = np.unique(labels, return_inverse=True)  # cleanlab expects images of every class
    known = probabilities[:, present] + 1e-12
    known = known / known.sum(axis=1, keepdims=True)
    scores = cleanlab.rank.get_label_quality_scores(encoded, known, method="self_confidence")
    is_wrong = cleanlab.filter.find_label_issues(encoded, known, filter_by="prune_by_noise_rate", n_jobs=1)
    return np.asarray(scores, np.float64), np.asarray(is_wrong, bool)
