"""A finished sweep, opened from its folder: its best trial as a run, and all its trials."""

import dataclasses
import os

from workbench.errors import UserError
from workbench.finished_run import FinishedRun, open_run
from workbench.sweep.results import SweepResults, TrialResult, is_sweep, read_results


@dataclasses.dataclass(frozen=True)
class FinishedSweep(FinishedRun):
    """The content of a sweep's folder. The model and the metrics are those of the best trial."""

    @property
    def results(self) -> SweepResults:
        """The trials and the space."""
        return read_results(self.path)

    @property
    def trials(self) -> list[TrialResult]:
        """The trials with a score, the best first."""
        return self.results.scored


def open_sweep(folder: str | os.PathLike) -> FinishedSweep:
    """Open the folder of a sweep.

    Raises:
        UserError: it is not the folder of a sweep, or a file in it is missing or incomplete.
    """
    run = open_run(folder)
    if not is_sweep(run.path):
        raise UserError(f"{run.path}: not the folder of a sweep; open it with open_run")
    return FinishedSweep(**{field.name: getattr(run, field.name) for field in dataclasses.fields(run)})
