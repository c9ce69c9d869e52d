"""What the command does with calls and deaths of Ray's workers, without a cluster."""

import pickle
import types

import numpy as np
import pytest
import ray
from ray.exceptions import ActorDiedError, GetTimeoutError

from workbench.sweep.config import WorkersConfig
from workbench.sweep.ray_cluster.executor import RayExecutor, _Worker
from workbench.sweep.ray_cluster.trial_files import unpack_files
from workbench.sweep.scheduling.trial import Trial


class Oracle:
    """A command with one trial, which answers each call with the name of its method."""

    def __init__(self, status):
        self.scheduler = types.SimpleNamespace(trials={"0": Trial("0", {}, status=status)})

    def answer(self, method, *arguments):
        return method


def end_trial(status):
    call = types.SimpleNamespace(trial_id="0")
    return pickle.loads(RayExecutor(WorkersConfig())._answer(Oracle(status), "end_trial", (call,), ["files"])[0])


def test_files_that_do_not_come_end_no_trial_and_those_of_a_finished_one_are_not_read(monkeypatch):
    def wait(reference, timeout):
        raise GetTimeoutError

    monkeypatch.setattr(ray, "get", wait)
    assert end_trial("running") is None
    assert end_trial("completed") == "end_trial"


def test_the_result_is_the_last_file_of_a_trial(tmp_path):
    content = np.zeros(1, np.uint8)
    (tmp_path / "trial_0" / "weights.npz").mkdir(parents=True)  # so that this file cannot be written
    files = {("tuner", "trial_0/result.json"): content, ("tuner", "trial_0/weights.npz"): content}
    with pytest.raises(OSError, match="directory"):
        unpack_files(files, {"tuner": tmp_path}, "0")
    assert not (tmp_path / "trial_0" / "result.json").exists()


def test_deaths_after_the_end_of_the_sweep_are_no_error(monkeypatch):
    def get(reference):
        raise ActorDiedError

    monkeypatch.setattr(ray, "wait", lambda results, **options: (results, []))
    monkeypatch.setattr(ray, "get", get)
    monkeypatch.setattr(ray, "kill", lambda actor: None)
    deaths = []
    scheduler = types.SimpleNamespace(on_worker_died=lambda name, reason: deaths.append(name))
    executor = RayExecutor(WorkersConfig())
    executor._workers = {name: _Worker(name, None, result=name) for name in ("ray-1", "ray-2", "ray-3")}
    executor._watch(scheduler, replace=False)
    assert deaths == ["ray-1", "ray-2", "ray-3"]
