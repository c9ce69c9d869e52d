"""Temperature scaling: one number that makes a network's probabilities honest, fitted on images it has not seen."""

import numpy as np

LOWEST, HIGHEST = 0.05, 20.0


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature T for which softmax(logits / T) has the smallest mean cross-entropy.

    T above 1 makes the probabilities less confident. Classes keep their order, so the accuracy does not change. Where
    the network makes no mistake on these images, the smallest cross-entropy is that of full certainty, which a few
    images cannot justify; then T is 1.

    Source: Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks, ICML 2017.

    Args:
        logits: (n, num_classes).
        labels: int (n,), the true classes.

    Returns:
        The temperature, between 0.05 and 20.
    """
    from scipy.optimize import minimize_scalar  # imported late: a prediction must not wait for it

    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    if (logits.argmax(axis=1) == labels).all():
        return 1.0
    found = minimize_scalar(
        lambda log_temperature: compute_cross_entropy(logits / np.exp(log_temperature), labels),
        bounds=(np.log(LOWEST), np.log(HIGHEST)),
        method="bounded",
    )
    return float(np.exp(found.x))


def compute_cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean cross-entropy of softmax(logits), in nats."""
    from scipy.special import logsumexp  # imported late: a prediction must not wait for it

    return float(np.mean(logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels]))
