"""Changes that make photos worse, as cameras and networks do: blur, noise, JPEG, darkness and scale."""

import dataclasses
import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from workbench.data.decoding import PAD_COLOUR

Change = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Corruption:
    """A change of photos.

    Attributes:
        name: such as `blur`.
        unit: what a strength means, with a place for the number.
        strengths: from weak to strong.
        apply: changes an image, uint8 RGB (size, size, 3), with a strength and a random generator.
    """

    name: str
    unit: str
    strengths: tuple[float, ...]
    apply: Change

    def describe(self, strength: float) -> str:
        """Return a strength in words, such as `radius 2 % of the side`."""
        return self.unit.format(f"{strength:g}")


def _blur(image: np.ndarray, percent: float, rng: np.random.Generator) -> np.ndarray:
    radius = percent / 100 * image.shape[0]
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))


def _add_noise(image: np.ndarray, percent: float, rng: np.random.Generator) -> np.ndarray:
    noise = rng.standard_normal(image.shape, np.float32) * (255 * percent / 100)
    return (image + noise).round().clip(0, 255).astype(np.uint8)


def _compress(image: np.ndarray, quality: float, rng: np.random.Generator) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=int(quality))
    return np.asarray(Image.open(buffer))


def _darken(image: np.ndarray, percent: float, rng: np.random.Generator) -> np.ndarray:
    return (image * np.float32(percent / 100)).round().astype(np.uint8)


def _shrink(image: np.ndarray, percent: float, rng: np.random.Generator) -> np.ndarray:
    size = image.shape[0]
    side = max(1, round(size * percent / 100))
    square = Image.new("RGB", (size, size), PAD_COLOUR)
    small = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)
    square.paste(small, ((size - side) // 2, (size - side) // 2))
    return np.asarray(square)


CORRUPTIONS = (
    Corruption("blur", "Gaussian blur, radius {} % of the side", (1, 2, 4), _blur),
    Corruption("noise", "Gaussian noise, deviation {} % of white", (5, 10, 20), _add_noise),
    Corruption("JPEG", "JPEG of quality {}", (40, 15, 5), _compress),
    Corruption("darkness", "{} % of the brightness", (60, 35, 15), _darken),
    Corruption("scale", "photo at {} % of its size, grey around it", (80, 60, 40), _shrink),
)


def corrupt(image: np.ndarray, corruption: Corruption, strength: float, seed: int, row: int) -> np.ndarray:
    """Return a changed image, uint8 RGB (size, size, 3); the same seed and row give the same one.

    Args:
        image: uint8 RGB (size, size, 3).
        corruption: the change.
        strength: one of its strengths.
        seed: of the random numbers.
        row: number of the image, so that images get different random numbers.
    """
    return corruption.apply(image, strength, np.random.default_rng([seed, row]))
