"""Decode image files to uint8 RGB squares of the run's image size."""

import contextlib
import hashlib
import io
import logging
import threading
import warnings
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    SAMPLEFORMAT,
    TiffImageFile,
)

from workbench.data.image_formats import HEADER_BYTES, READABLE, explain_missing_decoder, find_image_type
from workbench.data.source import ImageData, Item
from workbench.data.thread_pool import map_in_order

MAX_PIXELS = 120_000_000  # a file that declares more is refused before it is decoded
_LARGE = 25_000_000  # pixels; larger ones are decoded one at a time, so that threads do not add up their memory
_ONE_LARGE = threading.Lock()
warnings.filterwarnings("ignore", module=r"PIL\.")  # damaged images raise errors; the warnings add nothing
logging.getLogger("PIL").addHandler(logging.NullHandler())  # nor do the messages, which would go to stderr
_ORIENTATION = 0x0112  # the EXIF tag
_READABLE_TIFF = "8 and 16 bits, grey or RGB"
_UNSIGNED, _SEPARATE, _WHITE_IS_ZERO = 1, 2, 0  # values of the TIFF's tags
# Networks subtract about this much from pixels, so the padding is close to zero for them, as is that of a convolution.
PAD_COLOUR = (128, 128, 128)
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = {_UPRIGHT[orientation] for orientation in (5, 6, 7, 8)}


class DecodedImage(NamedTuple):
    """An image as it is stored.

    Attributes:
        pixels: uint8 RGB array of shape (size, size, 3).
        sides: the short and the long side of the image before it was resized, in pixels.
        digest: of the data that it was decoded from, see `compute_digest`.
    """

    pixels: np.ndarray
    sides: tuple[int, int]
    digest: str


class DecodingFailure(NamedTuple):
    """Why there is no image.

    Attributes:
        reason: in one line.
        is_content: whether the file's content is the reason, so that reading it again fails again. If not, it could not
            be read, or there was not enough memory.
    """

    reason: str
    is_content: bool


DecodingResult = DecodedImage | DecodingFailure | None  # None: the file is no image


class UnreadableImage(Exception):
    """Raised for a file that should be an image and cannot be read as one; the message is the reason."""


def decode(data: ImageData, size: int, resize: str) -> np.ndarray:
    """Decode one image and resize it to a square.

    Args:
        data: the file's bytes, or a uint8 array of shape (height, width) or (height, width, 3).
        size: side of the result in pixels.
        resize: `crop` scales the short side to `size` and cuts out the centre; `pad` scales the long side to `size`
            and fills the rest with mid grey; `stretch` ignores the proportions.

    Returns:
        uint8 RGB array of shape (size, size, 3): the first frame, upright by its EXIF orientation;
        transparent pixels on white.

    Raises:
        UnreadableImage: the bytes are not an image of a known format that can be decoded whole.
    """
    return _decode(data, size, resize)[0]


def _decode(data: ImageData, size: int, resize: str) -> tuple[np.ndarray, tuple[int, int]]:
    """Return what `decode` returns, and the short and the long side of the image before it was resized."""
    try:
        image = _open_image(data)
        sides = min(image.size), max(image.size)
        image.draft(None, (2 * size, 2 * size))  # lets the JPEG decoder skip detail that the resize would drop
        with _ONE_LARGE if image.width * image.height > _LARGE else contextlib.nullcontext():
            square = _resize(_convert_to_rgb(image), size, resize)
        return np.asarray(_turn_upright(square, image)), sides
    except UnreadableImage:
        raise
    except Exception as error:  # a damaged file can raise nearly anything inside the decoder
        raise UnreadableImage(_describe(error)) from error


def compute_digest(data: ImageData) -> str:
    """Return 32 hexadecimal digits that differ for different files, or different arrays of pixels."""
    content = data if isinstance(data, bytes) else repr(data.shape).encode() + data.tobytes()
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def read_dimensions(data: ImageData) -> tuple[int, int]:
    """Return (width, height) of the upright image in pixels; `data` is as for `decode`.

    Raises:
        UnreadableImage: as `decode`.
    """
    if isinstance(data, np.ndarray):
        return data.shape[1], data.shape[0]
    try:
        image = _open_image(data)
        width, height = image.size
        return (height, width) if _read_turn(image) in _SIDEWAYS else (width, height)
    except UnreadableImage:
        raise
    except Exception as error:
        raise UnreadableImage(_describe(error)) from error


