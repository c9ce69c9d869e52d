"""Probabilities of classes: the softmax of logits, and rankings."""

import numpy as np
import numpy.typing as npt


def softmax(logits: npt.ArrayLike) -> np.ndarray:
    """Return probabilities, float64, by a softmax over the last axis."""
    scores = np.asarray(logits, np.float64)
    exponents = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def rank_classes(probabilities: np.ndarray) -> np.ndarray:
    """Return class indices, the most probable first; of equal ones the lower index first.

    Args:
        probabilities: (..., num_classes).
    """
    return np.argsort(-probabilities, axis=-1, kind="stable")


def is_in_top(probabilities: np.ndarray, labels: npt.ArrayLike, k: int) -> np.ndarray:
    """Return a bool array (n,): whether the true class is among the `k` most probable ones."""
    return (rank_classes(probabilities)[:, :k] == np.asarray(labels)[:, None]).any(axis=1)
