"""What the command does with calls and deaths of Ray's workers, without a cluster."""

import os
import pickle
import time
import types

import numpy as np
import pytest
import ray
from ray.exceptions import ActorDiedError, GetTimeoutError

from workbench.sweep.config import WorkersConfig
from workbench.sweep.ray_cluster.call_server import CallServer
from workbench.sweep.ray_cluster.executor import RayExecutor, _Worker
from workbench.sweep.ray_cluster.trial_files import unpack_files
from workbench.sweep.ray_cluster.trial_worker import open_worker_folder
from workbench.sweep.results import ResultsRecorder, SweepResults, make_result
from workbench.sweep.scheduling.trial import Trial


class Oracle:
    """A command with one trial, which answers each call with the name of its method."""

    def __init__(self, status="running"):
        self.scheduler = types.SimpleNamespace(trials={"0": Trial("0", {}, status=status)})
        self.answered = []

    def answer(self, method, *arguments):
        self.answered.append(method)
        return method


class Mailbox:
    """A mailbox with one call, that of a worker which gives the trial back with references to its files."""

    def __init__(self):
        call = pickle.dumps(("end_trial", (types.SimpleNamespace(trial_id="0"),)))
        calls, self.answers = [(7, "ray-1", (call, ["small", "weights"]))], {}
        self.collect = types.SimpleNamespace(remote=lambda patience: calls)
        self.answer = types.SimpleNamespace(remote=lambda number, answer: self.answers.update({number: answer}))


FILES = {
    "small": {("tuner", "trial_0/result.json"): np.frombuffer(b'{"val_accuracy": 0.5}', np.uint8)},
    "weights": {("tuner", "trial_0/weights.npz"): np.zeros(3, np.uint8)},
}


def serve(folder, oracle, monkeypatch, get, wants_weights=lambda trial, result: True):
    """Serve the call of the mailbox, with the objects that `get` returns, and return the answer."""
    mailbox = Mailbox()
    monkeypatch.setattr(ray, "get", lambda reference, timeout=None: get(reference))
    tuner = types.SimpleNamespace(list_folders=lambda: {"tuner": folder}, hypermodel=None)
    server = CallServer(mailbox, tuner, oracle, wants_weights)
    try:
        server.serve({"ray-1"})
    finally:
        server.finish({"ray-1"})
    return pickle.loads(mailbox.answers[7][0])


def get_file(reference):
    return FILES.get(reference, reference) if isinstance(reference, str) else reference


def test_files_that_do_not_come_end_no_trial_and_those_of_a_finished_one_are_not_read(tmp_path, monkeypatch):
    def get(reference):
        if isinstance(reference, str):
            raise GetTimeoutError
        return reference

    assert serve(tmp_path, Oracle("running"), monkeypatch, get) is None
    assert serve(tmp_path, Oracle("completed"), monkeypatch, get) == "end_trial"


def test_only_the_weights_that_are_kept_are_fetched(tmp_path, monkeypatch):
    results = SweepResults({}, {}, "val_accuracy", "max")
    recorder = ResultsRecorder(tmp_path / "trials.csv", results, 2, lambda trial: tmp_path / f"trial_{trial}")
    fetched, sent, asked = [], [], []
    for number, accuracy in enumerate([0.5, 0.3, 0.4, 0.2, 0.45, 0.4]):
        trial = str(number)
        result = make_result(trial, {}, {"status": "completed", "val_accuracy": accuracy}, "val_accuracy")
        fetched.append(recorder.may_keep(result))
        recorder.add(result)
    assert fetched == [True, True, True, False, True, False]
    failed = make_result("9", {}, {"status": "failed", "val_accuracy": 0.9}, "val_accuracy")
    assert not recorder.may_keep(failed)

    def get(reference):
        sent.append(reference)
        return get_file(reference)

    for wanted in (False, True):
        sent.clear()
        answers = [wanted]
        serve(tmp_path, Oracle(), monkeypatch, get, lambda *trial: asked.append(trial) or answers[0])  # noqa: B023
        assert ("weights" in sent) is wanted
        assert (tmp_path / "trial_0" / "weights.npz").exists() is wanted
        assert (tmp_path / "trial_0" / "result.json").exists()
    assert asked[0] == ("0", {"val_accuracy": 0.5})


def test_a_result_that_had_come_before_ctrl_c_is_recorded(tmp_path, monkeypatch):
    calls = iter([KeyboardInterrupt])

    def get(reference):
        if not isinstance(reference, str) and next(calls, None):
            raise KeyboardInterrupt
        return get_file(reference)

    oracle = Oracle()
    with pytest.raises(KeyboardInterrupt):
        serve(tmp_path, oracle, monkeypatch, get)
    assert oracle.answered == ["end_trial"]
    assert (tmp_path / "trial_0" / "weights.npz").exists()


@pytest.mark.parametrize("delay", [0, 0.3])
def test_a_full_disk_ends_the_sweep(tmp_path, monkeypatch, delay):
    """Also where the files come so late that the search has ended."""

    def get(reference):
        if isinstance(reference, str):
            time.sleep(delay)
        return get_file(reference)

    (tmp_path / "trial_0").touch()  # so that no folder can be made there
    with pytest.raises(OSError, match="trial_0"):
        serve(tmp_path, Oracle(), monkeypatch, get)


def test_an_actor_asks_for_its_share_of_a_gpu(monkeypatch):
    asked = {}

    def remote(actor):
        return types.SimpleNamespace(options=lambda **options: asked.update(options) or actor_class)

    actor_class = types.SimpleNamespace(remote=lambda environment, threads: asked.update(environment=environment))
    monkeypatch.setattr(ray, "remote", remote)
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0, "GPU": 2.0})
    monkeypatch.setattr("workbench.sweep.ray_cluster.executor.start_mailbox", lambda: None)
    executor = RayExecutor(WorkersConfig(executor="ray", worker_gpus=0.5, worker_cpus=2))
    executor.start()
    assert (asked["num_gpus"], asked["num_cpus"], executor.count_workers()) == (0.5, 2, 4)
    assert executor.describe_device() == "Ray, 4 workers with 2 CPU cores and 0.5 GPU each"
    assert "CUDA_VISIBLE_DEVICES" not in asked["environment"]


def test_the_result_is_the_last_file_of_a_trial(tmp_path):
    content = np.zeros(1, np.uint8)
    (tmp_path / "trial_0" / "weights.npz").mkdir(parents=True)  # so that this file cannot be written
    files = {("tuner", "trial_0/result.json"): content, ("tuner", "trial_0/weights.npz"): content}
    with pytest.raises(OSError, match="directory"):
        unpack_files(files, {"tuner": tmp_path}, "0")
    assert not (tmp_path / "trial_0" / "result.json").exists()


def test_a_worker_removes_the_folders_of_killed_ones(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with open_worker_folder() as living:
        killed = living.with_name(living.name.replace(f"-{os.getpid()}-", f"-{2**30}-"))
        (killed / "run").mkdir(parents=True)
        with open_worker_folder() as other:
            assert other.parent == tmp_path
            assert living.exists()
            assert not killed.exists()
    assert not any(tmp_path.iterdir())


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