def _describe(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "there is not enough memory to decode it"
    return " ".join(str(error).split()) or type(error).__name__


def _open_image(data: ImageData) -> Image.Image:
    if isinstance(data, np.ndarray):
        return Image.fromarray(data)
    if not data:
        raise UnreadableImage("the file is empty")
    kind = find_image_type(data[:HEADER_BYTES])
    if kind is None:
        raise UnreadableImage(f"the bytes are not of a {READABLE} image")
    if missing := explain_missing_decoder(kind):
        raise UnreadableImage(missing)
    too_large = UnreadableImage(f"it declares more than {MAX_PIXELS:,} pixels")
    try:
        image = Image.open(io.BytesIO(data), formats=[kind])
    except UnidentifiedImageError:
        unknown = f", or it is of a kind that is not read ({_READABLE_TIFF} are)" if kind == "TIFF" else ""
        raise UnreadableImage(f"the header of the {kind} is damaged{unknown}") from None
    except Image.DecompressionBombError:
        raise too_large from None
    if image.width * image.height > MAX_PIXELS:
        raise too_large
    if isinstance(image, TiffImageFile):
        _check_tiff(image)
    return image


def _check_tiff(image: TiffImageFile) -> None:
    """Refuse a TIFF whose numbers have no black and white of their own, or that Pillow misreads.

    A scale made from each image's darkest and brightest pixel would hide how bright it is.
    """
    tags = image.tag_v2
    bits, formats = max(tags.get(BITSPERSAMPLE, (1,))), {*tags.get(SAMPLEFORMAT, (_UNSIGNED,))}
    if formats != {_UNSIGNED} or bits > 16:
        kind = {2: "signed ", 3: "floating-point "}.get(max(formats), "")
        raise UnreadableImage(f"it holds {kind}numbers of {bits} bits; save it as unsigned numbers of 8 or 16 bits")
    if bits == 16 and tags.get(PLANAR_CONFIGURATION) == _SEPARATE and image.info["compression"] == "raw":
        raise UnreadableImage("it holds 16-bit colours in separate planes; save it with interleaved colours")


def _convert_to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _scale_grey(image).convert("RGB")
    if image.mode in ("RGBA", "RGBa", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        background = Image.new("RGB", image.size, "white")
        background.paste(image, mask=image.getchannel("A"))
        return background
    return image.convert("RGB")


def _scale_grey(image: Image.Image) -> Image.Image:
    """Return 8 bits of grey for the 12 or 16 of an image, so that white stays white."""
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    (bits,) = tags.get(BITSPERSAMPLE, (16,))
    grey = (np.asarray(image) // ((2**bits - 1) // 255)).astype(np.uint8)
    return Image.fromarray(255 - grey if tags.get(PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO else grey)


def _read_turn(image: Image.Image) -> Image.Transpose | None:
    """Return the turn that the EXIF orientation asks for, or None; damaged EXIF data is ignored."""
    if isinstance(image, TiffImageFile):  # Pillow turns these itself, as pillow-heif does HEIC
        return None
    try:
        return _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:
        return None


def _turn_upright(square: Image.Image, image: Image.Image) -> Image.Image:
    turn = _read_turn(image)
    return square if turn is None else square.transpose(turn)


def _resize(image: Image.Image, size: int, resize: str) -> Image.Image:
    if image.size == (size, size):
        return image
    if resize == "crop":
        return ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    if resize == "pad":
        return _pad(image, size)
    return image.resize((size, size), Image.Resampling.BILINEAR)


def _pad(image: Image.Image, size: int) -> Image.Image:
    """Scale the long side to `size` and centre the image on mid grey."""
    scale = size / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    square = Image.new("RGB", (size, size), PAD_COLOUR)
    square.paste(image.resize((width, height), Image.Resampling.BILINEAR), ((size - width) // 2, (size - height) // 2))
    return square


def decode_items(items: Iterable[Item], size: int, resize: str) -> Iterator[tuple[Item, DecodingResult]]:
    """Decode items in order, on all cores.

    Args:
        items: items of a source.
        size, resize: as for `decode`.

    Yields:
        (item, its decoded image), or (item, why it cannot be decoded), or (item, None) if it is no image.
    """

    def decode_item(item: Item) -> tuple[Item, DecodingResult]:
        try:
            data = item.read()
            return item, None if data is None else DecodedImage(*_decode(data, size, resize), compute_digest(data))
        except UnreadableImage as error:
            return item, DecodingFailure(str(error), is_content=not isinstance(error.__cause__, MemoryError))
        except OSError as error:
            return item, DecodingFailure(error.strerror or str(error), is_content=False)

    return map_in_order(decode_item, items)
