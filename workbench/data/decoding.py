"""From the bytes of an image file to uint8 RGB at the run's size."""

import contextlib
import io
import threading
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

_SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
}
_IMAGE_SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp"),
    *(".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2"),
}
MAX_PIXELS = 120_000_000  # a file that declares more is refused before it is decoded
_LARGE = 25_000_000  # pixels; larger ones are decoded one at a time, so that threads do not add up their memory
_ONE_LARGE = threading.Lock()
warnings.filterwarnings("ignore", module=r"PIL\.")  # what matters is raised; the rest would clutter the screen
_ORIENTATION = 0x0112  # the EXIF tag
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


class UnreadableImage(Exception):
    """A file that should be an image and cannot be read as one; the message is the reason."""


def image_type(header):
    """The type (`JPEG`, `PNG`, `GIF`, `BMP`, `WEBP`) that the first 12 bytes of a file tell, or None."""
    if header[:4] == b"RIFF" and header[8:12] == b"WEBP":
        return "WEBP"
    return next((name for signature, name in _SIGNATURES.items() if header.startswith(signature)), None)


def claims_to_be_an_image(name):
    """Whether a file's name ends as an image's does, whatever its bytes are."""
    return any(name.lower().endswith(suffix) for suffix in _IMAGE_SUFFIXES)


def decode(data, size, resize):
    """Decode one image and bring it to a square.

    Args:
        data: the file's bytes, or a uint8 array of shape (height, width) or (height, width, 3).
        size: side of the result in pixels.
        resize: `crop` scales the short side to `size` and cuts out the centre; `stretch` ignores the shape.

    Returns:
        uint8 RGB array of shape (size, size, 3): the first frame, upright by its EXIF orientation;
        transparent pixels on white.

    Raises:
        UnreadableImage: the bytes are not a JPEG, PNG, GIF, BMP or WebP that can be decoded whole.
    """
    try:
        image = _opened(data)
        image.draft(None, (2 * size, 2 * size))  # lets the JPEG decoder skip detail that the resize would drop
        with _ONE_LARGE if image.width * image.height > _LARGE else contextlib.nullcontext():
            square = _resized(_rgb(image), size, resize)
        return np.asarray(_upright(square, image))
    except UnreadableImage:
        raise
    except Exception as error:  # a damaged file can raise nearly anything inside the decoder
        raise UnreadableImage(_told(error)) from error


def dimensions(data):
    """(width, height) of the upright image in pixels; `data` is what `decode` takes.

    Raises:
        UnreadableImage: as `decode`.
    """
    if isinstance(data, np.ndarray):
        return data.shape[1], data.shape[0]
    try:
        image = _opened(data)
        return image.size[::-1] if _turn(image) in _SIDEWAYS else image.size
    except UnreadableImage:
        raise
    except Exception as error:
        raise UnreadableImage(_told(error)) from error


def _told(error):
    return " ".join(str(error).split()) or type(error).__name__


def _opened(data):
    if isinstance(data, np.ndarray):
        return Image.fromarray(data)
    if not data:
        raise UnreadableImage("the file is empty")
    kind = image_type(data[:12])
    if kind is None:
        raise UnreadableImage("the bytes are not of a JPEG, PNG, GIF, BMP or WebP image")
    try:
        image = Image.open(io.BytesIO(data), formats=[kind])
    except UnidentifiedImageError:
        raise UnreadableImage(f"the header of the {kind} is damaged") from None
    except Image.DecompressionBombError:
        image = None
    if image is None or image.width * image.height > MAX_PIXELS:
        raise UnreadableImage(f"it declares more than {MAX_PIXELS:,} pixels")
    return image


def _rgb(image):
    if image.mode.startswith("I"):  # 16-bit grey
        return Image.fromarray((np.asarray(image) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Image.new("RGB", image.size, "white")
        ground.paste(image, mask=image.getchannel("A"))
        return ground
    return image.convert("RGB")


def _turn(image):
    """How the EXIF orientation asks an image to be turned, or None; damaged EXIF data is passed over."""
    try:
        return _UPRIGHT.get(image.getexif().get(_ORIENTATION))
    except Exception:
        return None


def _upright(square, image):
    turn = _turn(image)
    return square if turn is None else square.transpose(turn)


def _resized(image, size, resize):
    if image.size == (size, size):
        return image
    if resize == "crop":
        return ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    return image.resize((size, size), Image.Resampling.BILINEAR)
