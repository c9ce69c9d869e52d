"""A folder with a page that classifies photos, in the layout of a Hugging Face Space: it runs without this project."""

import dataclasses
import importlib.metadata
import shutil
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import yaml
from PIL import Image

from workbench.data.decoding import PAD_COLOUR
from workbench.evaluation.calibration.saved_calibration import SavedCalibration
from workbench.exporting.calibrated import describe_calibration
from workbench.exporting.format import Format, Predict
from workbench.files import write_json, write_text
from workbench.training.checkpoints import save_model

GRADIO = ">=5,<7"
_MODEL = "model.keras"
_EXAMPLES = 6


def write_model(model: keras.Model, path: Path, _: np.ndarray) -> None:
    """Write the folder with the model alone."""
    path.mkdir()
    save_model(model, path / _MODEL)


def load_space(path: Path) -> Predict:
    """Return the function from images to logits of the model in the folder."""
    model = keras.saving.load_model(path / _MODEL, compile=False)
    model.jit_compile = False  # as in `FinishedRun.model`
    return model.predict_on_batch


@dataclasses.dataclass(frozen=True)
class Page:
    """What the page says of its model.

    Attributes:
        name: of the run.
        class_names: in the order of the labels.
        resize: how the images of its training were made square, see `workbench.data.decoding.decode`.
        calibration: of its probabilities; None if they are the network's own.
    """

    name: str
    class_names: Sequence[str]
    resize: str
    calibration: SavedCalibration | None


def write_page(path: Path, page: Page, images: np.ndarray, labels: Sequence[int]) -> None:
    """Add the page to a folder that holds the model: app.py, its settings and requirements, examples, README.md.

    Args:
        path: of the folder.
        page: what it says.
        images: photos from which the examples are chosen, uint8 RGB (n, size, size, 3).
        labels: their classes.
    """
    shutil.copyfile(Path(__file__).parent / "space_app.py", path / "app.py")
    settings = {
        "name": page.name,
        "classes": list(page.class_names),
        "resize": page.resize,
        "pad_colour": PAD_COLOUR,
        "unknown_below": page.calibration.threshold if page.calibration else None,
    }
    write_json(path / "settings.json", settings)
    needed = [f"gradio{GRADIO}", f"keras=={keras.__version__}", "numpy", "pillow"]
    write_text(path / "requirements.txt", "\n".join([*needed, f"tensorflow=={_find_tensorflow()}"]) + "\n")
    (path / "examples").mkdir()
    first = {int(label): number for number, label in reversed(list(enumerate(labels)))}  # one of each class
    for place, number in enumerate(sorted(first.values())[:_EXAMPLES]):
        Image.fromarray(images[number]).save(path / "examples" / f"example-{place + 1}.png")
    write_text(path / "README.md", _describe(page))


def _find_tensorflow() -> str:
    """Return the version of TensorFlow, which may be installed as a package for CPUs."""
    try:
        return importlib.metadata.version("tensorflow")
    except importlib.metadata.PackageNotFoundError:
        return importlib.metadata.version("tensorflow-cpu")


def _describe(page: Page) -> str:
    """Return the README of a Space: the settings that its host reads, then what it is."""
    head = {
        "title": page.name,
        "emoji": "🔬",
        "sdk": "gradio",
        "python_version": "3.11",  # Keras needs it, and the host's own may be older
        "app_file": "app.py",
        "pinned": False,
    }
    names = page.class_names
    listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    probabilities = describe_calibration(page.calibration) if page.calibration else "They are not calibrated."
    return f"""---
{yaml.safe_dump(head, allow_unicode=True, sort_keys=False)}---

# {page.name}

A classifier of {len(names)} classes: {listed}.

The page shows the probabilities of the classes. {probabilities}

Run it on your machine:

    pip install -r requirements.txt
    python app.py
"""


FILES = ("app.py", _MODEL, "settings.json", "requirements.txt", "examples", "README.md")
SPACE = Format("space", {"float32": write_model}, load_space, marker="settings.json", files=FILES)
