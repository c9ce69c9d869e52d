"""The page of labels that may be wrong: one HTML file that needs no other files."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from workbench.files import write_text
from workbench.labels.predictions import Predictions
from workbench.labels.problems import LabelProblem
from workbench.reporting.templates import render

MAX_SHOWN = 300  # images; labels.csv has them all
_SIDE = 144  # pixels


def write_page(path: Path, problems: Sequence[LabelProblem], predictions: Predictions) -> None:
    """Write the page: photo, label, what the models say, and how sure they are."""
    dataset = predictions.dataset
    page = render(
        "labels.html",
        name=dataset.name,
        num_images=len(predictions.names),
        models=predictions.models,
        num_problems=len(problems),
        problems=[(item, _encode(dataset.images[item.row])) for item in problems[:MAX_SHOWN]],
        side=_SIDE,
    )
    write_text(path, page)


def _encode(pixels: np.ndarray) -> str:
    """Return a small copy of an image as the address of a JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(pixels)).resize((_SIDE, _SIDE)).save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
