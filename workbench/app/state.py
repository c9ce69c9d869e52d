"""What all pages share: the runs, the photos, the models, and the threads that read them."""

import dataclasses
from pathlib import Path

from workbench.app.catalogue import Catalogue
from workbench.app.models import ModelShelf
from workbench.app.photos import PhotoFinder


@dataclasses.dataclass(frozen=True)
class AppState:
    """What all pages share.

    Attributes:
        catalogue: the runs and sweeps.
        photos: the images that may be shown.
        models: the models that are loaded.
        data: values of `--data` given to the command.
    """

    catalogue: Catalogue
    photos: PhotoFinder
    models: ModelShelf
    data: tuple[str, ...]

    def list_data(self) -> list[str]:
        """Return the data that may be shown: what the command was given, and what the runs were trained on."""
        of_runs = sorted({entry.data for entry in self.catalogue.list_entries() if entry.data})
        return [*dict.fromkeys([*self.data, *of_runs])]


def make_state(runs_dir: Path, data: tuple[str, ...] = ()) -> AppState:
    """Return the state of an app that shows a folder of runs."""
    catalogue = Catalogue(runs_dir)
    return AppState(catalogue, PhotoFinder(), ModelShelf(), data)
