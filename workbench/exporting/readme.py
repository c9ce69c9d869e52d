"""The text that is saved next to an exported model: what goes into it, and what comes out."""

from workbench.data.decoding import PAD_COLOUR
from workbench.evaluation.calibration.saved_calibration import SavedCalibration
from workbench.exporting.calibrated import describe_calibration


def describe_use(size: int, resize: str, num_classes: int, calibration: SavedCalibration | None) -> str:
    """Return how the images are prepared for a model, and what its output means.

    Args:
        size: side of its images in pixels.
        resize: how the images of its training were made square, see `workbench.data.decoding.decode`.
        num_classes: number of its classes.
        calibration: of its probabilities; None if they are the network's own.
    """
    steps = {
        "crop": f"Scale the short side to {size} pixels and cut out the centre.",
        "pad": f"Scale the long side to {size} pixels and centre the image on a square of RGB {PAD_COLOUR}.",
        "stretch": f"Scale both sides to {size} pixels.",
    }
    return f"""Input: uint8 RGB images (batch, {size}, {size}, 3), 0 to 255, as in training:
1. Turn the photo upright by its EXIF orientation. Put transparent images on white.
2. {steps[resize]} Scale bilinearly, with antialiasing.
Do not normalise the pixels; the model does.

Output: float32 logits (batch, {num_classes}), in the order of classes.json; their softmax is the probabilities.
{describe_calibration(calibration) if calibration else "They are not calibrated."}
"""
