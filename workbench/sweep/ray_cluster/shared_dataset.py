"""Data sets for workers of several machines: images are mapped, from shared storage or else from Ray's object store."""

import dataclasses
from pathlib import Path

import numpy as np
import ray

from workbench.data.dataset import Dataset


@dataclasses.dataclass(frozen=True)
class SharedDataset:
    """A data set that has been put into Ray's object store.

    Attributes:
        dataset: the same without its images.
        images: reference to the images. Ray copies them to each node once, where all workers map them.
        path: of the command's file of images. Its folder is named after the content.
        shape: of the images.
    """

    dataset: Dataset
    images: "ray.ObjectRef"
    path: Path | None
    shape: tuple[int, ...]

    def open(self) -> Dataset:
        """Return the data set, its images mapped read-only: from the command's file if this machine has it, too."""
        mapped = self._map_file()
        return dataclasses.replace(self.dataset, images=ray.get(self.images) if mapped is None else mapped)

    def _map_file(self) -> np.ndarray | None:
        """Return the images of the command's file; None where this machine does not have it."""
        path = self.path
        if path is None or not (path.parent / "index.json").exists() or not path.exists():
            return None
        if path.stat().st_size != int(np.prod(self.shape)):
            return None
        return np.memmap(path, np.uint8, "r", shape=self.shape)


def share_dataset(dataset: Dataset) -> SharedDataset:
    """Put a data set into Ray's object store. Its images are copied from the mapped file once."""
    images = dataset.images
    path = Path(images.filename).resolve() if isinstance(images, np.memmap) and images.filename else None
    without_images = dataclasses.replace(dataset, images=np.empty(0, np.uint8))
    return SharedDataset(without_images, ray.put(np.asarray(images)), path, images.shape)
