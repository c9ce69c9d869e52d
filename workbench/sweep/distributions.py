"""The distributions from which a sweep file lets values be drawn, with the names and meanings of Weights & Biases."""

import dataclasses
import math
import statistics
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from workbench.errors import UserError

Kind = Literal["uniform", "log", "normal", "log_normal", "beta"]
_BOUNDS = ("min", "max")
_KINDS: dict[str, tuple[Kind, tuple[str, str]]] = {  # name -> kind, and its two numbers
    "int_uniform": ("uniform", _BOUNDS),
    "uniform": ("uniform", _BOUNDS),
    "log_uniform": ("log", _BOUNDS),
    "log_uniform_values": ("log", _BOUNDS),
    "inv_log_uniform": ("log", _BOUNDS),
    "inv_log_uniform_values": ("log", _BOUNDS),
    "normal": ("normal", ("mu", "sigma")),
    "log_normal": ("log_normal", ("mu", "sigma")),
    "beta": ("beta", ("a", "b")),
}
_DEFAULTS: dict[str, float] = {"mu": 0.0, "sigma": 1.0, "a": 1.0, "b": 1.0}
_WITH_STEP = ("uniform", "log_uniform", "log_uniform_values", "normal", "log_normal", "beta")  # also as `q_...`
NAMES = (*_KINDS, *(f"q_{name}" for name in _WITH_STEP))
_POINTS = 10  # values of a distribution on a grid
_EXTREME = 0.001  # share of the draws beyond the smallest, and beyond the largest, value that must be allowed
_MAX_STEPS = 1000
_LARGEST = 2.0**53  # whole numbers are exact up to here


@dataclasses.dataclass(frozen=True)
class Distribution:
    """Numbers at random.

    Attributes:
        kind: `uniform`; `log`, of which the logarithm is uniform; `normal`; `log_normal`; `beta`.
        first, second: the smallest and the largest number; the mean and the standard deviation (of the logarithm for
            `log_normal`); or a and b of the beta distribution.
        step: numbers are rounded to multiples of it; None does not round.
        is_whole: whether numbers are whole.
    """

    kind: Kind
    first: float
    second: float
    step: float | None
    is_whole: bool

    @property
    def is_bounded(self) -> bool:
        """Whether it has a smallest and a largest number that are not improbable."""
        return self.kind in ("uniform", "log")

    def draw(self, seed: int) -> int | float:
        """Return the number that belongs to a seed."""
        random = np.random.default_rng(seed)
        if self.kind == "uniform" and self.is_whole and self.step is None:
            return int(random.integers(round(self.first), round(self.second), endpoint=True))
        return self.find_quantile(random.random())

    def list_points(self) -> list[int | float]:
        """Return the numbers that represent the distribution on a grid: every multiple of the step, or ten quantiles.

        Raises:
            UserError: the step is so small that there are more than a thousand.
        """
        if self.step and self.is_bounded:
            first, last = (round(self.find_quantile(share) / self.step) for share in (0.0, 1.0))
            if last - first >= _MAX_STEPS:
                raise UserError(f"'q' of {self.step} makes more than {_MAX_STEPS:,} values; give a larger one")
            return [self._finish(number * self.step) for number in range(first, last + 1)]
        shares = [(place + 0.5) / _POINTS for place in range(_POINTS)]
        if self.is_bounded:
            shares = [place / (_POINTS - 1) for place in range(_POINTS)]
        return sorted({self.find_quantile(share) for share in shares})

    def list_extremes(self) -> list[int | float]:
        """Return the smallest and the largest number; where there is none, those that hardly any draw is beyond."""
        beyond = 0.0 if self.is_bounded else _EXTREME
        return [self.find_quantile(share) for share in (beyond, 1 - beyond)]

    def find_quantile(self, share: float) -> int | float:
        """Return the number below which this share of the draws are."""
        number = self._find_exact_quantile(share)
        return self._finish(round(number / self.step) * self.step if self.step else number)

    def _find_exact_quantile(self, share: float) -> float:
        if self.kind == "uniform":
            return (1 - share) * self.first + share * self.second
        if self.kind == "log":
            return math.exp((1 - share) * math.log(self.first) + share * math.log(self.second))
        if self.kind == "beta":
            from scipy.special import betaincinv  # imported late: a help text must not wait for it

            return float(betaincinv(self.first, self.second, share))
        share = min(max(share, 1e-12), 1 - 1e-12)  # the normal distribution has no end
        number = statistics.NormalDist(self.first, self.second).inv_cdf(share)
        return math.exp(number) if self.kind == "log_normal" else number

    def _finish(self, number: float) -> int | float:
        if self.is_whole:
            return round(number)
        return float(f"{number:.12g}" if self.step else f"{number:.6g}")


