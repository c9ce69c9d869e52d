"""Calibrated probabilities in an exported model: the temperature becomes a part of its last layer."""

import keras

from workbench.evaluation.calibration.saved_calibration import SavedCalibration
from workbench.keras_graph import LOGITS, rebuild


def divide_logits(model: keras.Model, temperature: float) -> keras.Model:
    """Return a copy of a model whose logits are divided by a temperature; they keep their order.

    The weights of the layer `logits` are divided, so that every format and number format takes the copy as it takes the
    model.

    Args:
        model: functional Keras model that ends in the layer `logits`, without an activation.
        temperature: above 0.
    """
    copy = rebuild(model)
    layer = copy.get_layer(LOGITS)
    layer.set_weights([weight / temperature for weight in layer.get_weights()])
    return copy


def describe_calibration(calibration: SavedCalibration) -> str:
    """Return sentences for the text next to an exported model: what its probabilities are, and when to doubt them."""
    right, wrong = calibration.unknown["right_unknown"]["share"], calibration.unknown["wrong_known"]["share"]
    return (
        f"They are {calibration.describe()}: the logits are divided by it.\n"
        f"Call a prediction unknown if its probability is below {calibration.threshold:g}. On the validation images, "
        f"that rejects {right:.1%} of the right predictions, and lets {wrong:.1%} of the wrong ones pass."
    )
