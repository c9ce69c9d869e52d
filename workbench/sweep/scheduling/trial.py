"""One trial of a sweep: a point of the search space, and what came of it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

Value = bool | int | float | str  # of a hyperparameter, as KerasTuner can hold it; lists are JSON text


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A hyperparameter and its values on the grid.

    Attributes:
        name: of the hyperparameter.
        values: in the order in which they are tried, the default first.
        conditions: pairs (name of another hyperparameter, its values): the hyperparameter has a value only where each
            of the others has one of its values.
    """

    name: str
    values: tuple[Value, ...]
    conditions: tuple[tuple[str, tuple[Value, ...]], ...] = ()

    def is_active(self, values: Mapping[str, Value]) -> bool:
        """Return whether the hyperparameter has a value where the others have these."""
        return all(parent in values and values[parent] in allowed for parent, allowed in self.conditions)


@dataclasses.dataclass(slots=True)
class Trial:
    """A trial that is upcoming, running or finished.

    Attributes:
        id: number or path that names the trial.
        values: hyperparameter -> value.
        parameters: the hyperparameters that were known when the trial was handed out.
        discovered: further ones that its model has asked for; `values` has their values too.
        status: `running`, `completed`, `pruned` or `failed`.
        score: value of the sweep's metric; None of a trial that is not finished or has failed.
        reason: why the trial failed, else an empty text.
        result: what its worker recorded, JSON values; of a finished trial without the epochs.
        reports: metric -> step -> value, as reported while the trial runs.
    """

    id: str
    values: dict[str, Value]
    parameters: tuple[Parameter, ...] = ()
    discovered: tuple[Parameter, ...] = ()
    status: str = "running"
    score: float | None = None
    reason: str = ""
    result: dict[str, Any] = dataclasses.field(default_factory=dict)
    reports: dict[str, dict[int, float]] = dataclasses.field(default_factory=dict)

    @property
    def is_finished(self) -> bool:
        """Whether the trial will not be run again."""
        return self.status != "running"
