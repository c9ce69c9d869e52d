"""Explain the network of a finished run: filters, feature maps, gradients, and images that excite its units."""

import sys

from workbench import cli
from workbench.commands import EXPLAIN, ExplainConfig

if __name__ == "__main__":  # parse first: the imports below load TensorFlow
    sys.exit(cli.main(EXPLAIN))

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from workbench.console import console, show_decoding
from workbench.data.decoding import UnreadableImage, decode
from workbench.errors import UserError
from workbench.evaluation.calibration.saved_calibration import read_calibration
from workbench.explaining.explainer import Explainer
from workbench.explaining.units import find_most_wrong, select_distinctive_units, survey_units
from workbench.finished_run import FinishedRun, open_run
from workbench.reporting.figure_metadata import read_words
from workbench.reporting.run_report import leave_report

MAX_PHOTOS = 500  # validation images that are searched for those that excite a unit
NUM_UNITS, NUM_PATCHES = 10, 5


def explain(config: ExplainConfig) -> list[Path]:
    """Draw the figures of a run's network into RUN/figures (or OUT/figures), and update its report.

    Without images: all filters of the first layer, the maps of every stage for one image, guided backpropagation
    for ten units of the last stage, Grad-CAM and integrated gradients of the most wrong validation images, and
    images made to excite the ten units. With images: the figures that explain one image, for each of them. With a
    layer: the figures that explain this layer. The names of the images and of the layer are in the file names.

    Returns:
        Paths of the figures.

    Raises:
        UserError: the run, an image or the layer cannot be used.
    """
    if config.photos < 1:
        raise UserError(f"--photos {config.photos}: must be at least 1")
    run = open_run(config.run, data=config.data, output=config.out)
    images = _read_images(config.image, run)
    folder = run.results_path / "figures"
    calibration = read_calibration(run)
    if calibration:
        console.print(calibration.describe())
    temperature = calibration.temperature if calibration else 1.0
    explainer = Explainer(run.model, run.class_names, folder, config.layer, temperature)
    folder.mkdir(exist_ok=True)
    figures = _explain_images(explainer, images, config) if images else _explain_run(explainer, run, config)
    paths = []
    for path in figures:
        paths.append(path)
        console.print(f"{path}\n  {read_words(path)[0]}")
    console.print(f"report: {leave_report(run.path, config.out)}")
    return paths


def _explain_run(explainer: Explainer, run: FinishedRun, config: ExplainConfig) -> Iterator[Path]:
    """Draw the figures about the network and its validation images, and yield their paths."""
    dataset = run.load_dataset(show_decoding, use="validate")
    rows = dataset.validation
    if len(rows) > MAX_PHOTOS:  # evenly spaced, so that every class keeps its share
        rows = rows[np.linspace(0, len(rows) - 1, MAX_PHOTOS).round().astype(int)]
    images, labels = dataset.images[rows], dataset.labels[rows]
    survey = survey_units(explainer.network, explainer.layer, images)
    channels = select_distinctive_units(survey.strongest, NUM_UNITS, NUM_PATCHES)
    order = find_most_wrong(survey.logits, labels, len(labels))
    wrong, best = order[: config.photos], order[-1]
    photos = explainer.make_photos(list(images[wrong]), [dataset.names[row] for row in rows[wrong]], labels[wrong])
    name = f"a photo of {run.class_names[labels[best]]}"
    example = explainer.make_photos([images[best]], [name], [labels[best]])[0]
    if not config.layer:
        yield explainer.draw_filters()
        yield explainer.draw_first_maps(example)
        yield explainer.draw_stage_maps(example)
        yield explainer.draw_integrated_gradients(photos)
    else:
        yield explainer.draw_layer_maps(example)
    yield explainer.draw_gradcam(photos)
    if not len(channels):
        raise UserError(f"{run.path}: no unit of {explainer.layer} responds to any validation image; see --layer")
    yield explainer.draw_guided_backprop(survey, channels, images, labels, NUM_PATCHES)
    yield explainer.draw_maximised(channels, survey.strongest.max(axis=0)[channels])


def _explain_images(explainer: Explainer, images: Mapping[str, np.ndarray], config: ExplainConfig) -> Iterator[Path]:
    """Draw the figures about each image, and yield their paths. `images` maps names to pixels."""
    for name, image in images.items():
        (photo,) = explainer.make_photos([image], [name])
        suffix = f"_{name}"
        if not config.layer:
            yield explainer.draw_first_maps(photo, suffix)
            yield explainer.draw_stage_maps(photo, suffix)
            yield explainer.draw_integrated_gradients([photo], suffix)
        else:
            yield explainer.draw_layer_maps(photo, suffix)
        yield explainer.draw_gradcam([photo], suffix)
        survey = survey_units(explainer.network, explainer.layer, image[None])
        strongest = np.argsort(-survey.strongest[0], kind="stable")[:NUM_UNITS]
        yield explainer.draw_guided_backprop(survey, strongest, image[None], suffix=suffix)


def _read_images(files: Sequence[str], run: FinishedRun) -> dict[str, np.ndarray]:
    """Return name -> pixels of image files, resized for the network. Files of the same name are numbered."""
    images: dict[str, np.ndarray] = {}
    for file in files:
        path = Path(file)
        if not path.is_file():
            raise UserError(f"--image {file}: no such file")
        try:
            pixels = decode(path.read_bytes(), run.image_size, run.config.get("resize", "crop"))
        except UnreadableImage as error:
            raise UserError(f"--image {file}: {error}") from None
        names = (path.stem if number == 1 else f"{path.stem}-{number}" for number in itertools.count(1))
        images[next(name for name in names if name not in images)] = pixels
    return images
