"""The search space of a sweep: which values its parameters have, and how they are drawn."""

import dataclasses
import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from workbench.config import TrainingConfig
from workbench.sweep import results
from workbench.sweep.distributions import Distribution
from workbench.sweep.scheduling.pruning import Direction
from workbench.sweep.scheduling.trial import Value as EncodedValue

METRICS: dict[str, Direction] = {"val_accuracy": "max", "val_loss": "min"}  # by which trials can be ranked


@dataclasses.dataclass(frozen=True)
class Halving:
    """The rule by which trials end early (`early_terminate` of a sweep file).

    Attributes:
        rungs: epochs at which trials are compared.
        factor: the best 1/factor of the trials pass.
    """

    rungs: tuple[int, ...]
    factor: float


@dataclasses.dataclass(frozen=True)
class Space:
    """What a sweep varies.

    Attributes:
        parameters: name -> list of values, in the order of the file; the grid is their product.
        fixed: name -> the one value that it has in every trial.
        metric: name of the result by which trials are ranked.
        direction: `max` or `min`.
        distributions: name -> what its values are drawn from, where the file gives a range. On the grid it has the
            values of `parameters`.
        probabilities: name -> the probability of each of its values, where the file gives them.
        steps: names whose values are the steps of a range.
        tuner: the tuner that the file asks for; None for none.
        halving: how trials end early; None where the file does not ask for it.
        max_trials: the number of trials that the file asks for; None for none.
        max_epochs: the largest number of epochs that a trial can have.
    """

    parameters: dict[str, list[results.Value]]
    fixed: dict[str, results.Value]
    metric: str
    direction: Direction
    distributions: dict[str, Distribution] = dataclasses.field(default_factory=dict)
    probabilities: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    steps: frozenset[str] = frozenset()
    tuner: str | None = None
    halving: Halving | None = None
    max_trials: int | None = None
    max_epochs: int = TrainingConfig.epochs

    @property
    def grid(self) -> dict[str, list[EncodedValue]]:
        """The values of each parameter as KerasTuner can hold them."""
        return {name: [encode(value) for value in values] for name, values in self.parameters.items()}

    def decode(self, encoded: Mapping[str, Any]) -> dict[str, results.Value]:
        """Return KerasTuner's values of a trial as values of a configuration.

        KerasTuner's protocol rounds numbers to 32 bits; the space's own numbers are returned. Hyperband's number of
        epochs becomes `epochs`.
        """
        values = {name: self._decode(name, value) for name, value in encoded.items() if not name.startswith("tuner/")}
        if "tuner/epochs" in encoded:
            values["epochs"] = int(encoded["tuner/epochs"])
        return values

    def _decode(self, name: str, value: Any) -> results.Value:
        for own in self.parameters[name]:
            if value in (encode(own), json.dumps(own)) and isinstance(value, bool) == isinstance(own, bool):
                return own
            if isinstance(value, float) and isinstance(own, int | float) and math.isclose(value, own, rel_tol=1e-6):
                return own
        return float(f"{value:.6g}") if isinstance(value, float) else value

    def list_draws(self) -> dict[str, Callable[[int], EncodedValue]]:
        """Return for each parameter that a random search draws: its name -> a function of a seed."""
        draws: dict[str, Callable[[int], EncodedValue]] = {
            name: distribution.draw for name, distribution in self.distributions.items()
        }
        for name, probabilities in self.probabilities.items():
            draws[name] = _Lottery([encode(value) for value in self.parameters[name]], probabilities)
        return draws

    def get_point(self, number: int) -> dict[str, results.Value]:
        """Return the values at a place of the grid whose last parameter changes fastest."""
        digits = {}
        for name, values in reversed(self.parameters.items()):
            number, digits[name] = divmod(number, len(values))
        return {name: values[digits[name]] for name, values in self.parameters.items()}

    def sort_parameters(self, names: Sequence[str]) -> "Space":
        """Return the space with its parameters in the order of `names`, which has all of them."""
        return dataclasses.replace(
            self,
            parameters={name: self.parameters[name] for name in names},
            distributions={name: self.distributions[name] for name in names if name in self.distributions},
            probabilities={name: self.probabilities[name] for name in names if name in self.probabilities},
        )

    def is_endless(self, tuner: str) -> bool:
        """Return whether a tuner draws values from ranges, so that there is no end of different points."""
        return tuner != "grid" and bool(self.distributions)

    def list_values(self, name: str) -> list[results.Value]:
        """Return the values that an option can have in a trial; none if the space does not give it."""
        if name in self.parameters:
            return self.parameters[name]
        return [self.fixed[name]] if name in self.fixed else []

    @property
    def num_points(self) -> int:
        """Number of points of the grid; `len` could not return one of 2^63 or more."""
        return math.prod(len(values) for values in self.parameters.values())


@dataclasses.dataclass(frozen=True)
class _Lottery:
    """Draws one of some values with given probabilities."""

    values: list[EncodedValue]
    probabilities: list[float]

    def __call__(self, seed: int) -> EncodedValue:
        return random.Random(seed).choices(self.values, self.probabilities)[0]


def encode(value: Any) -> EncodedValue:
    """Return a value as KerasTuner can hold it: lists as JSON text."""
    return json.dumps(value) if isinstance(value, list) else value
