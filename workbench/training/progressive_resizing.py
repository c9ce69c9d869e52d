"""Training images that grow: small and fast at first, of full size at the end."""

import contextlib

_STAGES, _GRID = 4, 32  # sizes are multiples of 32 pixels, which five poolings halve without a rest


def stages(config, image_size):
    """The stages of a training, of about as many epochs each.

    Args:
        config: has `epochs`; the images grow if it has the fields of `ProgressiveConfig` and `start_size`
            is neither 0 nor above `image_size`.
        image_size: side of the stored images in pixels, that of the last stage.

    Returns:
        [(epoch that the stage ends before, side of its training images)].

    Source: Tan and Le, EfficientNetV2, ICML 2021.
    """
    start = getattr(config, "start_size", 0) or image_size
    grown = [start + (image_size - start) * stage / (_STAGES - 1) for stage in range(_STAGES)]
    sizes = [round(size / _GRID) * _GRID for size in grown[:-1]] if start < image_size else []
    sizes = [*sorted({size for size in sizes if size < image_size}), image_size]
    return [(config.epochs * (number + 1) // len(sizes), size) for number, size in enumerate(sizes)]


@contextlib.contextmanager
def traced_for(model, image_size):
    """Have a compiled model train by the graph that it has, or will have, for training images of this size.

    Keras' one graph for all would leave the size open, and XLA could not compile it.
    """
    graphs = model.optimizer.__dict__.setdefault("_graph_of_size", {})  # whoever compiles anew brings another optimizer
    model.train_function = graphs.get(image_size)
    try:
        yield
    finally:
        graphs[image_size] = model.train_function
