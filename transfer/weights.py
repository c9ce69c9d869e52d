"""Load a backbone's pretrained weights: from Keras' own download, or from a file."""

import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np

from workbench.errors import UserError
from workbench.wording import agree, format_count

SUFFIXES = (".weights.h5", ".h5", ".keras")
_DEVIATIONS = (0.229, 0.224, 0.225)  # standard deviations of ImageNet's red, green and blue, between 0 and 1


def load_imagenet_weights(build: Callable[..., keras.Model]) -> list[np.ndarray]:
    """Return the ImageNet weights that Keras offers for a network without its top.

    Args:
        build: function of keras.applications.

    Raises:
        UserError: they are not in Keras' folder and cannot be downloaded.
    """
    try:
        return build(include_top=False, weights="imagenet").get_weights()
    except Exception as error:  # Keras raises a bare Exception if the download fails
        url = re.search(r"https?://\S+[^\s:]", str(error))
        if url is None:
            raise
        reason = str(error).rsplit(" -- ", 1)[-1]
        raise UserError(
            f"--weights imagenet: cannot be downloaded ({reason}); fetch {url[0]} elsewhere and put it into "
            f"{Path.home() / '.keras' / 'models'}, or name a weights file with --weights"
        ) from error


def check_weights(weights: str) -> None:
    """Refuse a value of the option `weights` that is neither one of its words nor a file of weights.

    Raises:
        UserError: says what to give.
    """
    if weights in ("imagenet", "none"):
        return
    if not weights.endswith(SUFFIXES):
        raise UserError(f"--weights {weights}: give imagenet, none, or a file ending in {', '.join(SUFFIXES)}")
    if not Path(weights).is_file():
        raise UserError(f"--weights {weights}: no such file")


def load_file_weights(build: Callable[..., keras.Model], image_size: int, path: str, name: str) -> list[np.ndarray]:
    """Return the weights in a file that was saved from a network without its top.

    Args:
        build: function of keras.applications that builds the network.
        image_size: side of the images in pixels.
        path: a .weights.h5, .h5 or .keras file; `check_weights` has accepted it.
        name: name of the network, for error messages.

    Raises:
        UserError: it holds the weights of another network; names a layer and its shapes.
    """
    model = build(include_top=False, weights=None, input_shape=(image_size, image_size, 3))
    before = model.get_weights()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras warns of layers without weights; missing weights are checked below
            model.load_weights(path)
    except (ValueError, KeyError, OSError) as error:
        raise UserError(f"--weights {path}: not the weights of {name} without its top ({_explain(error)})") from error
    missing = _list_unchanged(model, before)
    if missing:
        raise UserError(
            f"--weights {path}: not the weights of {name} without its top "
            f"(nothing for {format_count(len(missing), 'layer')}, such as {missing[0]})"
        )
    return model.get_weights()


def set_pretrained_weights(model: keras.Model, weights: Sequence[np.ndarray]) -> None:
    """Set the weights of a network, and let it normalize its pixels with the statistics in them.

    Keras' ImageNet weights of EfficientNetB0 to B7 have standard deviations where `Normalization` takes variances.
    Keras corrects that by another layer, but only with `weights="imagenet"`. Here the variances are corrected instead,
    also those in a file.
    """
    model.set_weights(weights)
    for layer in model.layers:
        if not isinstance(layer, keras.layers.Normalization):
            continue
        if layer.weights:
            mean, variance, *others = layer.get_weights()
            if np.allclose(variance, _DEVIATIONS, rtol=1e-3):
                layer.set_weights([mean, np.square(_DEVIATIONS), *others])
        layer.finalize_state()  # computes what it normalizes with from its weights


def _list_unchanged(model: keras.Model, before: list[np.ndarray]) -> list[str]:
    """Return the names of the layers whose kernels still have the values in `before`."""
    pairs = zip(model.weights, before, strict=True)
    return [
        weight.path.split("/")[0]
        for weight, value in pairs
        if weight.path.endswith("kernel") and np.array_equal(weight.numpy(), value)
    ]


def _explain(error: Exception) -> str:
    """Shorten Keras' long message about a mismatch: how many layers, the first one, and its shapes."""
    text = " ".join(str(error).split())
    total = re.search(r"A total of (\d+) objects", text)
    count = int(total[1]) if total else 1
    mismatch = f"{format_count(count, 'layer')} {agree(count, 'does', 'do')} not match"
    layer = re.search(r"<\w+ name=([\w.]+)", text)
    shapes = re.search(r"variable\.shape=(\([\d, ]*\)), Received: value\.shape=(\([\d, ]*\))", text)
    if layer and shapes:
        return f"{mismatch}; {layer[1]} is {shapes[1]}, the file has {shapes[2]}"
    if layer:
        return f"{mismatch}, such as {layer[1]}"
    return text[:200]
