"""Data sets for workers of several machines: images are mapped, from shared storage or else from Ray's object store."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import ray

from workbench.data.dataset import Dataset


@dataclasses.dataclass(frozen=True)
class SharedDataset:
    """A data set on its way to workers, without its images.

    Attributes:
        dataset: the same without its images.
        path: of the command's file of images. Its folder is named after the content.
        shape: of the images.
    """

    dataset: Dataset
    path: Path | None
    shape: tuple[int, ...]

    def open(self, load_images: Callable[[], np.ndarray]) -> Dataset:
        """Return the data set, its images mapped read-only: from the command's file if this machine has it, too.

        Args:
            load_images: gets the images from the object store. Ray copies them to each node once, where all workers
                map them.
        """
        mapped = self._map_file()
        return dataclasses.replace(self.dataset, images=load_images() if mapped is None else mapped)

    def _map_file(self) -> np.ndarray | None:
        """Return the images of the command's file; None where this machine does not have it."""
        path = self.path
        if path is None or not (path.parent / "index.json").exists() or not path.exists():
            return None
        if path.stat().st_size != int(np.prod(self.shape)):
            return None
        return np.memmap(path, np.uint8, "r", shape=self.shape)


def share_dataset(dataset: Dataset) -> SharedDataset:
    """Return what workers need to find the images of a data set."""
    images = dataset.images
    path = Path(images.filename).resolve() if isinstance(images, np.memmap) and images.filename else None
    return SharedDataset(dataclasses.replace(dataset, images=np.empty(0, np.uint8)), path, images.shape)


def share_images(dataset: Dataset) -> "ray.ObjectRef":
    """Copy the images of a data set into Ray's object store, and return the reference to them."""
    return ray.put(np.asarray(dataset.images))
