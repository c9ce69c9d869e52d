"""The sections of reports that the live pages show too. They are built again only when their files have changed."""

import dataclasses
import functools
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from workbench.app.catalogue import Entry
from workbench.app.images.figures import list_figures, locate_pictures
from workbench.data.splits.saved_split import SPLIT
from workbench.errors import UserError
from workbench.evaluation.calibration.saved_calibration import CALIBRATION
from workbench.evaluation.other_data.other_score import EVALUATIONS
from workbench.finished_run import open_run
from workbench.reporting.page import Section, Tile
from workbench.reporting.sweep_statistics import build_expected_tile, build_repeats_section, build_statistics_section
from workbench.reporting.test_section import build_evaluation_sections, build_test_section
from workbench.sweep.analysis.sweep_analysis import analyse_sweep
from workbench.sweep.outcomes.outcome_store import FOLDER as OUTCOMES
from workbench.sweep.outcomes.outcome_store import INDEX

_TEST_FIGURES = ("reliability.png", "robustness.png")  # the page of a run shows the others as charts and photos
_GROWTH = 4  # a running sweep is analysed again when it has a fourth more trials
Stamp = tuple[tuple[str, int], ...]


@dataclasses.dataclass(frozen=True)
class BuiltSections:
    """Sections of a report.

    Attributes:
        sections: those that are not empty.
        tiles: their most important numbers.
        problem: why something is missing; an empty text if nothing is.
    """

    sections: Sequence[Section] = ()
    tiles: Sequence[Tile] = ()
    problem: str = ""


@dataclasses.dataclass
class _Kept:
    """What was built, from files with these times and from so many trials."""

    lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)
    stamp: Stamp | None = None
    trials: int = 0
    built: BuiltSections = dataclasses.field(default_factory=BuiltSections)


class ReportSections:
    """Builds sections of reports, and keeps them. Its methods may be called from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, Path], _Kept] = {}

    def build_sweep(self, entry: Entry) -> BuiltSections:
        """Return what the outcomes of a sweep say of new images, and its repeats.

        The first takes a second or more, so a running sweep is analysed again only when enough trials have finished.
        """
        files = [entry.path / name for name in ("trials.csv", SPLIT, f"{OUTCOMES}/{INDEX}")]
        built = self._build("sweep", entry, files, _build_analysis, trials=len(entry.results or ()))
        repeats = build_repeats_section(entry.path)
        return built if repeats.is_empty else dataclasses.replace(built, sections=[*built.sections, repeats])

    def build_tests(self, entry: Entry) -> BuiltSections:
        """Return the test of a run, which comes first, and its evaluations on other photos."""
        names = ("config.yaml", "metrics.json", CALIBRATION, "model.keras")
        files = [*(entry.path / name for name in names), *sorted((entry.path / EVALUATIONS).glob("*/metrics.json"))]
        return self._build("tests", entry, [*files, *list_figures(entry.path).values()], _build_tests)

    def _build(
        self, kind: str, entry: Entry, files: Iterable[Path], build: Callable[[Entry], BuiltSections], trials: int = 0
    ) -> BuiltSections:
        with self._lock:
            kept = self._kept.setdefault((kind, entry.path), _Kept())
        times = ((str(path), _get_time(path)) for path in files)
        stamp = (("has_old_test", int(entry.has_old_test)), *times)
        with kept.lock:
            is_early = entry.holder is not None and kept.trials <= trials < kept.trials + max(1, kept.trials // _GROWTH)
            if kept.stamp != stamp and not (kept.stamp and trials and is_early):
                kept.built, kept.stamp, kept.trials = build(entry), stamp, trials
            return kept.built


def _build_analysis(entry: Entry) -> BuiltSections:
    if entry.results is None:
        return BuiltSections()
    try:
        analysis = analyse_sweep(entry.path, entry.results)
    except (UserError, OSError, ValueError) as error:
        return BuiltSections([], [], f"What its trials predict cannot be read: {error}.")
    if not analysis:
        return BuiltSections([], [])
    return BuiltSections([build_statistics_section(analysis, entry.path)], [build_expected_tile(analysis)])


def _build_tests(entry: Entry) -> BuiltSections:
    load: Any = functools.partial(locate_pictures, entry.path)
    figures = [path for name, path in list_figures(entry.path).items() if name in _TEST_FIGURES]
    sections = [build_test_section(entry.metrics.get("test"), load(figures), is_old=entry.has_old_test)]
    try:
        sections += build_evaluation_sections(open_run(entry.path), load)
    except UserError as error:
        return BuiltSections(sections, problem=str(error))
    return BuiltSections(sections)


def _get_time(path: Path) -> int:
    """Return when a file was changed, in nanoseconds; 0 if there is none."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
