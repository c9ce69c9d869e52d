"""Draw the figures of the explanations."""

import contextlib
import dataclasses
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle
from PIL import Image
from scipy.ndimage import gaussian_filter

from workbench.reporting.figures import GREEN, ORANGE, RED, open_figure, save_figure, show_image
from workbench.wording import agree, format_count

DIVERGING = "PuOr_r"  # orange is for, purple against; distinct with every form of colour blindness
HEAT = "inferno"
_MAX_MAPS = 64
_NAME = 18  # characters of a class name above a photo


class GuidedUnit(NamedTuple):
    """A unit, and the photos that excite it, the strongest first.

    Attributes:
        label: name of the unit.
        gradients: guided gradients, shape (n, size, size, 3).
        images: photos, shape (n, size, size, 3).
        patches: (top, left, side) of each photo's patch.
    """

    label: str
    gradients: np.ndarray
    images: np.ndarray
    patches: Sequence[tuple[int, int, int]]


@dataclasses.dataclass(frozen=True)
class HeatPhoto:
    """A photo with heat maps for two classes.

    Attributes:
        image: uint8 RGB, shape (size, size, 3).
        head: text above the photo.
        is_correct: whether the predicted class is right; None if the true class is not known.
        heats: two heat maps, shape (2, height, width).
        labels: the text above each of them.
    """

    image: np.ndarray
    head: str
    is_correct: bool | None
    heats: np.ndarray
    labels: Sequence[str]


def draw_filters(path: Path, kernel: np.ndarray, layer: str) -> Path:
    """Draw each filter of the first convolution as a colour image.

    Args:
        path: of the PNG file; also returned.
        kernel: shape (height, width, 3, filters), in the order red, green, blue.
        layer: name of the layer.
    """
    filters = np.moveaxis(kernel, -1, 0)
    grey = 3 * (filters.mean(axis=-1) ** 2).sum() / ((filters**2).sum() + 1e-12)
    title = f"{grey:.0%} of the first layer's weight is common to red, green and blue; in random filters 33%"
    caption = (
        f"The weights of {layer}, red, green and blue; mid-grey is 0, each filter scaled to its largest weight. "
        "The part of the (squared) weight that is common to the colours responds to brightness, the rest to colour."
    )
    with _open_grid(len(filters), _count_columns(len(filters)), 0.8, title) as (figure, axes):
        for index, (filter_, place) in enumerate(zip(filters, axes.flat, strict=False)):
            show_image(place, 0.5 + filter_ / (2 * np.abs(filter_).max() + 1e-12))
            _write_above(place, index)
        return save_figure(figure, path, title, caption)


def draw_maps(path: Path, image: np.ndarray, maps: np.ndarray, layer: str, name: str) -> Path:
    """Draw a photo, and the maps of one layer for it: all of them, or the 64 strongest.

    Args:
        path: of the PNG file; also returned.
        image: the photo.
        maps: shape (height, width, channels).
        layer: name of the layer.
        name: name of the photo.
    """
    peaks = maps.max(axis=(0, 1))
    silent = int((peaks <= 0).sum())
    chosen = np.sort(np.argsort(-peaks, kind="stable")[:_MAX_MAPS])
    active = len(peaks) - silent
    title = f"{active} of {format_count(len(peaks), 'map')} of {layer} {agree(active, 'responds', 'respond')} to {name}"
    caption = (
        f"Outputs of {layer}, {maps.shape[0]} x {maps.shape[1]}, for the photo on the left; each map is scaled from "
        "its smallest to its largest value; a map that is nowhere above 0 is blank."
        + (f" The {_MAX_MAPS} strongest of {len(peaks)} are shown." if len(peaks) > _MAX_MAPS else "")
    )
    columns = _count_columns(len(chosen))
    with _open_grid(len(chosen), columns, 0.9, title, photo=image) as (figure, axes):
        for channel, place in zip(chosen, axes.flat, strict=False):
            _show_map(place, maps[..., channel])
            _write_above(place, channel)
        return save_figure(figure, path, title, caption)


def draw_stages(path: Path, image: np.ndarray, stages: Mapping[str, np.ndarray], name: str) -> Path:
    """Draw the strongest maps of several layers for one photo.

    Args:
        path: of the PNG file; also returned.
        image: the photo.
        stages: layer name -> maps of shape (height, width, channels).
        name: name of the photo.
    """
    shares = [float((maps > 0).mean()) for maps in stages.values()]
    ends = next(iter(stages)), list(stages)[-1]
    title = f"Of the values for {name}, {shares[0]:.0%} are above 0 in {ends[0]} and {shares[-1]:.0%} in {ends[1]}"
    caption = (
        "One row per layer: its eight strongest maps for the photo on the left, the strongest first; each map is "
        "scaled from its smallest to its largest value."
    )
    with _open_grid(8 * len(stages), 8, 0.95, title, photo=image) as (figure, axes):
        for row, (layer, maps), share in zip(axes, stages.items(), shares, strict=True):
            height, width, channels = maps.shape
            strongest = np.argsort(-maps.max(axis=(0, 1)), kind="stable")[:8]
            for channel, place in zip(strongest, row, strict=False):
                _show_map(place, maps[..., channel])
                _write_above(place, channel)
            _write_left(row[0], f"{layer}\n{channels} maps\n{height} x {width}\n{share:.0%} above 0")
        return save_figure(figure, path, title, caption)


