"""Draw the figures that explain one network."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from workbench.evaluation.probabilities import softmax
from workbench.explaining import drawing
from workbench.explaining.drawing import shorten_class_name
from workbench.explaining.gradcam import choose_cam_layer, grad_cam
from workbench.explaining.guided import build_guided_network, compute_guided_gradients
from workbench.explaining.integrated import integrated_gradients
from workbench.explaining.maximise import STEPS, build_ascent_network, maximise_units
from workbench.explaining.network import (
    build_float_model,
    check_map_layer,
    find_first_convolution,
    find_stage_ends,
    list_rectified_layers,
    read_rgb_kernel,
    run_in_batches,
    select_outputs,
)
from workbench.explaining.units import Survey, find_patch
from workbench.wording import agree, format_count


@dataclasses.dataclass(frozen=True)
class Photo:
    """A photo to explain.

    Attributes:
        name: its name in titles.
        image: uint8 RGB, shape (size, size, 3).
        logits: the network's logits, shape (num_classes,).
        label: index of its true class; None if it is not known.
    """

    name: str
    image: np.ndarray
    logits: np.ndarray
    label: int | None = None

    @property
    def predicted(self) -> int:
        """Index of the predicted class."""
        return int(np.argmax(self.logits))

    @property
    def other(self) -> int:
        """Index of the class to compare with: the true class or, if that is predicted, the second most probable one."""
        second = int(np.argsort(-self.logits)[:2][-1])
        return second if self.label is None or self.label == self.predicted else self.label


class Explainer:
    """Draws figures that explain a model. Each method draws one figure and returns its path.

    Attributes:
        network: the model on float32 pixels.
        stages: names of the layers at the ends of its stages.
        layer: name of the layer to explain.
        cam_layer: name of the layer whose maps Grad-CAM weighs.
    """

    def __init__(
        self,
        model: keras.Model,
        class_names: Sequence[str],
        folder: Path,
        layer: str | None = None,
        temperature: float = 1.0,
    ) -> None:
        """Prepare the explanation of a model.

        Args:
            model: flat functional model from uint8 RGB to logits.
            class_names: in the order of the labels.
            folder: for the figures.
            layer: name of the layer to explain; by default the end of the last stage.
            temperature: the logits are divided by it for the probabilities that are shown.

        Raises:
            UserError: the model cannot be explained, or has no layer of this name with maps.
        """
        self.network = build_float_model(model)
        self.stages = find_stage_ends(self.network)
        self.layer = check_map_layer(self.network, layer) if layer else self.stages[-1]
        self.cam_layer = self.layer if layer else choose_cam_layer(self.network, self.stages)
        self._model = model
        self._class_names = class_names
        self._folder = folder
        self._temperature = temperature
        self._tag = f"_{layer}" if layer else ""

    @functools.cached_property
    def _guided(self) -> keras.Model:
        return build_guided_network(self._model)

    def make_photos(
        self, images: Sequence[np.ndarray], names: Sequence[str], labels: Sequence[int] | None = None
    ) -> list[Photo]:
        """Return images as `Photo`s, with their logits."""
        logits = run_in_batches(
            lambda batch: self.network(tf.cast(batch, tf.float32), training=False), np.stack(images)
        )
        true = [None] * len(names) if labels is None else [int(label) for label in labels]
        return [Photo(*values) for values in zip(names, images, logits, true, strict=True)]

    def draw_filters(self) -> Path:
        """Draw all filters of the first convolution."""
        first = find_first_convolution(self.network)
        return drawing.draw_filters(self._folder / "filters.png", read_rgb_kernel(self.network, first), first.name)

    def draw_first_maps(self, photo: Photo, suffix: str = "") -> Path:
        """Draw the first rectified maps for a photo."""
        path = self._folder / f"first_feature_maps{suffix}.png"
        return self._draw_maps(path, photo, list_rectified_layers(self.network)[0].name)

    def draw_layer_maps(self, photo: Photo, suffix: str = "") -> Path:
        """Draw the maps of the layer for a photo."""
        return self._draw_maps(self._path("feature_maps", suffix), photo, self.layer)

    def draw_stage_maps(self, photo: Photo, suffix: str = "") -> Path:
        """Draw the strongest maps of every stage for a photo."""
        maps = select_outputs(self.network, *self.stages)(np.float32(photo.image[None]), training=False)
        maps = maps if isinstance(maps, list) else [maps]
        stages = {name: np.asarray(of_stage)[0] for name, of_stage in zip(self.stages, maps, strict=True)}
        return drawing.draw_stages(self._folder / f"feature_maps{suffix}.png", photo.image, stages, photo.name)

    def draw_guided_backprop(
        self,
        survey: Survey,
        channels: np.ndarray,
        images: np.ndarray,
        labels: np.ndarray | None = None,
        count: int = 1,
        suffix: str = "",
    ) -> Path:
        """Draw guided backpropagation for units of the layer and the photos that excite them most.

        Args:
            survey: the layer's responses to the images.
            channels: of the units.
            images: uint8 photos.
            labels: true classes of the photos, if known.
            count: photos per unit.
            suffix: end of the file's name.
        """
        photos = np.array([survey.rank_photos(channel, count) for channel in channels])
        positions = np.take_along_axis(survey.positions[:, channels].T, photos, axis=1)
        flat = np.repeat(channels, photos.shape[1]), images[photos.ravel()], positions.ravel()
        gradients = compute_guided_gradients(self._guided, self.layer, *flat).reshape(*photos.shape, *images.shape[1:])
        names = [f"unit {channel}" for channel in channels]
        title = (
            f"The {format_count(len(channels), 'unit')} of {self.layer} that this photo excites most "
            f"{agree(len(channels), 'looks', 'look')} at "
            f"{format_count(len(np.unique(positions)), 'place')} of it"
        )
        if labels is not None:
            common = [_find_most_common(of_unit) for of_unit in labels[photos]]
            votes = [f"{shorten_class_name(self._class_names[c])}\n{n} of {photos.shape[1]}" for c, n in common]
            names = [f"{name}\n{vote}" for name, vote in zip(names, votes, strict=True)]
            agreeing = sum(2 * number > photos.shape[1] for _, number in common)
            title = (
                f"{agreeing} of {format_count(len(channels), 'unit')} of {self.layer} "
                f"{agree(agreeing, 'is', 'are')} excited most by photos of one class"
            )
        boxes = [[find_patch(gradient) for gradient in of_unit] for of_unit in gradients]
        units = [drawing.GuidedUnit(*unit) for unit in zip(names, gradients, images[photos], boxes, strict=True)]
        caption = (
            "One row per unit: the photo that excites it most, its patch (90 % of the guided gradient), and the "
            "guided gradient of that patch, grey where a pixel has no influence"
            + (f"; then the patches of the next {format_count(count - 1, 'photo')}." if count > 1 else ".")
            + ("" if labels is None else " On the left: the most frequent class of the photos.")
        )
        return drawing.draw_guided(self._path("guided_backprop", suffix), units, title, caption)

    def draw_gradcam(self, photos: Sequence[Photo], suffix: str = "") -> Path:
        """Draw Grad-CAM for the predicted class of each photo, and for its other class."""
        classes = np.array([[photo.predicted, photo.other] for photo in photos])
        images = np.repeat(np.stack([photo.image for photo in photos]), 2, axis=0)
        found = grad_cam(self.network, self.cam_layer, images, classes.ravel())
        heats = found.reshape(len(photos), 2, *found.shape[1:])
        same = sum(_is_same_place(*pair) for pair in heats)
        title = f"In {same} of {len(photos)} photos the evidence for both classes is in the same place"
        if len(photos) == 1:
            share = measure_half_area(heats[0, 0])
            class_name = self._class_names[photos[0].predicted]
            title = f"Half of the evidence for '{class_name}' lies in {share:.0%} of {photos[0].name}"
        caption = (
            f"Grad-CAM at {self.cam_layer} ({found.shape[1]} x {found.shape[2]} positions): bright is "
            "evidence for the class, each map scaled to its largest value."
        )
        return self._draw_heat(self._path("gradcam", suffix), photos, list(heats), title, caption, signed=False)

    def draw_integrated_gradients(self, photos: Sequence[Photo], suffix: str = "") -> Path:
        """Draw integrated gradients for the predicted class of each photo, and for its other class."""
        images = np.stack([photo.image for photo in photos])
        classes = np.array([[photo.predicted, photo.other] for photo in photos])
        found = integrated_gradients(self.network, np.repeat(images, 2, axis=0), classes.ravel())
        values = found.values.sum(axis=-1)
        share = np.median([measure_half_area(np.maximum(heat, 0)) for heat in values[::2]])
        title = (
            f"Half of the evidence for the predicted class lies in {share:.0%} of the pixels; "
            f"sums match the logits within {found.gap.max():.1%}"
        )
        caption = (
            "Integrated gradients from a black image, summed over the colours: orange pixels raise the class's logit, "
            "purple ones lower it; blurred by one pixel to be visible "
            f"({found.steps.min()} to {found.steps.max()} steps)."
        )
        heats = list(values.reshape(-1, 2, *values.shape[1:]))
        path = self._folder / f"integrated_gradients{suffix}.png"
        return self._draw_heat(path, photos, heats, title, caption, signed=True)

    def draw_maximised(self, channels: np.ndarray, strongest: np.ndarray) -> Path:
        """Draw images made to excite units, and compare them with the strongest photo of each unit."""
        network = build_ascent_network(self._model, self.layer)
        images, values = maximise_units(network, self.layer, channels, strongest)
        times = np.median(values / strongest)
        labels = [f"unit {c}: {v:.3g}\nphoto {s:.3g}" for c, v, s in zip(channels, values, strongest, strict=True)]
        title = f"Images made for units of {self.layer} excite them {times:.1f} times as much as the strongest photo"
        caption = (
            f"Each is made from noise in {STEPS} steps of gradient ascent, kept smooth by jitter and total variation. "
            "Above it: the unit's value for it, and for the validation image that excites it most. The title gives the "
            "median."
        )
        return drawing.draw_maximised(self._path("maximised"), images, labels, title, caption)

    def _path(self, kind: str, suffix: str = "") -> Path:
        return self._folder / f"{kind}{self._tag}{suffix}.png"

    def _draw_maps(self, path: Path, photo: Photo, layer: str) -> Path:
        maps = select_outputs(self.network, layer)(np.float32(photo.image[None]), training=False)
        return drawing.draw_maps(path, photo.image, np.asarray(maps)[0], layer, photo.name)

    def _draw_heat(
        self, path: Path, photos: Sequence[Photo], heats: Sequence[np.ndarray], title: str, caption: str, signed: bool
    ) -> Path:
        shown = []
        for photo, of_photo in zip(photos, heats, strict=True):
            probability = softmax(photo.logits / self._temperature)[photo.predicted]
            predicted, other = (shorten_class_name(self._class_names[c]) for c in (photo.predicted, photo.other))
            is_correct = None if photo.label is None else photo.label == photo.predicted
            mark = {True: "✓ ", False: "✗ ", None: ""}[is_correct]
            truth = "" if photo.label is None else f"{shorten_class_name(self._class_names[photo.label])}: "
            head = f"{mark}{truth}seen as\n{predicted} ({probability:.0%})"
            labels = [f"for {predicted}", f"for {other}"]
            shown.append(drawing.HeatPhoto(photo.image, head, is_correct, of_photo, labels))
        return drawing.draw_heat(path, shown, title, caption, signed)


def measure_half_area(heat: np.ndarray) -> float:
    """Return the smallest share of the image that contains half of the heat (values of at least 0); 1 without heat."""
    ordered = np.sort(heat, axis=None)[::-1].astype(np.float64)
    if not ordered.sum():
        return 1.0
    return float((np.searchsorted(np.cumsum(ordered), ordered.sum() / 2) + 1) / ordered.size)


def _is_same_place(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two heat maps show the same place: their correlation is above a half."""
    return bool(one.std() and other.std() and np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.5)


def _find_most_common(labels: np.ndarray) -> tuple[int, int]:
    """Return the most frequent label and how often it occurs."""
    values, counts = np.unique(labels, return_counts=True)
    return int(values[counts.argmax()]), int(counts.max())
