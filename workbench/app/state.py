"""What all pages share: the runs, the photos, the models, and the threads that read them."""

import dataclasses
import time
from pathlib import Path

from workbench.app.catalogue import Catalogue
from workbench.app.images.photos import PhotoFinder
from workbench.app.models import ModelShelf
from workbench.app.report_sections import ReportSections

_KNOWN_FOR = 2.0  # seconds in which data that was found is not looked for again: a page asks for dozens of its photos


@dataclasses.dataclass(frozen=True)
class AppState:
    """What all pages share.

    Attributes:
        catalogue: the runs and sweeps.
        photos: the images that may be shown.
        models: the models that are loaded.
        reports: sections of reports, which pages show too.
        data: values of `--data` given to the command.
        found: values of `--data` that may be shown -> when that was found.
    """

    catalogue: Catalogue
    photos: PhotoFinder
    models: ModelShelf
    reports: ReportSections
    data: tuple[str, ...]
    found: dict[str, float] = dataclasses.field(default_factory=dict)

    def list_data(self) -> list[str]:
        """Return the data that may be shown: what the command was given, and what the runs were trained on."""
        of_runs = sorted({entry.data for entry in self.catalogue.list_entries() if entry.data})
        return [*dict.fromkeys([*self.data, *of_runs])]

    def has_data(self, data: str) -> bool:
        """Return whether the photos of a value of `--data` may be shown."""
        now = time.monotonic()
        if now - self.found.get(data, -_KNOWN_FOR) < _KNOWN_FOR:
            return True
        if data not in self.list_data():
            return False
        self.found[data] = now
        return True


def make_state(runs_dir: Path, data: tuple[str, ...] = ()) -> AppState:
    """Return the state of an app that shows a folder of runs."""
    catalogue = Catalogue(runs_dir)
    return AppState(catalogue, PhotoFinder(), ModelShelf(), ReportSections(), data)
