"""The figures of the explanations."""

import contextlib
import textwrap

import numpy as np
from matplotlib.colors import TwoSlopeNorm
from matplotlib.patches import Rectangle
from PIL import Image
from scipy.ndimage import gaussian_filter

from workbench.reporting.figures import GREEN, ORANGE, RED, figure, save, show_image

DIVERGING = "PuOr_r"  # orange speaks for, purple against; told apart with every form of colour blindness
HEAT = "inferno"
_MOST_MAPS = 64
_NAME = 18  # characters of a class name above a photo


def draw_filters(path, kernel, layer):
    """Every filter of the first convolution, kernel of shape (height, width, 3, filters), as a colour image."""
    filters = np.moveaxis(kernel, -1, 0)
    grey = 3 * (filters.mean(axis=-1) ** 2).sum() / ((filters**2).sum() + 1e-12)
    title = f"{grey:.0%} of the first layer's weight is common to red, green and blue; in random filters 33%"
    caption = (
        f"The weights of {layer}, red, green and blue; mid-grey is 0, each filter scaled to its largest weight. "
        "Weight (squared) that is common to the colours responds to light and dark, the rest to colour."
    )
    with _grid(len(filters), _columns(len(filters)), 0.8, title) as (made, axes):
        for index, (filter_, place) in enumerate(zip(filters, axes.flat, strict=False)):
            show_image(place, 0.5 + filter_ / (2 * np.abs(filter_).max() + 1e-12))
            _small(place, index)
        return save(made, path, title, caption)


def draw_maps(path, image, maps, layer, name):
    """The photo, and the maps of one layer for it, shape (height, width, channels); the 64 strongest if more."""
    peaks = maps.max(axis=(0, 1))
    silent = int((peaks <= 0).sum())
    chosen = np.sort(np.argsort(-peaks, kind="stable")[:_MOST_MAPS])
    title = f"{len(peaks) - silent} of {len(peaks)} maps of {layer} respond to {name}"
    caption = (
        f"Outputs of {layer}, {maps.shape[0]} x {maps.shape[1]}, for the photo on the left; each map is scaled from "
        "its smallest to its largest value; a silent one (nowhere above 0) is blank."
        + (f" The {_MOST_MAPS} strongest of {len(peaks)}." if len(peaks) > _MOST_MAPS else "")
    )
    columns = _columns(len(chosen))
    with _grid(len(chosen), columns, 0.9, title, beside=image) as (made, axes):
        for channel, place in zip(chosen, axes.flat, strict=False):
            _map(place, maps[..., channel])
            _small(place, channel)
        return save(made, path, title, caption)


def draw_stages(path, image, stages, name):
    """The strongest maps of several layers for one photo; `stages` is layer name -> (height, width, channels)."""
    shares = [float((maps > 0).mean()) for maps in stages.values()]
    ends = next(iter(stages)), list(stages)[-1]
    title = f"Of the values for {name}, {shares[0]:.0%} are above 0 in {ends[0]} and {shares[-1]:.0%} in {ends[1]}"
    caption = (
        "A row a layer, its eight strongest maps for the photo on the left, strongest first; each map is scaled from "
        "its smallest to its largest value."
    )
    with _grid(8 * len(stages), 8, 0.95, title, beside=image) as (made, axes):
        for row, (layer, maps), share in zip(axes, stages.items(), shares, strict=True):
            height, width, channels = maps.shape
            strongest = np.argsort(-maps.max(axis=(0, 1)), kind="stable")[:8]
            for channel, place in zip(strongest, row, strict=False):
                _map(place, maps[..., channel])
                _small(place, channel)
            _beside(row[0], f"{layer}\n{channels} maps\n{height} x {width}\n{share:.0%} above 0")
        return save(made, path, title, caption)


def draw_guided(path, units, title, caption):
    """Guided gradients, a row a unit.

    Args:
        units: a list of (label, gradients, images, boxes): the unit's name, and for the photos that excite it, the
            strongest first, guided gradients (n, size, size, 3), images, and patches (top, left, side).
    """
    patches = max(len(images) for _, _, images, _ in units)
    with _grid((2 + patches) * len(units), 2 + patches, 1.25, title) as (made, axes):
        for place, head in zip(axes[0], ["strongest photo", "its patch", "guided", "next patches"], strict=False):
            place.set_title(head, fontsize=8)
        for row, (label, gradients, images, boxes) in zip(axes, units, strict=True):
            show_image(row[0], images[0])
            top, left, side = boxes[0]
            row[0].add_patch(Rectangle((left - 0.5, top - 0.5), side, side, fill=False, edgecolor=ORANGE, lw=2))
            _beside(row[0], label)
            cuts = [np.s_[top : top + side, left : left + side] for top, left, side in boxes]
            show_image(row[1], images[0][cuts[0]])
            show_image(row[2], _signed(gradients[0][cuts[0]]))
            for place, photo, cut in zip(row[3:], images[1:], cuts[1:], strict=False):
                show_image(place, photo[cut])
        return save(made, path, title, caption)


