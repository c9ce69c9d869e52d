"""One network with its layers chosen, and a method for each figure about it."""

import dataclasses
import functools

import numpy as np
import tensorflow as tf

from workbench.explaining import drawing, network
from workbench.explaining.gradcam import cam_layer, grad_cam
from workbench.explaining.guided import guided_gradients, guided_network
from workbench.explaining.integrated import integrated_gradients
from workbench.explaining.maximise import STEPS, ascent_network, maximised
from workbench.explaining.units import patch
from workbench.finished_run import softmax


@dataclasses.dataclass(frozen=True)
class Photo:
    """A photo to explain.

    Attributes:
        name: what it is called in titles.
        image: uint8 RGB, shape (size, size, 3).
        logits: the network's, shape (num_classes,).
        label: index of its class, None where nobody told.
    """

    name: str
    image: np.ndarray
    logits: np.ndarray
    label: int | None = None

    @property
    def said(self):
        """Index of the class that the network sees."""
        return int(np.argmax(self.logits))

    @property
    def other(self):
        """The class that it should see or, where it sees that one or nobody told, its second guess."""
        return int(np.argsort(-self.logits)[:2][-1]) if self.label in (None, self.said) else self.label


class Explainer:
    """Draws what a model looks for.

    Attributes:
        network: the model on float32 pixels.
        stages: names of the layers that end its stages.
        layer: name of the layer to look into.
    """

    def __init__(self, model, class_names, folder, layer=None):
        """`folder` takes the figures; `layer` is looked into in place of the last stage's.

        Raises:
            UserError: the model cannot be explained, or has no such layer of maps.
        """
        self.network = network.build_float_model(model)
        self.stages = network.stage_ends(self.network)
        self.layer = network.map_layer(self.network, layer) if layer else self.stages[-1]
        self._cam_layer = self.layer if layer else cam_layer(self.network, self.stages)
        self._model = model
        self._class_names = class_names
        self._folder = folder
        self._tag = f"_{layer}" if layer else ""

    @functools.cached_property
    def _guided(self):
        return guided_network(self._model)

    def photos(self, images, names, labels=None):
        """The images as `Photo`s."""
        logits = network.in_batches(
            lambda batch: self.network(tf.cast(batch, tf.float32), training=False), np.stack(images)
        )
        labels = [None] * len(names) if labels is None else [int(label) for label in labels]
        return [Photo(*values) for values in zip(names, images, logits, labels, strict=True)]

    def filters(self):
        """All filters of the first convolution."""
        first = network.first_convolution(self.network)
        return drawing.draw_filters(self._folder / "filters.png", np.asarray(first.kernel), first.name)

    def first_maps(self, photo, suffix=""):
        """The first rectified maps for a photo."""
        path = self._folder / f"first_feature_maps{suffix}.png"
        return self._draw_maps(path, photo, network.rectified_maps(self.network)[0].name)

    def layer_maps(self, photo, suffix=""):
        """The maps of the layer for a photo."""
        return self._draw_maps(self._path("feature_maps", suffix), photo, self.layer)

    def stage_maps(self, photo, suffix=""):
        """The strongest maps of every stage for a photo."""
        maps = network.output_of(self.network, *self.stages)(np.float32(photo.image[None]), training=False)
        maps = maps if isinstance(maps, list) else [maps]
        stages = {name: np.asarray(of_stage)[0] for name, of_stage in zip(self.stages, maps, strict=True)}
        return drawing.draw_stages(self._folder / f"feature_maps{suffix}.png", photo.image, stages, photo.name)

    def guided_backprop(self, survey, channels, images, labels=None, count=1, suffix=""):
        """Guided backpropagation for units of the layer and the photos that excite them most.

        Args:
            survey: a `workbench.explaining.units.Survey` of the images.
            channels: of the units.
            images: uint8 photos.
            labels: their classes, or None.
            count: photos a unit.
        """
        photos = np.array([survey.top_photos(channel, count) for channel in channels])
        positions = np.take_along_axis(survey.positions[:, channels].T, photos, axis=1)
        flat = np.repeat(channels, photos.shape[1]), images[photos.ravel()], positions.ravel()
        gradients = guided_gradients(self._guided, self.layer, *flat).reshape(*photos.shape, *images.shape[1:])
        names = [f"unit {channel}" for channel in channels]
        title = (
            f"The {len(channels)} units of {self.layer} that this photo excites most look at "
            f"{len(np.unique(positions))} places of it"
        )
        if labels is not None:
            common = [_most_common(of_unit) for of_unit in labels[photos]]
            votes = [f"{drawing.class_name(self._class_names[c])}\n{n} of {photos.shape[1]}" for c, n in common]
            names = [f"{name}\n{vote}" for name, vote in zip(names, votes, strict=True)]
            agreeing = sum(2 * number > photos.shape[1] for _, number in common)
            title = f"{agreeing} of {len(channels)} units of {self.layer} are excited most by photos of one class"
        boxes = [[patch(gradient) for gradient in of_unit] for of_unit in gradients]
        units = list(zip(names, gradients, images[photos], boxes, strict=True))
        caption = (
            "A row a unit: the photo that excites it most, its patch (90 % of the guided gradient), and the "
            "guided gradient of that patch, grey where a pixel does not matter"
            + (f"; then the patches of the next {count - 1} photos." if count > 1 else ".")
            + ("" if labels is None else " On the left: the class that most of the photos are of.")
        )
        return drawing.draw_guided(self._path("guided_backprop", suffix), units, title, caption)

    def gradcam(self, photos, suffix=""):
        """Grad-CAM for the class that the network sees in each photo, and for the other one."""
        said, other = (self._heats(photos, name) for name in ("said", "other"))
        maps = [np.stack(pair) for pair in zip(said, other, strict=True)]
        same = sum(_alike(*pair) for pair in maps)
        title = f"In {same} of {len(photos)} photos both classes are read off the same place"
        if len(photos) == 1:
            share = area_of_half(said[0])
            title = (
                f"Half of what speaks for '{self._class_names[photos[0].said]}' lies in {share:.0%} of {photos[0].name}"
            )
        caption = (
            f"Grad-CAM at {self._cam_layer} ({said.shape[1]} x {said.shape[2]} positions): bright is what speaks for "
            "the class, each map scaled to its largest value."
        )
        return self._draw_heat("gradcam", photos, maps, (title, caption), suffix, signed=False)

    def integrated_gradients(self, photos, suffix=""):
        """Integrated gradients for the class that the network sees in each photo, and for the other one."""
        images = np.stack([photo.image for photo in photos])
        classes = np.array([[photo.said, photo.other] for photo in photos])
        found = integrated_gradients(self.network, np.repeat(images, 2, axis=0), classes.ravel())
        values = found.values.sum(axis=-1)
        share = np.median([area_of_half(np.maximum(heat, 0)) for heat in values[::2]])
        title = (
            f"Half of what speaks for the class that is seen lies in {share:.0%} of the pixels; "
            f"sums meet the logits within {found.gap.max():.1%}"
        )
        caption = (
            "Integrated gradients from a black image, summed over the colours: orange pixels raise the class's logit, "
            f"purple ones lower it, blurred by a pixel to be seen ({found.steps.min()} to {found.steps.max()} steps)."
        )
        maps = values.reshape(len(photos), 2, *values.shape[1:])
        return self._draw_heat("integrated_gradients", photos, maps, (title, caption), suffix, signed=True)

    def maximised(self, channels, strongest):
        """Images made to excite units, against the strongest photo of each."""
        images, values = maximised(ascent_network(self._model, self.layer), self.layer, channels, strongest)
        times = np.median(values / strongest)
        labels = [f"unit {c}: {v:.3g}\nphoto {s:.3g}" for c, v, s in zip(channels, values, strongest, strict=True)]
        title = f"Images made for units of {self.layer} excite them {times:.1f} times as much as the strongest photo"
        caption = (
            f"Each made from noise in {STEPS} steps up the gradient, kept smooth by jitter and total variation. Above "
            "it: the unit's value for it and for the validation photo that excites it most. The title tells the median."
        )
        return drawing.draw_maximised(self._path("maximised"), images, labels, title, caption)

    def _path(self, kind, suffix=""):
        return self._folder / f"{kind}{self._tag}{suffix}.png"

    def _draw_maps(self, path, photo, layer):
        maps = network.output_of(self.network, layer)(np.float32(photo.image[None]), training=False)
        return drawing.draw_maps(path, photo.image, np.asarray(maps)[0], layer, photo.name)

    def _heats(self, photos, which):
        images = np.stack([photo.image for photo in photos])
        classes = np.array([getattr(photo, which) for photo in photos])
        return grad_cam(self.network, self._cam_layer, images, classes)

    def _draw_heat(self, kind, photos, maps, words, suffix, signed):
        shown = []
        for photo, heats in zip(photos, maps, strict=True):
            probabilities = softmax(photo.logits)
            said, other = (drawing.class_name(self._class_names[index]) for index in (photo.said, photo.other))
            right = None if photo.label is None else photo.label == photo.said
            mark = {True: "✓ ", False: "✗ ", None: ""}[right]
            truth = "" if photo.label is None else f"{drawing.class_name(self._class_names[photo.label])}: "
            labels = [f"for {said}", f"for {other}"]
            head = f"{mark}{truth}seen as\n{said} ({probabilities[photo.said]:.0%})"
            shown.append({"image": photo.image, "head": head, "right": right, "heats": heats, "labels": labels})
        path = self._path(kind, suffix) if kind == "gradcam" else self._folder / f"{kind}{suffix}.png"
        return drawing.draw_heat(path, shown, *words, signed)


def area_of_half(heat):
    """The smallest share of the picture that holds half of the heat (values of at least 0); 1 where there is none."""
    ordered = np.sort(heat, axis=None)[::-1].astype(np.float64)
    if not ordered.sum():
        return 1.0
    return float((np.searchsorted(np.cumsum(ordered), ordered.sum() / 2) + 1) / ordered.size)


def _alike(one, other):
    """Whether two heat maps show the same place: correlation above a half."""
    return bool(one.std() and other.std() and np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.5)


def _most_common(labels):
    values, counts = np.unique(labels, return_counts=True)
    return int(values[counts.argmax()]), int(counts.max())
