"""The decode-once store: every image of a source as uint8 at one size, in one file that is mapped into memory.

A store is the folder `<cache>/<key>/`, see `workbench.data.resumable_array`. The key covers the source's content, the
image size and the resize mode, so that runs, trials and processes share a store; and the decoders that are missing, so
that the images are decoded again when they are installed.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from workbench.cache import find_cache_dir
from workbench.data.decoding import DecodedImage, DecodingFailure, DecodingResult, decode_items
from workbench.data.image_formats import MISSING_DECODERS
from workbench.data.resumable_array import Block, ResumableArray
from workbench.data.source import Item, Source
from workbench.errors import UserError

FORMAT = 6  # raised whenever decoding or the layout changes, so that older stores are not used
DecodedItem = tuple[Item, DecodingResult]
Progress = Callable[[Iterable[DecodedItem], int], Iterable[DecodedItem]]


@dataclasses.dataclass(frozen=True)
class Store:
    """Decoded images and their labels; row i of every attribute belongs to image i.

    Attributes:
        images: uint8 array of shape (n, size, size, 3), mapped from disk.
        labels: int32 array of shape (n,).
        parts: n part names (`train`, `validation`, `test` or `unsplit`).
        names: n names, paths relative to the source's folder.
        sides: int32 array of shape (n, 2), short and long side of each image before it was resized, in pixels.
        digests: n digests of the files' contents, see `workbench.data.decoding.compute_digest`.
        unreadable: [name, reason] of each image that could not be decoded.
        decode_seconds: time the decoding took just now, 0.0 if the store was there already.
        folder: that holds the store.
        is_padded: whether the images are padded to squares.
    """

    images: np.ndarray
    labels: np.ndarray
    parts: list[str]
    names: list[str]
    sides: np.ndarray
    digests: list[str]
    unreadable: list[list[str]]
    decode_seconds: float
    folder: Path
    is_padded: bool


def open_store(
    source: Source, size: int, resize: str, cache_dir: str | Path | None = None, progress: Progress | None = None
) -> Store:
    """Return the store of `source` at `size` pixels; decode the images first if there is none, or a damaged one.

    Args:
        source: the images.
        size: side of the square images in pixels.
        resize: `crop`, `pad` or `stretch`, see `workbench.data.decoding.decode`.
        cache_dir: folder of all stores; by default the user's cache folder.
        progress: called with the decoded images and their number; returns the images, and may show the progress.

    Raises:
        UserError: the cache folder cannot be written; or a file cannot be read for a reason that may pass, such as a
            lost connection. The images before it need not be decoded again.
    """
    cache = find_cache_dir(cache_dir)
    settings = [FORMAT, source.key, size, resize, *(f"without {kind}" for kind in MISSING_DECODERS)]
    key = hashlib.sha256(" ".join(map(str, settings)).encode()).hexdigest()[:24]
    columns = ("labels", "parts", "names", "sides", "digests", "unreadable")
    array = ResumableArray(cache / key, "images.bin", (size, size, 3), "uint8", columns)

    def decode_from(items_done: int) -> Iterable[Block]:
        decoded: Iterable[DecodedItem] = decode_items(source.load_items(items_done), size, resize)
        decoded = _refuse_passing_failures(decoded, source.name)
        if progress:
            decoded = progress(decoded, source.num_items - items_done)
        return (_make_block(item, result) for item, result in decoded)

    try:
        stored = array.open_or_compute(decode_from)
    except OSError as error:
        raise UserError(
            f"cannot write the decoded images to {cache}: {error.strerror or error}; "
            "make room there or name another folder with --cache-dir"
        ) from error
    notes = stored.notes
    return Store(
        images=stored.rows,
        labels=np.array(notes["labels"], np.int32),
        parts=notes["parts"],
        names=notes["names"],
        sides=np.array(notes["sides"], np.int32).reshape(-1, 2),
        digests=notes["digests"],
        unreadable=notes["unreadable"],
        decode_seconds=stored.seconds,
        folder=array.folder,
        is_padded=resize == "pad",
    )


def _refuse_passing_failures(decoded: Iterable[DecodedItem], source_name: str) -> Iterator[DecodedItem]:
    """Yield the decoded items.

    Raises:
        UserError: a file could not be read, and may be read later; the store would leave it out for ever.
    """
    for item, result in decoded:
        if isinstance(result, DecodingFailure) and not result.is_content:
            raise UserError(
                f"{source_name}: {item.name} cannot be read: {result.reason}; remove the cause and repeat the "
                "command, which keeps what is decoded already; or remove the image from the data"
            )
        yield item, result


def _make_block(item: Item, result: DecodingResult) -> Block:
    """Return what an item adds to the store: a row, the reason why it is unreadable, or nothing."""
    if isinstance(result, DecodedImage):
        notes = {"labels": item.label, "parts": item.part, "names": item.name}
        notes |= {"sides": result.sides, "digests": result.digest}
        return Block(result.pixels[None], {column: [value] for column, value in notes.items()})
    return Block(None, {} if result is None else {"unreadable": [[item.name, result.reason]]})
