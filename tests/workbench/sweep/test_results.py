import json

import pytest

from workbench.files import write_csv
from workbench.sweep.results import (
    ResultsRecorder,
    SweepResults,
    format_score,
    format_values,
    make_result,
    read_results,
)

PARAMETERS = {"epochs": [1, 2], "filter_size": [[3, 3, 3], [3, 2, 2]], "batch_norm": [True, False]}
HEADER = (
    "trial,status,val_accuracy,val_loss,accuracy,loss,best_epoch,epochs,max_epochs,seconds,parameters,started,ended,"
    "worker,filter_size,batch_norm,reason"
)


def finish_trial(number, val_accuracy, val_loss=0.5, **result):
    values = {"epochs": 2, "filter_size": [3, 2, 2], "batch_norm": False}
    result = {"status": "completed", "val_accuracy": val_accuracy, "val_loss": val_loss, "epochs": 1, **result}
    return make_result(f"{number:02d}", values, {**result, "max_epochs": 2}, "val_accuracy")


@pytest.fixture
def record(tmp_path):
    """Function that records trials in a sweep's folder, and returns the ids of those whose weights are kept."""
    (tmp_path / "sweep.json").write_text(
        json.dumps({"parameters": PARAMETERS, "fixed": {}, "metric": ["val_accuracy", "max"]})
    )
    recorder = ResultsRecorder(
        tmp_path / "trials.csv",
        SweepResults(PARAMETERS, {}, "val_accuracy", "max"),
        2,
        lambda trial_id: tmp_path / trial_id,
    )

    def add(*trials):
        for trial in trials:
            (tmp_path / trial.id).mkdir()
            (tmp_path / trial.id / "weights.npz").touch()
            recorder.add(trial)
        return sorted(path.parent.name for path in tmp_path.glob("*/weights.npz"))

    return add


def test_what_is_recorded_is_read_again(record, tmp_path):
    trials = [finish_trial(0, 0.5), finish_trial(1, 0.75, seconds=1.5, parameters=12), finish_trial(2, 0.75, 0.25)]
    failed = finish_trial(3, None, None, status="failed", reason="out of memory, sorry")
    record(*trials, failed)
    results = read_results(tmp_path)
    assert results.scored == [trials[2], trials[1], trials[0]]
    assert results.failed == [failed]
    assert results.best.values == {"epochs": 2, "filter_size": [3, 2, 2], "batch_norm": False}


def test_the_columns_of_the_file(record, tmp_path):
    record(finish_trial(0, 0.5, worker="worker1"), finish_trial(1, None, None, status="failed", reason="no memory"))
    assert (tmp_path / "trials.csv").read_text().splitlines() == [
        HEADER,
        '00,completed,0.5,0.5,,,,1,2,,,,,worker1,"[3, 2, 2]",False,',
        '01,failed,,,,,,1,2,,,,,,"[3, 2, 2]",False,no memory',
    ]


def test_a_file_with_fewer_columns_is_readable(record, tmp_path):
    write_csv(tmp_path / "trials.csv", [{"trial": "0", "status": "completed", "val_accuracy": 0.5, "reason": ""}])
    (trial,) = read_results(tmp_path).scored
    assert (trial.id, trial.score, trial.seconds, trial.worker) == ("0", 0.5, None, None)


def test_only_the_best_weights_are_kept(record):
    assert record(finish_trial(0, 0.5), finish_trial(1, 0.6)) == ["00", "01"]
    assert record(finish_trial(2, 0.7)) == ["01", "02"]
    assert record(finish_trial(3, 0.1)) == ["01", "02"]
    assert record(finish_trial(4, None, status="failed")) == ["01", "02"]


def test_results_as_text():
    assert format_score("val_accuracy", 0.98765) == "98.8%"
    assert format_score("val_loss", 0.5) == "0.5000"
    assert format_score("val_loss", 1e6) == "1.000e+06"
    values = {"filter_size": [3, 3, 3], "other": [3, 2, 2], "learning_rate": 1e-4, "batch_norm": True}
    assert format_values(values) == "filter_size=3 other=3-2-2 learning_rate=0.0001 batch_norm=True"
