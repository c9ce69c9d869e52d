"""A model in memory: what it says about a photo, and why. Importing this module loads TensorFlow."""

import base64
import dataclasses
import io

import numpy as np
from matplotlib import colormaps
from PIL import Image
from scipy.ndimage import gaussian_filter

from workbench.data.decoding import UnreadableImage, decode
from workbench.errors import UserError
from workbench.evaluation.calibration.saved_calibration import read_calibration
from workbench.evaluation.probabilities import rank_classes, softmax
from workbench.explaining.drawing import HEAT
from workbench.explaining.explainer import Explainer
from workbench.explaining.gradcam import grad_cam
from workbench.explaining.integrated import integrated_gradients
from workbench.explaining.neighbours import compute_features, find_neighbours
from workbench.finished_run import FinishedRun

_SHOWN = 320  # pixels of a heat map's side
_SEARCHED = 3000  # training photos that are compared with a photo, evenly spaced
Picture = str  # `data:` address of an image


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a model says about a photo.

    Attributes:
        classes: (class, probability) of the most probable classes, the most probable first.
        photo: the photo as the model sees it.
        is_unknown: whether the model is less confident than the threshold for "unknown"; None where it is not known.
        note: what the probabilities are, where they are calibrated.
    """

    classes: list[tuple[str, float]]
    photo: Picture
    is_unknown: bool | None = None
    note: str = ""


@dataclasses.dataclass(frozen=True)
class SimilarPhoto:
    """A training photo: its name in the data, its class, the cosine of its features with those of the photo."""

    name: str
    class_name: str
    similarity: float
    photo: Picture


@dataclasses.dataclass(frozen=True)
class SimilarPhotos:
    """The training photos that are similar to a photo.

    Attributes:
        photos: the most similar first.
        searched: number of training photos that were compared with the photo.
        total: number of all training photos.
    """

    photos: list[SimilarPhoto]
    searched: int
    total: int

    def describe(self) -> str:
        """Return a heading, such as `The most similar among 3,000 of the 30,000 training photos`."""
        if self.searched == self.total:
            return "The most similar training photos"
        return f"The most similar among {self.searched:,} of the {self.total:,} training photos"


class LoadedModel:
    """A model in memory, with what its explanations need.

    Args:
        run: the run that it belongs to.

    Raises:
        UserError: the model cannot be loaded.
    """

    def __init__(self, run: FinishedRun) -> None:
        self.run, self.size = run, run.image_size
        self._explainer: Explainer | None = None
        self._features: tuple[np.ndarray, np.ndarray] | None = None  # rows of the training photos, their features

    def decode(self, content: bytes) -> np.ndarray:
        """Return a photo as the model takes it, uint8 RGB (size, size, 3).

        Raises:
            UserError: it is not an image that can be read.
        """
        try:
            return decode(content, self.size, self.run.config.get("resize", "crop"))
        except UnreadableImage as error:
            raise UserError(f"this photo cannot be read: {error}") from None

    def classify(self, image: np.ndarray, top_k: int) -> Answer:
        """Return the most probable classes of a photo, with calibrated probabilities where the run has a calibration.

        Raises:
            UserError: calibration.json is damaged.
        """
        logits, calibration = self.run.model.predict_on_batch(image[None]), read_calibration(self.run)
        (probabilities,) = calibration.compute_probabilities(logits) if calibration else softmax(logits)
        names = self.run.class_names
        ranked = [(names[label], float(probabilities[label])) for label in rank_classes(probabilities)[:top_k]]
        if calibration is None:
            return Answer(ranked, _draw(image))
        return Answer(ranked, _draw(image), bool(probabilities.max() < calibration.threshold), calibration.describe())

    def draw_gradcam(self, image: np.ndarray) -> Picture:
        """Return the photo under the evidence for its predicted class, by Grad-CAM.

        Raises:
            UserError: the network has no feature maps that can be explained.
        """
        explainer = self._get_explainer()
        (photo,) = explainer.make_photos([image], ["photo"])
        (heat,) = grad_cam(explainer.network, explainer.cam_layer, image[None], np.array([photo.predicted]))
        return _draw(image, heat)

    def draw_integrated_gradients(self, image: np.ndarray) -> Picture:
        """Return the photo under the pixels that speak for its predicted class, by integrated gradients.

        Raises:
            UserError: the network cannot be explained.
        """
        explainer = self._get_explainer()
        (photo,) = explainer.make_photos([image], ["photo"])
        values = integrated_gradients(explainer.network, image[None], np.array([photo.predicted])).values[0]
        return _draw(image, np.maximum(values.sum(axis=-1), 0), blur=image.shape[0] / 64)

    def find_similar(self, image: np.ndarray, count: int) -> SimilarPhotos:
        """Compare a photo with at most 3,000 training photos, and return those with the nearest features.

        Raises:
            UserError: the run's data cannot be loaded.
        """
        network, dataset = self._get_explainer().network, self.run.load_dataset()
        if self._features is None:
            rows = dataset.train
            if len(rows) > _SEARCHED:
                rows = rows[np.linspace(0, len(rows) - 1, _SEARCHED).round().astype(int)]
            self._features = rows, compute_features(network, dataset.images[rows])
        rows, features = self._features
        nearest = find_neighbours(features, compute_features(network, image[None])[0], count)
        photos = [
            SimilarPhoto(
                dataset.names[rows[near.row]],
                self.run.class_names[dataset.labels[rows[near.row]]],
                near.similarity,
                _draw(dataset.images[rows[near.row]]),
            )
            for near in nearest
        ]
        return SimilarPhotos(photos, len(rows), len(dataset.train))

    def _get_explainer(self) -> Explainer:
        if self._explainer is None:
            self._explainer = Explainer(self.run.model, self.run.class_names, self.run.path / "figures")
        return self._explainer


def _draw(image: np.ndarray, heat: np.ndarray | None = None, blur: float = 0.0) -> Picture:
    """Return an image as a `data:` address of a PNG, enlarged; with heat, bright is evidence and the rest is dark.

    Args:
        image: uint8 RGB (size, size, 3).
        heat: (height, width), at least 0; it may be smaller than the image.
        blur: deviation in pixels, for heat of single pixels.
    """
    photo = Image.fromarray(image)
    if max(photo.size) < _SHOWN or heat is not None:
        photo = photo.resize((_SHOWN, _SHOWN), Image.Resampling.BICUBIC)
    if heat is not None:
        smooth = gaussian_filter(heat.astype(np.float64), blur) if blur else heat
        peak = np.quantile(smooth, 0.995) if blur else smooth.max()
        share = np.clip(smooth / peak, 0, 1) if peak > 0 else np.zeros_like(smooth)
        small = Image.fromarray((255 * share).astype(np.uint8)).resize(photo.size, Image.Resampling.BICUBIC)
        strength = np.asarray(small, np.float64)[..., None] / 255
        colours = 255 * colormaps[HEAT](strength[..., 0])[..., :3]
        mixed = 0.45 * np.asarray(photo, np.float64) + 0.55 * colours
        photo = Image.fromarray(mixed.clip(0, 255).astype(np.uint8))
    buffer = io.BytesIO()
    photo.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