def read_distribution(entry: Mapping[str, Any], *, takes_fractions: bool) -> Distribution:
    """Read a parameter of a sweep file that has `min` and `max`, or a `distribution` with other numbers.

    Args:
        entry: content of the parameter.
        takes_fractions: whether the option takes numbers that are not whole.

    Raises:
        UserError: says what is wrong with the entry.
    """
    bounds = [entry[name] for name in _BOUNDS if name in entry]
    default = "int_uniform" if all(isinstance(bound, int) for bound in bounds) else "uniform"
    given = str(entry.get("distribution", default)).lower()
    name = given.removeprefix("q_")
    has_step = given != name
    if given not in NAMES:
        raise UserError(f"distribution '{given}' is none of {', '.join(('constant', 'categorical', *NAMES))}")
    kind, (one, other) = _KINDS[name]
    allowed = {"distribution", one, other, *(["q"] if has_step else [])}
    unknown = [key for key in entry if key not in allowed]
    if unknown:
        hint = f"; for steps of q give distribution q_{name}" if unknown == ["q"] and name in _WITH_STEP else ""
        raise UserError(f"a {given} distribution has no '{unknown[0]}'; it has {', '.join(sorted(allowed))}{hint}")
    first, second = (read_number(entry, key) for key in (one, other))
    step = read_number({"q": 1, **entry}, "q") if has_step else None
    if step is not None and step <= 0:
        raise UserError("'q' must be above 0")
    if one == "min" and first >= second:
        raise UserError("'min' must be a number below 'max'")
    if name == "int_uniform" and not all(isinstance(bound, int) for bound in bounds):
        raise UserError("'min' and 'max' of int_uniform must be whole numbers")
    if kind in ("normal", "log_normal") and second <= 0:
        raise UserError("'sigma' must be above 0")
    if kind == "beta" and min(first, second) <= 0:
        raise UserError("'a' and 'b' must be above 0")
    if name in ("log_uniform_values", "inv_log_uniform_values") and first <= 0:
        raise UserError("a logarithmic range must start above 0")
    try:
        if name == "log_uniform":
            first, second = math.exp(first), math.exp(second)
        elif name == "inv_log_uniform":
            first, second = math.exp(-second), math.exp(-first)
    except OverflowError:
        first = second = math.inf
    if not math.isfinite(second) or (kind == "log" and not 0 < first < second):
        raise UserError(f"'min' and 'max' of {given} are logarithms; give the numbers themselves to {name}_values")
    distribution = Distribution(kind, first, second, step, name == "int_uniform" or not takes_fractions)
    try:
        largest = max(abs(distribution.find_quantile(share)) for share in (0.0, 1.0))
    except OverflowError:
        largest = math.inf
    if not largest <= _LARGEST:
        raise UserError(f"'{one}' and '{other}' of {given} lead to numbers beyond {_LARGEST:g}")
    return distribution


def read_number(entry: Mapping[str, Any], name: str) -> float:
    """Return a number of a parameter.

    Raises:
        UserError: it is missing, or not a finite number.
    """
    value = entry.get(name, _DEFAULTS.get(name))
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"'{name}' must be a number")
    return value
