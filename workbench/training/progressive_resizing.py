"""Train with small images first and with larger ones later."""

from workbench.config import TrainingConfig

_STAGES, GRID = 4, 32  # sizes are multiples of 32 pixels, which five poolings halve without a remainder


def list_stages(training: TrainingConfig, image_size: int) -> list[tuple[int, int]]:
    """Return the stages of a training, of about equally many epochs.

    Args:
        training: settings of the training; the images grow if `start_size` is above 0 and below `image_size`.
        image_size: side of the stored images in pixels, and of the training images in the last stage.

    Returns:
        [(number of epochs done when the stage ends, side of its training images)].

    Source: Tan and Le, EfficientNetV2, ICML 2021.
    """
    start = training.start_size or image_size
    grown = [start + (image_size - start) * stage / (_STAGES - 1) for stage in range(_STAGES)]
    sizes = [round(size / GRID) * GRID for size in grown[:-1]] if start < image_size else []
    sizes = [*sorted({size for size in sizes if size < image_size}), image_size]
    return [(training.epochs * (number + 1) // len(sizes), size) for number, size in enumerate(sizes)]
