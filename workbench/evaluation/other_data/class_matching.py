"""Match the class names of other data with those of a run, whatever their case, spaces and underscores are."""

import collections
import dataclasses
import re
import unicodedata
from collections.abc import Sequence

import numpy as np

_SEPARATORS = re.compile(r"[\s_\-]+")
_MAX_NAMED = 3  # classes that a line names before it counts them


@dataclasses.dataclass(frozen=True)
class ClassMatch:
    """How the classes of other data belong to those of a run.

    Attributes:
        labels: int (number of other classes,), the label that the run has for each; -1 for none.
        renamed: (name in the data, name in the run) of the classes that are spelled differently.
        only_in_run: classes of the run that the data does not have.
        only_in_data: classes of the data that the run does not have.
    """

    labels: np.ndarray
    renamed: Sequence[tuple[str, str]]
    only_in_run: Sequence[str]
    only_in_data: Sequence[str]


def match_classes(run_classes: Sequence[str], data_classes: Sequence[str]) -> ClassMatch:
    """Match class names: equal ones first, then those that differ in case, spaces, underscores and hyphens only.

    A name that could belong to two classes of the run belongs to neither.
    """
    label_of = {name: label for label, name in enumerate(run_classes)}
    similar = collections.defaultdict(list)
    for label, name in enumerate(run_classes):
        similar[_normalize(name)].append(label)
    labels = []
    for name in data_classes:
        candidates = similar[_normalize(name)]
        labels.append(label_of.get(name, candidates[0] if len(candidates) == 1 else -1))
    pairs = [(name, run_classes[label]) for name, label in zip(data_classes, labels, strict=True) if label >= 0]
    return ClassMatch(
        labels=np.array(labels, np.int64),
        renamed=[(name, known) for name, known in pairs if name != known],
        only_in_run=[name for label, name in enumerate(run_classes) if label not in labels],
        only_in_data=[name for name, label in zip(data_classes, labels, strict=True) if label < 0],
    )


def _normalize(name: str) -> str:
    """Return what two spellings of a class name have in common."""
    return _SEPARATORS.sub("", unicodedata.normalize("NFKC", name)).casefold()


def describe_match(match: ClassMatch) -> list[str]:
    """Return at most two lines on classes that are spelled differently, and on classes that only one side has."""
    lines = []
    if match.renamed:
        pairs = [f"'{name}' as '{known}'" for name, known in match.renamed]
        lines.append(f"classes that are spelled differently are matched: {list_first(pairs)}")
    differences = []
    if match.only_in_run:
        differences.append(f"only in the run: {name_classes(match.only_in_run)}")
    if match.only_in_data:
        differences.append(
            f"only in the data: {name_classes(match.only_in_data)}, whose images do not count for the accuracy"
        )
    return [*lines, f"classes {'; '.join(differences)}"] if differences else lines


def name_classes(names: Sequence[str]) -> str:
    """Return the first names in quotes and the number of others: `'daisy', 'iris', 'rose' and 4 more`."""
    return list_first([f"'{name}'" for name in names])


def list_first(words: Sequence[str]) -> str:
    """Return the first words and the number of others."""
    more = f" and {len(words) - _MAX_NAMED:,} more" if len(words) > _MAX_NAMED else ""
    return ", ".join(words[:_MAX_NAMED]) + more
