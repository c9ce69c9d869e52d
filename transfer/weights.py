"""The backbone's pretrained weights: from Keras' own download, or from a file."""

import re
import warnings
from pathlib import Path

import numpy as np

from workbench.errors import UserError

SUFFIXES = (".weights.h5", ".h5", ".keras")


def imagenet_weights(build):
    """List of the ImageNet weights that Keras offers for `build`, a function of keras.applications, without top.

    Raises:
        UserError: they are neither in Keras' folder nor can they be downloaded.
    """
    try:
        return build(include_top=False, weights="imagenet").get_weights()
    except Exception as error:  # Keras raises a bare Exception where the download fails
        url = re.search(r"https?://\S+[^\s:]", str(error))
        if url is None:
            raise
        reason = str(error).rsplit(" -- ", 1)[-1]
        raise UserError(
            f"--weights imagenet: cannot be downloaded ({reason}); fetch {url[0]} elsewhere and put it into "
            f"{Path.home() / '.keras' / 'models'}, or name a weights file with --weights"
        ) from error


def file_weights(build, image_size, path, name):
    """List of the weights in a file, saved from `build` without its top.

    Args:
        build: the function of keras.applications.
        image_size: side of the images in pixels.
        path: of a .weights.h5, .h5 or .keras file.
        name: of the backbone, for the words of an error.

    Raises:
        UserError: there is no such file, or it holds another network's weights; names a layer and its shapes.
    """
    if not path.endswith(SUFFIXES):
        raise UserError(f"--weights {path}: give imagenet, none, or a file ending in {', '.join(SUFFIXES)}")
    if not Path(path).is_file():
        raise UserError(f"--weights {path}: no such file")
    model = build(include_top=False, weights=None, input_shape=(image_size, image_size, 3))
    before = model.get_weights()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about containers that hold no weights; what is missing is told below
            model.load_weights(path)
    except (ValueError, KeyError, OSError) as error:
        raise UserError(f"--weights {path}: not the weights of {name} without its top ({_reason(error)})") from error
    missing = _unchanged(model, before)
    if missing:
        raise UserError(
            f"--weights {path}: not the weights of {name} without its top (nothing for {len(missing)} layers, "
            f"such as {missing[0]})"
        )
    return model.get_weights()


def _unchanged(model, before):
    """Names of the layers whose kernels are as they were drawn."""
    pairs = zip(model.weights, before, strict=True)
    return [
        weight.path.split("/")[0]
        for weight, value in pairs
        if weight.path.endswith("kernel") and np.array_equal(weight.numpy(), value)
    ]


def _reason(error):
    """Keras' pages about a mismatch as a phrase: how many layers, the first one, and its shapes."""
    text = " ".join(str(error).split())
    count = re.search(r"A total of (\d+) objects", text)
    layer = re.search(r"<\w+ name=([\w.]+)", text)
    shapes = re.search(r"variable\.shape=(\([\d, ]*\)), Received: value\.shape=(\([\d, ]*\))", text)
    if layer and shapes:
        return f"{count[1] if count else 1} layers do not match; {layer[1]} is {shapes[1]}, the file has {shapes[2]}"
    if layer:
        return f"{count[1] if count else 1} layers do not match, such as {layer[1]}"
    return text[:200]
