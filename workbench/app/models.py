"""The models that the pages use. They are loaded when one is used first, and with it TensorFlow.

Every method that computes must be called in a worker thread, so that the pages stay responsive; a lock lets one
computation run at a time.
"""

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import UserError
from workbench.finished_run import open_run
from workbench.runtime import load_tensorflow

if TYPE_CHECKING:
    from workbench.app.loaded_model import LoadedModel

_KEPT = 3  # models in memory


class ModelShelf:
    """Keeps the models that were used last."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._models: dict[tuple[Path, float], LoadedModel] = {}

    def open(self, folder: Path) -> "LoadedModel":
        """Return the model of a run, loaded if it is not in memory or has changed. Call it while `lock` is held.

        Raises:
            UserError: the run cannot be opened, or its model cannot be loaded.
        """
        try:
            key = folder, (folder / "model.keras").stat().st_mtime
        except OSError:
            raise UserError(f"{folder.name}: has no model yet") from None
        model = self._models.pop(key, None)
        if model is None:
            load_tensorflow()
            from workbench.app.loaded_model import LoadedModel  # imported late, because it loads TensorFlow

            model = LoadedModel(open_run(folder))
        self._models[key] = model  # at the end: the model that was used least recently is dropped first
        for old in list(self._models)[:-_KEPT]:
            del self._models[old]
        return model
