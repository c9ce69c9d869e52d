"""Show what the network of a finished run looks for: filters, feature maps, gradients, and images made for it."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np

from workbench import cli
from workbench.data.decoding import UnreadableImage, decode
from workbench.errors import UserError
from workbench.finished_run import open_run

MOST_PHOTOS = 500  # validation photos that are searched for what excites a unit
NUM_UNITS, NUM_PATCHES = 10, 5


@dataclasses.dataclass(frozen=True)
class ExplainConfig:
    """Explain.

    Args:
        run: Run folder.
        image: Image file to explain, or several; by default the validation photos that are most wrong.
        layer: Name of the layer to look into; by default the last of the convolutions' maps.
        photos: How many of the most wrong validation photos are explained.
    """

    run: str | None = cli.positional()
    image: list[str] = cli.positional([], optional=True)
    layer: str | None = None
    photos: int = 6


def explain(config):
    """Write the figures of a run's network into RUN/figures, and its page with them.

    Without images: every filter of the first layer, the maps of every stage for one photo, guided backpropagation
    for ten units of the last stage, Grad-CAM and integrated gradients of the most wrong validation photos, and
    images made to excite the ten units. With images: what can be said about each of them, its name in the names of
    the files. With a layer: what can be said about it, its name in the names of the files.

    Args:
        config: an `ExplainConfig`.

    Returns:
        Paths of the figures.

    Raises:
        UserError: the run, an image or the layer cannot be used.
    """
    if config.photos < 1:
        raise UserError(f"--photos {config.photos}: must be at least 1")
    run = open_run(config.run)
    from workbench.runtime import load_tensorflow

    load_tensorflow()
    from workbench.console import console
    from workbench.explaining.explainer import Explainer
    from workbench.report import leave_report
    from workbench.reporting.figures import words

    images = _decoded(config.image, run)
    folder = run.path / "figures"
    explainer = Explainer(run.model, run.class_names, folder, config.layer)
    folder.mkdir(exist_ok=True)
    paths = []
    for path in _of_images(explainer, images, config) if images else _of_run(explainer, run, config):
        paths.append(path)
        console.print(f"{path}\n  {words(path)[0]}")
    console.print(f"report: {leave_report(run.path)}")
    return paths


def _of_run(explainer, run, config):
    """Figures about the network and its validation photos."""
    from workbench.console import decoding_progress
    from workbench.explaining.units import most_wrong, survey, telling_units

    dataset = run.dataset(decoding_progress)
    rows = dataset.validation
    if len(rows) > MOST_PHOTOS:  # evenly spaced, so that every class keeps its share
        rows = rows[np.linspace(0, len(rows) - 1, MOST_PHOTOS).round().astype(int)]
    images, labels = dataset.images[rows], dataset.labels[rows]
    seen = survey(explainer.network, explainer.layer, images)
    channels = telling_units(seen.strongest, NUM_UNITS, NUM_PATCHES)
    order = most_wrong(seen.logits, labels, len(labels))
    wrong, surest = order[: config.photos], order[-1]
    photos = explainer.photos(images[wrong], [dataset.names[row] for row in rows[wrong]], labels[wrong])
    name = f"a photo of {run.class_names[labels[surest]]}"
    example = explainer.photos(images[surest][None], [name], [labels[surest]])[0]
    if not config.layer:
        yield explainer.filters()
        yield explainer.first_maps(example)
        yield explainer.stage_maps(example)
        yield explainer.integrated_gradients(photos)
    else:
        yield explainer.layer_maps(example)
    yield explainer.gradcam(photos)
    if not len(channels):
        raise UserError(f"{run.path}: no unit of {explainer.layer} responds to any validation photo; see --layer")
    yield explainer.guided_backprop(seen, channels, images, labels, NUM_PATCHES)
    yield explainer.maximised(channels, seen.strongest.max(axis=0)[channels])


def _of_images(explainer, images, config):
    """Figures about each image, a dictionary name -> pixels."""
    from workbench.explaining.units import survey

    for name, image in images.items():
        (photo,) = explainer.photos([image], [name])
        suffix = f"_{name}"
        if not config.layer:
            yield explainer.first_maps(photo, suffix)
            yield explainer.stage_maps(photo, suffix)
            yield explainer.integrated_gradients([photo], suffix)
        else:
            yield explainer.layer_maps(photo, suffix)
        yield explainer.gradcam([photo], suffix)
        seen = survey(explainer.network, explainer.layer, image[None])
        strongest = np.argsort(-seen.strongest[0], kind="stable")[:NUM_UNITS]
        yield explainer.guided_backprop(seen, strongest, image[None], suffix=suffix)


def _decoded(files, run):
    """name -> pixels of the image files as the network takes them; files of one name are numbered."""
    images = {}
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


def main(argv=None):
    """Run the command line."""
    cli.main(explain, ExplainConfig, prog="python -m workbench.explain", description=__doc__, argv=argv)


if __name__ == "__main__":
    main()
