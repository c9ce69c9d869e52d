"""The images that earlier runs have used, of which a run with `--from` takes the network: it has seen them already."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from workbench.data.source import TEST, TRAIN, VALIDATION
from workbench.data.splits.saved_split import read_split
from workbench.errors import UserError
from workbench.files import read_yaml

# Part -> the parts of an earlier run whose images must not be in it.
_MUST_NOT_HOLD = {VALIDATION: (TRAIN,), TEST: (TRAIN, VALIDATION)}


class UsedImage(NamedTuple):
    """An image of an earlier run.

    Attributes:
        part: `train`, `validation` or `test`.
        description: the run and the image's name in it, such as `runs/base: train/daisy/0.jpg`.
    """

    part: str
    description: str

    def is_leak(self, part: str) -> bool:
        """Return whether the image must not be in a part of the new run."""
        return self.part in _MUST_NOT_HOLD.get(part, ())


def find_used_images(run: str | None) -> dict[str, UsedImage]:
    """Return digest of the content -> use, of the images of a run, and of the runs that its network was taken from.

    Args:
        run: folder of the run; None for none. One of an earlier version keeps no split, so what it used is not known.

    Raises:
        UserError: a split.csv is damaged.
    """
    used: dict[str, UsedImage] = {}
    folders: set[Path] = set()
    while run and Path(run).resolve() not in folders:
        folders.add(Path(run).resolve())
        for image in read_split(Path(run)) or ():
            _add(used, image.digest, UsedImage(image.part, f"{run}: {image.name}"))
        run = _find_base(Path(run))
    return used


def _add(used: dict[str, UsedImage], digest: str, image: UsedImage) -> None:
    """Add an image, unless it is known in a part that more must not be done with."""
    order = (TEST, VALIDATION, TRAIN)
    if digest not in used or order.index(image.part) > order.index(used[digest].part):
        used[digest] = image


def _find_base(run: Path) -> str | None:
    """Return the run whose network a run has taken; None if there is none, or if it is not known."""
    try:
        values = read_yaml(run / "config.yaml")
    except (OSError, UserError):
        return None
    base = values.get("from_") if isinstance(values, Mapping) else None
    return base if isinstance(base, str) else None
