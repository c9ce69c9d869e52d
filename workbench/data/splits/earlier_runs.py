"""The images that earlier runs have used, of which a run with `--from` takes the network: it has seen them already."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from workbench.data.source import TEST, TRAIN, VALIDATION
from workbench.data.splits.saved_split import SPLIT, read_split
from workbench.errors import UserError
from workbench.files import read_yaml
from workbench.wording import agree

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


def find_used_images(*runs: str | None) -> dict[str, UsedImage]:
    """Return digest of the content -> use, of the images of runs, and of the runs that their networks were taken from.

    Args:
        runs: folders of the runs; None for none. Runs that keep no split are left out, see `list_unchecked_runs`.

    Raises:
        UserError: a split.csv is damaged.
    """
    used: dict[str, UsedImage] = {}
    for folder in _list_runs(runs):
        for image in read_split(folder) or ():
            _add(used, image.digest, UsedImage(image.part, f"{folder}: {image.name}"))
    return used


def list_unchecked_runs(*runs: str | Path | None) -> list[str]:
    """Return the runs whose images are not known, among some runs and those that their networks were taken from.

    These are runs of an earlier version, which keep no split, and runs that are not found.

    Args:
        runs: folders of the runs; None for none.
    """
    return [str(folder) for folder in _list_runs(runs) if not (folder / SPLIT).exists()]


def describe_unchecked_runs(runs: Sequence[str]) -> list[str]:
    """Return one line that warns of runs whose images are not known; none if there are none."""
    if not runs:
        return []
    return [
        f"warning: {' and '.join(runs)} {agree(len(runs), 'has', 'have')} no {SPLIT}, so it is not known whether the "
        "network of --from was trained on images that validate or test now; if it was, their accuracy is too high"
    ]


def _list_runs(runs: Iterable[str | Path | None]) -> Iterator[Path]:
    """Yield the folders of runs, of the runs that their networks were taken from, and so on, each once."""
    known = set()
    for run in runs:
        folder = None if run is None else Path(run)
        while folder is not None and folder.resolve() not in known:
            known.add(folder.resolve())
            yield folder
            folder = find_base(folder)


def _add(used: dict[str, UsedImage], digest: str, image: UsedImage) -> None:
    """Add an image, unless it is known in a part that more must not be done with."""
    order = (TEST, VALIDATION, TRAIN)
    if digest not in used or order.index(image.part) > order.index(used[digest].part):
        used[digest] = image


def find_base(run: Path) -> Path | None:
    """Return the run whose network a run, or the best trial of a sweep, has taken; None if there is none."""
    for name in ("config.yaml", "best.yaml"):
        try:
            values = read_yaml(run / name)
        except (OSError, UserError):
            continue
        base = values.get("from_") if isinstance(values, Mapping) else None
        if isinstance(base, str):
            return _locate(Path(base), run)
    return None


def _locate(base: Path, run: Path) -> Path:
    """Return the path of a run that another run names, maybe relative to the folder in which that one was trained.

    This folder mostly holds the other run: `runs/other` names `runs/base`, and both are in the same project.
    """
    folders = (*run.parents, *run.resolve().parents, Path())
    return next((folder / base for folder in folders if (folder / base).is_dir()), base)
