"""The figures of a run: those in its folder `figures`, and those of its evaluations on other photos.

Nobody can ask for a path: a figure is found by its name in the list of the run's figures. What is served was decoded
and encoded again, so that only images are.
"""

import io
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, urlencode

from PIL import Image

from workbench.errors import UserError
from workbench.evaluation.other_data.other_score import EVALUATIONS
from workbench.reporting.figure_metadata import Box, read_parts
from workbench.reporting.page import Picture, PicturePart, load_pictures


def list_figures(run: Path) -> dict[str, Path]:
    """Return the PNG figures of a run by their names. Links that lead out of the run's folder are left out.

    The name of a figure of an evaluation begins with the evaluation's name: `field/robustness.png`.
    """
    root = run.resolve()
    found = {path.name: path for path in sorted((run / "figures").glob("*.png"))}
    for path in sorted((run / EVALUATIONS).glob("*/figures/*.png")):
        found[f"{path.parents[1].name}/{path.name}"] = path
    return {name: path for name, path in found.items() if path.is_file() and path.resolve().is_relative_to(root)}


def locate_pictures(run: Path, paths: Iterable[Path]) -> list[Picture]:
    """Return figures of a run with the addresses of their parts; what is no PNG file is left out.

    Args:
        run: its folder.
        paths: of the figures, as in `list_figures`.
    """
    names = {path: name for name, path in list_figures(run).items()}

    def locate(path: Path, _: Image.Image, box: Box, number: int | None) -> PicturePart:
        version = path.stat().st_mtime_ns  # so that a browser does not show the figure of an earlier test
        values = {"version": version} if number is None else {"version": version, "part": number}
        address = f"/figure/{quote(run.name, safe='')}/{quote(names[path])}?{urlencode(values)}"
        return PicturePart(address, box[2] - box[0], box[3] - box[1])

    return load_pictures((path for path in paths if path in names), locate)


def read_figure(run: Path, name: str, part: int | None = None) -> bytes:
    """Return a figure of a run as PNG, or one of its parts.

    Raises:
        UserError: the run has no such figure, the figure has no such part, or it is not a PNG file.
    """
    path = list_figures(run).get(name)
    if path is None:
        raise UserError(f"{run.name}: has no figure {name}")
    try:
        boxes = read_parts(path)
        with Image.open(path, formats=["PNG"]) as image:
            if part is not None and not 0 <= part < len(boxes):
                raise UserError(f"{run.name}: the figure {name} has no part {part}")
            shown = image.copy() if part is None else image.crop(boxes[part])
            buffer = io.BytesIO()
            shown.save(buffer, "PNG")
    except (OSError, SyntaxError, ValueError):
        raise UserError(f"{run.name}: the figure {name} is damaged") from None
    return buffer.getvalue()
