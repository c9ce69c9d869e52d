"""Groups of images that stay on one side of a split: near-duplicates, and photos of one animal, patient or day."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from workbench.data.splits.duplicates import Pairs
from workbench.data.table_file import SUFFIXES, read_table
from workbench.errors import UserError
from workbench.wording import agree, format_count

NO_GROUPS, DUPLICATES = "none", "duplicates"  # values of --groups besides a file and a regular expression


@dataclasses.dataclass(frozen=True)
class Groups:
    """Which images stay together. Images with equal numbers are one group; most groups have one image.

    Attributes:
        spec: value of `--groups`.
        numbers: int64 (n,), of the groups that `spec` names and the near-duplicates: what shares an image is one group.
        given: int64 (n,), of the groups that `spec` names alone.
        keys: group in `given` -> what the images have in common, such as `patient 3`; empty without a file or a regex.
        without_key: bool (n,), whether an image is in no group that `spec` names; all False without a file or a regex.
    """

    spec: str
    numbers: np.ndarray
    given: np.ndarray
    keys: Sequence[str]
    without_key: np.ndarray

    def describe(self, rows: np.ndarray, parts: Sequence[np.ndarray]) -> list[str]:
        """Return lines that say what is kept together among the rows that were split; none if nothing is.

        Args:
            rows: those that were split.
            parts: rows of the parts; near-duplicates that are in several do not count, see
                `workbench.data.splits.drawing.choose_groups`.
        """
        lines = []
        if self.keys:
            count = len(np.unique(self.given[rows]))
            without = int(self.without_key[rows].sum())
            line = f"{format_count(len(rows) - without, 'image')} in {count - without:,} groups of --groups {self.spec}"
            lines.append(line + (f" ({format_count(without, 'image')} in none)" if without else ""))
        _, group, sizes = np.unique(self._separate(parts)[rows], return_inverse=True, return_counts=True)
        if not self.keys and (sizes > 1).any():
            similar = int((sizes[group] > 1).sum())
            lines.append(f"{similar:,} near-duplicates in {format_count(int((sizes > 1).sum()), 'group')}")
        elif self.keys and len(sizes) < count:
            lines.append(f"groups that share near-duplicates: {count:,} became {len(sizes):,}")
        return [f"kept on one side of the split: {'; '.join(lines)}"] if lines else []

    def _separate(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Return the numbers of the groups, int64 (n,), after those that are in several parts were separated."""
        held, counts = np.unique(np.concatenate([np.unique(self.numbers[part]) for part in parts]), return_counts=True)
        is_divided = np.isin(self.numbers, held[counts > 1])
        return np.where(is_divided, self.numbers.max() + 1 + self.given, self.numbers)

    def describe_divided(self, parts: Sequence[np.ndarray]) -> list[str]:
        """Return one line about the groups of a file or a regex that are in two parts, as the data divides them."""
        if not self.keys:
            return []
        seen = [set(self.given[part[~self.without_key[part]]].tolist()) for part in parts]
        divided = sorted({number for place, one in enumerate(seen) for other in seen[:place] for number in one & other})
        if not divided:
            return []
        are = f"{format_count(len(divided), 'group')} of --groups {agree(len(divided), 'has', 'have')}"
        return [f"warning: {are} images in two parts that the data itself divides, such as '{self.keys[divided[0]]}'"]


def find_groups(spec: str, names: Sequence[str], pairs: Pairs) -> Groups | None:
    """Find the groups of images; None if `spec` is `none`.

    Args:
        spec: `none`, `duplicates`, a CSV file with the columns image and group, or a regular expression whose first
            group in brackets finds what the names of images of a group have in common. It is searched in the file's
            name, and in the whole path below the data's folder if it has a slash.
        names: of the images.
        pairs: of the same photo.

    Raises:
        UserError: the file or the regular expression cannot be used, or no image is in a group.
    """
    if spec == NO_GROUPS:
        return None
    count = len(names)
    keys = [None] * count if spec == DUPLICATES else _find_keys(spec, names)
    distinct = sorted({key for key in keys if key is not None})
    if spec != DUPLICATES and not distinct:
        raise UserError(f"--groups {spec}: no image is in a group; such as '{names[0]}'")
    number_of = {key: number for number, key in enumerate(distinct)}
    given = np.array(
        [number_of[key] if key is not None else len(distinct) + row for row, key in enumerate(keys)], np.int64
    )
    without_key = np.array([key is None for key in keys], bool) & (spec != DUPLICATES)
    return Groups(spec, _merge(given, pairs), given, distinct, without_key)


def _merge(given: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Return the numbers of the groups after those that share a photo were made one, int64 (n,)."""
    _, group = np.unique(given, return_inverse=True)
    if not len(pairs.first):
        return group.astype(np.int64)
    import scipy.sparse  # imported late: a help text must not wait for it, nor a training that needs no merging

    size = int(group.max()) + 1
    links = (np.ones(len(pairs.first), bool), (group[pairs.first], group[pairs.second]))
    _, merged = scipy.sparse.csgraph.connected_components(scipy.sparse.coo_array(links, (size, size)), directed=False)
    return merged[group].astype(np.int64)


def _find_keys(spec: str, names: Sequence[str]) -> list[str | None]:
    """Return what each image has in common with the others of its group; None for an image without a group."""
    path = Path(spec).expanduser()
    if path.suffix.lower() in SUFFIXES:
        listed = _read_groups(path)
        return [listed.get(name) for name in names]
    try:
        pattern = re.compile(spec)
    except re.error as error:
        raise UserError(f"--groups {spec}: neither a CSV file nor a regular expression ({error})") from None
    if not pattern.groups:
        raise UserError(
            f"--groups {spec}: put the part of the names that images of a group share into brackets, such as "
            r"'(patient\d+)', or give a CSV file with the columns image,group"
        )
    texts = names if "/" in spec else [PurePosixPath(name).name for name in names]
    found = [pattern.search(text) for text in texts]
    return [match[1] if match else None for match in found]


def _read_groups(path: Path) -> dict[str, str]:
    """Read image -> group from a CSV file.

    Raises:
        UserError: it is not such a file, or puts an image into two groups; names the row.
    """
    groups: dict[str, str] = {}
    for number, row in read_table(path, ("image", "group"), option="--groups"):
        image, group = row["image"], row["group"]
        if groups.setdefault(image, group) != group:
            raise UserError(
                f"{path}: row {number}: puts '{image}' into '{group}', and an earlier row into another group"
            )
    return {image: group for image, group in groups.items() if group}
