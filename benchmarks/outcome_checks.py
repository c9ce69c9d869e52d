"""Check the outcomes of a finished sweep: each must be what its trial's saved model predicts, and none of no trial."""

import collections
import math
from pathlib import Path

import numpy as np

from workbench.runtime import load_tensorflow

load_tensorflow()  # quietly, before an import below does it

from cnn_scratch.tune import open_hypermodel
from workbench.evaluation.prediction import predict_logits
from workbench.evaluation.probabilities import softmax
from workbench.files import read_json
from workbench.finished_run import open_run
from workbench.sweep.analysis.sweep_analysis import list_members
from workbench.sweep.outcomes.sweep_outcomes import read_outcomes
from workbench.sweep.results import read_results

_TOLERANCE = 2e-3  # of a probability in 16 bits


def count_false_outcomes(sweep: Path) -> collections.Counter[str]:
    """Count the outcomes that a reader of a sweep gets, and those that are false.

    An outcome is false if it is of no recorded trial, if it does not have the validation accuracy of its trial's
    record, or if the trial's saved model, which the best trials keep, predicts something else.

    Args:
        sweep: folder of a finished sweep of `cnn_scratch.tune` that keeps all outcomes.
    """
    outcomes, results = read_outcomes(sweep), read_results(sweep)
    assert outcomes is not None
    recorded = {path.parent.name: read_json(path) for path in sweep.glob("tuner/trial_*/result.json")}
    counts = collections.Counter({"outcomes read": len(outcomes.trials)})
    counts["outcomes of no trial"] = sum(f"trial_{trial}" not in recorded for trial in outcomes.trials)
    for trial, correct in zip(outcomes.trials, outcomes.compute_correct(), strict=True):
        accuracy = recorded.get(f"trial_{trial}", {}).get("val_accuracy", math.nan)
        counts["outcomes of another accuracy"] += not math.isclose(correct.mean(), accuracy, abs_tol=1e-6)
    hypermodel, dataset = open_hypermodel(sweep, None), open_run(sweep).load_dataset()
    for result in list_members(sweep, results.scored):
        precision = recorded[f"trial_{result.id}"].get("precision", "float32")
        model = hypermodel.load_trial(result.values, precision, sweep / "tuner" / f"trial_{result.id}")
        expected = softmax(predict_logits(model, dataset.images, dataset.validation, "comparing"))
        differs = np.abs(outcomes.get_probabilities(result.id) - expected).max() > _TOLERANCE
        counts["outcomes compared with the saved model"] += 1
        counts["outcomes that differ from it"] += bool(differs)
    return counts
