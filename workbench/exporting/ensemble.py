"""The ensemble of a sweep's kept trials as one Keras model, which every format can take."""

import dataclasses
import importlib
import math
from collections.abc import Sequence

import keras

from workbench.errors import UserError
from workbench.files import read_json
from workbench.finished_run import FinishedRun
from workbench.keras_graph import rebuild
from workbench.origin import find_command_of_run
from workbench.runtime import import_tensorflow
from workbench.sweep.analysis.sweep_analysis import analyse_sweep
from workbench.sweep.results import is_sweep, read_results

# A module that tunes has a function `open_hypermodel` (folder of a sweep, where its data is now or None).


@dataclasses.dataclass(frozen=True)
class Member:
    """A trial of an ensemble.

    Attributes:
        trial: its id.
        weight: of its probabilities in the average.
        model: maps uint8 images to logits.
    """

    trial: str
    weight: float
    model: keras.Model


def load_ensemble(run: FinishedRun) -> list[Member]:
    """Select the ensemble of a sweep's kept trials on its validation images, and load its members.

    Raises:
        UserError: it is not a sweep, it has too few kept trials or outcomes, or no ensemble of them is expected to be
            better than a single trial.
    """
    if not is_sweep(run.path):
        raise UserError(f"--ensemble: {run.path} is not a sweep")
    results = read_results(run.path)
    analysis = analyse_sweep(run.path, results)
    if analysis is None or analysis.ensemble is None:
        raise UserError(
            f"--ensemble: {run.path} has not the weights and the predictions of two trials; it needs a sweep with "
            "--keep 2 or more and --keep-outcomes all"
        )
    weights = analysis.ensemble.weights
    if len(weights) == 1:
        raise UserError(f"--ensemble: {run.path} has no better ensemble than its trial {next(iter(weights))} alone")
    gain = analysis.ensemble.gain
    if gain <= 0:
        raise UserError(
            f"--ensemble: no ensemble of {run.path} is expected to gain accuracy on new images "
            f"({100 * gain:+.1f} points); export the best trial without --ensemble"
        )
    command = find_command_of_run(run.path, run.config)
    if command is None:
        raise UserError(f"--ensemble: which command made {run.path} is not known; restore its metrics.json")
    import_tensorflow(with_keras_tuner=True)
    hypermodel = importlib.import_module(command).open_hypermodel(run.path, run.moved_data)
    values = {trial.id: trial.values for trial in results.scored}
    members = []
    for trial, weight in weights.items():
        folder = run.path / "tuner" / f"trial_{trial}"
        precision = (read_json(folder / "result.json") or {}).get("precision", "float32")
        model = hypermodel.load_trial(values[trial], precision, folder)
        members.append(Member(trial, weight, rebuild(model)))  # a copy: the next one may share its layers
    return members


def build_ensemble_model(members: Sequence[Member]) -> keras.Model:
    """Return one model whose probabilities are the weighted average of its members'.

    It returns logits: the logarithms of the averaged probabilities.
    """
    first = members[0].model.inputs[0]
    images = keras.Input(first.shape[1:], dtype=first.dtype, name="images")
    logarithms = []
    for member in members:
        part = keras.Model(member.model.inputs[0], member.model.outputs[0], name=f"trial_{member.trial}")
        logarithms.append(keras.ops.log_softmax(part(images)) + math.log(member.weight))
    stacked = keras.ops.stack(logarithms, axis=2)
    largest = keras.ops.max(stacked, axis=2, keepdims=True)  # subtracted, so that the exponentials are exact
    total = keras.ops.sum(keras.ops.exp(stacked - largest), axis=2)
    return keras.Model(images, keras.ops.log(total) + keras.ops.squeeze(largest, axis=2), name="ensemble")


def describe_members(members: Sequence[Member]) -> str:
    """Return a line that names the members and their weights."""
    parts = ", ".join(f"{member.trial} ({member.weight:.0%})" for member in members)
    return f"ensemble of the trials {parts}"
