"""The photos of a data set by their names.

Nobody can ask for a path: a photo is found by its name in the list of the data set's photos. What is served was decoded
and encoded again, so that only images are.
"""

import io
import threading
import time
from pathlib import PurePath

import numpy as np
from PIL import Image

from workbench.data.decoding import UnreadableImage, decode
from workbench.data.source import Item, Source
from workbench.data.sources import open_source
from workbench.data.tfds_source import NATURE_12K, PREFIX
from workbench.errors import UserError

SIZES = (160, 480)  # pixels of the longer side
_LISTED_AGAIN = 10.0  # seconds after which a photo that is not in the list makes it be read again


class PhotoFinder:
    """Finds photos of data sets. Its methods may be called from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sources: dict[str, tuple[Source, dict[str, Item]]] = {}  # value of --data -> its items by their names
        self._listed: dict[str, float] = {}  # value of --data -> when its items were listed

    def open(self, data: str) -> Source:
        """Return the source of a value of `--data`; it is listed once.

        Raises:
            UserError: the data cannot be found, or needs TensorFlow to be read.
        """
        return self._open(data)[0]

    def read_thumbnail(self, data: str, name: str, size: int = SIZES[0]) -> bytes:
        """Return a small JPEG of a photo.

        Args:
            data: value of `--data`. The caller must have checked that it may be shown.
            name: of the photo in the data.
            size: of the longer side in pixels.

        Raises:
            UserError: the data has no such photo, or it cannot be read.
        """
        item = self._open(data)[1].get(name)
        if item is None and time.monotonic() - self._listed.get(data, 0.0) > _LISTED_AGAIN:
            self.forget(data)  # the photo may be newer than the list
            item = self._open(data)[1].get(name)
        if item is None or not _is_inside(name):
            raise UserError(f"{data}: has no photo {name}")
        try:
            content = item.read()
        except OSError as error:
            raise UserError(f"{name}: {error.strerror}") from error
        except UnreadableImage as error:
            raise UserError(f"{name}: {error}") from error
        if content is None:
            raise UserError(f"{name}: not an image")
        return make_thumbnail(content, size)

    def _open(self, data: str) -> tuple[Source, dict[str, Item]]:
        with self._lock:
            if data not in self._sources:
                if data.startswith(PREFIX) or data == NATURE_12K:
                    raise UserError(f"{data}: its photos are not files that can be shown here")
                source = open_source(data)
                self._listed[data] = time.monotonic()
                self._sources[data] = source, {item.name: item for item in source.load_items()}
            return self._sources[data]

    def forget(self, data: str) -> None:
        """List the photos of a data set again when it is opened next."""
        with self._lock:
            self._sources.pop(data, None)


def _is_inside(name: str) -> bool:
    """Return whether a photo's name stays in the folder of its data."""
    path = PurePath(name)
    return not path.is_absolute() and ".." not in path.parts


def make_thumbnail(content: bytes | np.ndarray, size: int) -> bytes:
    """Return a JPEG whose longer side has `size` pixels.

    Args:
        content: bytes of an image file, or uint8 pixels.
        size: in pixels.

    Raises:
        UserError: it cannot be decoded.
    """
    try:
        pixels = decode(content, size, "pad")
    except UnreadableImage as error:
        raise UserError(str(error)) from None
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