def draw_guided(path: Path, units: Sequence[GuidedUnit], title: str, caption: str) -> Path:
    """Draw the guided gradients of units, one row per unit."""
    patches = max(len(unit.images) for unit in units)
    with _open_grid((2 + patches) * len(units), 2 + patches, 1.25, title) as (figure, axes):
        for place, head in zip(axes[0], ["strongest photo", "its patch", "guided", "next patches"], strict=False):
            place.set_title(head, fontsize=8)
        for row, (label, gradients, images, boxes) in zip(axes, units, strict=True):
            show_image(row[0], images[0])
            top, left, side = boxes[0]
            row[0].add_patch(Rectangle((left - 0.5, top - 0.5), side, side, fill=False, edgecolor=ORANGE, lw=2))
            _write_left(row[0], label)
            cuts = [np.s_[top : top + side, left : left + side] for top, left, side in boxes]
            show_image(row[1], images[0][cuts[0]])
            show_image(row[2], _scale_gradient(gradients[0][cuts[0]]))
            for place, photo, cut in zip(row[3:], images[1:], cuts[1:], strict=False):
                show_image(place, photo[cut])
        return save_figure(figure, path, title, caption)


def draw_heat(path: Path, photos: Sequence[HeatPhoto], title: str, caption: str, signed: bool) -> Path:
    """Draw photos, and for each of them the heat maps of two classes.

    Args:
        path: of the PNG file; also returned.
        photos: the photos and their heat maps.
        title, caption: words of the figure.
        signed: True draws heat on white, orange for and purple against a class; False draws it over the photo.
    """
    count = len(photos)
    rows, columns = (3, count) if count > 1 else (1, 3)
    with _open_grid(rows * columns, columns, 1.75 if count > 1 else 3.0, title) as (figure, axes):
        for photo, places in zip(photos, axes.T if count > 1 else axes, strict=True):
            show_image(places[0], photo.image)
            colour = {True: GREEN, False: RED, None: "black"}[photo.is_correct]
            places[0].set_title(photo.head, fontsize=8, color=colour)
            for place, heat, label in zip(places[1:], photo.heats, photo.labels, strict=True):
                _show_heat(place, photo.image, heat, signed)
                place.set_title(label, fontsize=8)
        pairs = [axes[:, at : at + 2].ravel().tolist() for at in range(0, count, 2)] if count > 1 else []
        return save_figure(figure, path, title, caption, [pairs] if pairs else ())


def draw_maximised(path: Path, images: np.ndarray, labels: Sequence[str], title: str, caption: str) -> Path:
    """Draw images made to excite units, each with its label."""
    columns = min(5, len(images))
    with _open_grid(len(images), columns, 1.7, title) as (figure, axes):
        for image, label, place in zip(images, labels, axes.flat, strict=False):
            show_image(place, image)
            place.set_title(label, fontsize=8)
        return save_figure(figure, path, title, caption)


def shorten_class_name(name: str) -> str:
    """Shorten the name of a class so that it fits above a photo."""
    name = " ".join(name.replace("_", " ").split())
    return name if len(name) <= _NAME else name[: _NAME - 1].rstrip() + "…"


@contextlib.contextmanager
def _open_grid(
    places: int, columns: int, inches: float, title: str, photo: np.ndarray | None = None
) -> Iterator[tuple[Figure, np.ndarray]]:
    """Yield (figure, axes of shape (rows, columns)): small squares, with a photo on the left if given.

    Args:
        places: number of squares.
        columns: squares per row.
        inches: side of a square.
        title: of the figure, for which room is left.
        photo: drawn large on the left.
    """
    rows = -(-places // columns)
    photo_width = min(2.4, inches * rows) if photo is not None else 0
    width = max(columns * inches + photo_width + 0.3, 4.8)
    lines = len(textwrap.wrap(title, int(10 * width)))
    height = rows * (inches + 0.12) + 0.45 + 0.2 * lines
    with open_figure(width, height) as (figure, axes):
        axes.remove()
        right: Figure | SubFigure = figure
        if photo is not None:
            left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[photo_width, width - photo_width])[0]
            large = left.subplots()
            large.axis("off")
            show_image(large, photo)
        grid = right.subplots(rows, columns, squeeze=False)
        for place in grid.flat:
            place.axis("off")
        yield figure, grid


def _count_columns(count: int) -> int:
    """Return the columns of a grid: up to 8 for at most 64 squares, 16 for more."""
    return min(count, 8 if count <= 64 else 16)


def _write_above(place: Axes, text: Any) -> None:
    place.set_title(text, fontsize=6, fontweight="normal", pad=1.5, loc="center")


def _write_left(place: Axes, text: str) -> None:
    place.text(-0.08, 0.5, text, transform=place.transAxes, fontsize=8, ha="right", va="center")


def _show_map(place: Axes, values: np.ndarray) -> None:
    low, high = values.min(), values.max()
    show_image(place, values, vmin=low, vmax=high) if high > 0 else show_image(place, np.ones((1, 1, 3)))


def _scale_gradient(gradient: np.ndarray) -> np.ndarray:
    """Return a gradient as an image: mid-grey is 0, the largest magnitudes are black and white."""
    return np.clip(0.5 + gradient / (2 * np.percentile(np.abs(gradient), 99) + 1e-12), 0, 1)


def _show_heat(place: Axes, image: np.ndarray, heat: np.ndarray, signed: bool) -> None:
    """Draw a heat map, on white if it is signed and over the photo in grey if not."""
    if signed:
        heat = gaussian_filter(heat, 1)
        reach = np.percentile(np.abs(heat), 99.5) + 1e-12
        show_image(place, heat, cmap=DIVERGING, norm=TwoSlopeNorm(0, -reach, reach))
        return
    size = image.shape[1::-1]
    large = np.asarray(Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
    show_image(place, image.mean(axis=-1), cmap="gray", vmin=0, vmax=255)
    place.imshow(large, cmap=HEAT, vmin=0, vmax=large.max() or 1, alpha=0.6)
