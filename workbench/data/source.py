"""A source: a collection of labelled images before they are decoded, wherever they come from."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

TRAIN, VALIDATION, TEST, UNSPLIT = "train", "validation", "test", "unsplit"
ImageData = bytes | np.ndarray  # the bytes of an image file, or uint8 pixels


@dataclasses.dataclass(frozen=True)
class Item:
    """One labelled image before it is decoded.

    Attributes:
        name: path relative to the source's folder, or another unique name.
        label: index of its class.
        part: `train`, `validation`, `test`, or `unsplit` where the source has no held-out images.
        read: returns the file's bytes or uint8 pixels, or None where the file is not an image at all. Raises OSError if
            the file cannot be read; UnreadableImage if it was missing when the source was opened.
    """

    name: str
    label: int
    part: str
    read: Callable[[], ImageData | None]

    @classmethod
    def from_data(cls, name: str, label: int, part: str, data: ImageData) -> "Item":
        """Return an item whose data is already in memory."""
        return cls(name, label, part, lambda: data)


class LoadItems(Protocol):
    """Return a source's items in a fixed order, from item number `start` on."""

    def __call__(self, start: int = 0) -> Iterable[Item]: ...


@dataclasses.dataclass(frozen=True)
class Source:
    """A labelled image collection.

    Attributes:
        name: short name for run folders, such as `flowers`.
        class_names: in the order of the labels.
        key: changes whenever the collection's content does.
        num_items: number of items.
        load_items: returns the items, see `LoadItems`.
        left_out_file: file that lists the images to leave out; None where the source has no folder for it.
        left_out: what that file lists, name -> reason, see `workbench.data.exclusions`.
        folders: part -> name of the folder that holds its images; empty where the source is not a folder.
        warnings: lines for the user, such as on links that are not followed.
    """

    name: str
    class_names: Sequence[str]
    key: str
    num_items: int
    load_items: LoadItems
    left_out_file: Path | None = None
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)
    folders: Mapping[str, str] = dataclasses.field(default_factory=dict)
    warnings: Sequence[str] = dataclasses.field(default_factory=list)

    @property
    def left_out_name(self) -> str:
        """Name of `left_out_file`; an empty text without one."""
        return self.left_out_file.name if self.left_out_file else ""
