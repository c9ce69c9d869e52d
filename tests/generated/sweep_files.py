"""Generators of sweep files: right ones, and ones with something wrong in them."""

import copy
import math
from typing import Any

from hypothesis import strategies as st

_CHOICES: dict[str, list[Any]] = {
    "epochs": [1, 2, 5],
    "batch_size": [8, 16, 32],
    "learning_rate": [1e-4, 1e-3, 0.01, 1],
    "label_smoothing": [0, 0.1, 0.2],
    "weight_decay": [0.0, 1e-4],
    "class_weights": ["none", "Balanced"],
    "data_aug": [True, False],
    "mixup": [0, 0.2],
    "schedule": ["constant", "COSINE"],
    "seed": [0, 1, 2],
}
_OF_CNN: dict[str, list[Any]] = {
    "num_filters": [16, 32],
    "filter_size": [3, [5, 3, 3, 3, 3]],
    "filter_org": ["same", "double"],
    "activation": ["Mish", "gelu", "relu"],
    "dense_units": [8, 16],
    "batch_norm": [True, False],
}
CHOICES = {"cnn_scratch.tune": _CHOICES | _OF_CNN, "transfer.tune": _CHOICES | {"train_bn": [True, False]}}
_RANGES: dict[str, dict[str, Any]] = {  # parameters that take fractions: distributions that fit
    "int_uniform": {"min": 1, "max": 4},
    "uniform": {"min": 0.001, "max": 0.5},
    "q_uniform": {"min": 0.1, "max": 0.5, "q": 0.1},
    "log_uniform": {"min": -7, "max": -1},
    "q_log_uniform": {"min": -3, "max": -1, "q": 0.01},
    "log_uniform_values": {"min": 1e-5, "max": 0.1},
    "q_log_uniform_values": {"min": 0.01, "max": 0.5, "q": 0.01},
    "inv_log_uniform": {"min": 1, "max": 7},
    "inv_log_uniform_values": {"min": 1e-4, "max": 0.1},
    "normal": {"mu": 0.5, "sigma": 0.01},
    "q_normal": {"mu": 0.5, "sigma": 0.01, "q": 0.05},
    "log_normal": {"mu": -5, "sigma": 0.5},
    "q_log_normal": {"mu": -1, "sigma": 0.1, "q": 0.01},
    "beta": {"a": 2, "b": 5},
}
_TAKES_RANGES = ("learning_rate", "mixup", "weight_decay")
_BOUNDED = [name for name in _RANGES if "min" in _RANGES[name]]


@st.composite
def right_files(draw: st.DrawFn, module: str) -> dict[str, Any]:
    """Draw the content of a sweep file that a command must accept."""
    method = draw(st.sampled_from([None, "grid", "random", "bayes"]))
    choices = CHOICES[module]
    parameters = {}
    for name in draw(st.lists(st.sampled_from(sorted(choices)), min_size=1, max_size=4, unique=True)):
        values = choices[name]
        parameters[name] = draw(st.sampled_from([{"values": values}, {"value": values[0]}, {"values": values[:1]}]))
        if method == "random" and draw(st.booleans()):
            parameters[name] = {"values": values, "probabilities": [1 / len(values)] * len(values)}
    for name in draw(st.lists(st.sampled_from(_TAKES_RANGES), max_size=2, unique=True)):
        distribution = draw(st.sampled_from(_BOUNDED if method == "bayes" else sorted(_RANGES)))
        parameters[name] = {"distribution": distribution, **_RANGES[distribution]}
    content: dict[str, Any] = {"parameters": parameters}
    if method:
        content["method"] = method
    if draw(st.booleans()):
        content["metric"] = draw(
            st.sampled_from([{"name": "val_loss", "goal": "minimize"}, {"name": "val_accuracy"}, {"goal": "maximize"}])
        )
    if draw(st.booleans()):
        content |= {"run_cap": 3, "program": "train.py", "name": "a sweep"}
    if method in ("random", "grid") and "epochs" not in parameters and draw(st.booleans()):
        content["early_terminate"] = draw(
            st.sampled_from([{"type": "hyperband", "min_iter": 2}, {"type": "Hyperband", "max_iter": 9, "s": 2}])
        )
    return content


_ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 0, 1, 7, 10**30, 10**400, 1.5, 1e300, -1e300, 5e-324, math.nan, math.inf, -math.inf]),
    st.sampled_from(["", "x", "nan", "grid", "q_uniform", "constant", "hyperband", "lookup", "2024-01-01"]),
    st.sampled_from([[], [None], [[]], [math.nan], [1, 1], [1, 1.0, True], {}, {"values": []}, {"min": 1}, {1: 2}]),
    st.lists(st.integers(-5, 5), max_size=3),
)
_ODD_KEYS = ["values", "value", "min", "max", "q", "mu", "sigma", "a", "b", "distribution", "probabilities", "method"]
_ODD_KEYS += [
    "metric",
    "goal",
    "name",
    "early_terminate",
    "run_cap",
    "type",
    "eta",
    "s",
    "strict",
    "parameters",
    "x",
    3,
    None,
]


@st.composite
def wrong_files(draw: st.DrawFn, module: str) -> Any:
    """Draw a sweep file in which up to three things were changed, so that it may be wrong."""
    content = copy.deepcopy(draw(right_files(module)))
    if draw(st.booleans()):
        distribution = draw(st.sampled_from(sorted(_RANGES)))
        name = draw(st.sampled_from([*sorted(CHOICES[module]), "dropout", "ema", "k", "image_size", "budget", "X"]))
        content["parameters"][name] = {"distribution": distribution, **_RANGES[distribution]}
    for _ in range(draw(st.integers(1, 3))):
        holder: Any = content
        while isinstance(holder, dict) and holder and draw(st.integers(0, 3)):
            inner = holder[draw(st.sampled_from(sorted(holder, key=str)))]
            if not isinstance(inner, dict | list):
                break
            holder = inner
        if isinstance(holder, dict):
            keys = [*sorted(holder, key=str), *_ODD_KEYS]
            key = draw(st.sampled_from(keys))
            if draw(st.booleans()) and key in holder:
                del holder[key]
            else:
                holder[key] = draw(_ODD)
        elif holder:
            holder[draw(st.integers(0, len(holder) - 1))] = draw(_ODD)
    return content