def draw_heat(path, photos, title, caption, signed):
    """Photos and what speaks for two classes each, side by side.

    Args:
        photos: list of dictionaries: image, head (text above it), right (True, False or None for unknown), heats
            and labels (two heat maps and what they are for).
        signed: whether heat is shown on white, orange for and purple against, or laid over the photo.
    """
    count = len(photos)
    rows, columns = (3, count) if count > 1 else (1, 3)
    with _grid(rows * columns, columns, 1.75 if count > 1 else 3.0, title) as (made, axes):
        for photo, places in zip(photos, axes.T if count > 1 else axes, strict=True):
            show_image(places[0], photo["image"])
            colour = {True: GREEN, False: RED, None: "black"}[photo["right"]]
            places[0].set_title(photo["head"], fontsize=8, color=colour)
            for place, heat, label in zip(places[1:], photo["heats"], photo["labels"], strict=True):
                _heat(place, photo["image"], heat, signed)
                place.set_title(label, fontsize=8)
        return save(made, path, title, caption)


def draw_maximised(path, images, labels, title, caption):
    """Images made to excite units, with a label each."""
    columns = min(5, len(images))
    with _grid(len(images), columns, 1.7, title) as (made, axes):
        for image, label, place in zip(images, labels, axes.flat, strict=False):
            show_image(place, image)
            place.set_title(label, fontsize=8)
        return save(made, path, title, caption)


def class_name(name):
    """A class name short enough to stand above a photo."""
    name = " ".join(name.replace("_", " ").split())
    return name if len(name) <= _NAME else name[: _NAME - 1].rstrip() + "…"


@contextlib.contextmanager
def _grid(places, columns, inches, title, beside=None):
    """(figure, axes of shape (rows, columns)) of small squares under a title, a photo to their left if given."""
    rows = -(-places // columns)
    wide = min(2.4, inches * rows) if beside is not None else 0
    width = max(columns * inches + wide + 0.3, 4.8)
    title = textwrap.fill(title, int(11 * width))
    height = rows * (inches + 0.12) + 0.45 + 0.2 * (title.count("\n") + 1)
    with figure(width, height) as (made, axes):
        axes.remove()
        sections = made.subfigures(1, 2, width_ratios=[wide, width - wide]) if wide else [None, made]
        if wide:
            photo = sections[0].subplots()
            photo.axis("off")
            show_image(photo, beside)
        grid = sections[1].subplots(rows, columns, squeeze=False)
        for place in grid.flat:
            place.axis("off")
        made.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        yield made, grid


def _columns(count):
    """Columns of a grid: 8 up to 64 squares, 16 beyond."""
    return min(count, 8 if count <= 64 else 16)


def _small(place, text):
    place.set_title(text, fontsize=6, fontweight="normal", pad=1.5, loc="center")


def _beside(place, text):
    place.text(-0.08, 0.5, text, transform=place.transAxes, fontsize=8, ha="right", va="center")


def _map(place, values):
    low, high = values.min(), values.max()
    show_image(place, values, vmin=low, vmax=high) if high > 0 else show_image(place, np.ones((1, 1, 3)))


def _signed(gradient):
    """A gradient as an image: mid-grey is 0, its largest magnitudes are black and white."""
    return np.clip(0.5 + gradient / (2 * np.percentile(np.abs(gradient), 99) + 1e-12), 0, 1)


def _heat(place, image, heat, signed):
    if signed:
        heat = gaussian_filter(heat, 1)
        reach = np.percentile(np.abs(heat), 99.5) + 1e-12
        show_image(place, heat, cmap=DIVERGING, norm=TwoSlopeNorm(0, -reach, reach))
        return
    size = image.shape[1::-1]
    large = np.asarray(Image.fromarray(heat.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))
    show_image(place, image.mean(axis=-1), cmap="gray", vmin=0, vmax=255)
    place.imshow(large, cmap=HEAT, vmin=0, vmax=large.max() or 1, alpha=0.6)
