"""Sweeps on a Ray cluster of two nodes, which are raylets of this machine with an address each."""

import dataclasses
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import ray
from ray.cluster_utils import Cluster

from cnn_scratch.config import TuneConfig
from cnn_scratch.tune import tune as cnn_tune
from tests.workbench.sweep.noop import MISBEHAVE, NoopTuneConfig, main, tune
from workbench.config import build, replace
from workbench.data.dataset import Dataset
from workbench.files import read_csv
from workbench.sweep.ray_cluster.shared_dataset import share_dataset

STORE = 80 << 20  # bytes of a node's object store
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def cluster():
    """Start two nodes with a core each. Processes that Ray starts find this checkout."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path]))
        patch.setenv("RAY_DISABLE_IMPORT_WARNING", "1")
        head = {"node_ip_address": "127.0.0.2", "include_dashboard": False, "object_store_memory": STORE}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        add_node(cluster)
        yield cluster
        cluster.shutdown()


def add_node(cluster):
    return cluster.add_node(num_cpus=1, node_ip_address="127.0.0.3", object_store_memory=STORE)


@pytest.fixture
def config(cluster, workdir):
    """Return a sweep of 40 trials that wait 50 ms each."""
    write_space(seed=list(range(40)))
    options = {"executor": "ray", "ray_address": cluster.address, "max_trials": "all"}
    return build(NoopTuneConfig, space="space.yaml", name="s", **options)


def write_space(**parameters):
    parameters = {"batch_size": [50], "epochs": [1], **parameters}
    lines = [f"  {name}: {{values: {values}}}" for name, values in parameters.items()]
    Path("space.yaml").write_text("\n".join(["parameters:", *lines]))


def read_points():
    """Return the completed trials' seeds, and check that there is one row a trial."""
    rows = read_csv("runs/s/trials.csv")
    assert len({row["trial"] for row in rows}) == len(rows)
    assert {row["status"] for row in rows} == {"completed"}
    return sorted(int(row["seed"]) for row in rows)


def test_a_sweep_begun_locally_goes_on_on_ray_and_back(config, capsys):
    tune(replace(config, executor="local", ray_address=None, workers=0, max_trials=5))
    begun = read_csv("runs/s/trials.csv")
    tune(replace(config, max_trials=25))
    assert "device: Ray, 2 workers with 1 CPU core each" in capsys.readouterr().out
    rows = read_csv("runs/s/trials.csv")
    assert rows[:5] == begun
    assert len({row["worker"] for row in rows[5:]}) == 2
    assert len(list(Path("runs/s").glob("tuner/*/weights.npz"))) == 5
    assert not ray.is_initialized()
    tune(replace(config, executor="local", ray_address=None, workers=0))
    assert read_points() == list(range(40))


def share_without_file(dataset):
    """Share a data set as if its file of decoded images were on no other machine."""
    return dataclasses.replace(share_dataset(dataset), path=None)


def test_networks_are_trained_with_images_from_the_object_store(cluster, workdir, shared_red_and_blue, monkeypatch):
    monkeypatch.setattr("workbench.sweep.ray_cluster.executor.share_dataset", share_without_file)
    write_space(batch_size=[8], num_filters=[2], dense_units=[2], dropout=[0.1, 0.2])
    data = {"data": str(shared_red_and_blue), "image_size": 32}
    options = {"executor": "ray", "ray_address": cluster.address, "workers": 1, "max_trials": "all"}
    folder = cnn_tune(build(TuneConfig, space="space.yaml", name="s", **data, **options))
    assert [row["status"] for row in read_csv(folder / "trials.csv")] == ["completed"] * 2
    assert (folder / "model.keras").exists()
    assert {path.parent.name for path in Path("logs/s").glob("*/*tfevents*")} >= {"0", "1"}


def test_images_are_mapped_and_not_copied(cluster, tmp_path):
    images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    path = tmp_path / "key" / "images.bin"
    path.parent.mkdir()
    images.tofile(path)
    rows = np.zeros(2, int)
    mapped = np.memmap(path, np.uint8, "r", shape=images.shape)
    dataset = Dataset("d", ["a"], mapped, rows, [], rows, rows, rows, [], 0.0, "")
    ray.init(cluster.address, log_to_driver=False)
    try:
        shared = share_dataset(dataset)
        from_store = shared.open().images  # the file is not complete: it has no index
        assert not from_store.flags.writeable
        assert not from_store.flags.owndata
        (path.parent / "index.json").write_text("{}")
        from_file = shared.open().images
        assert Path(from_file.filename) == path
        assert (from_store == images).all()
        assert (from_file == images).all()
    finally:
        ray.shutdown()


def test_a_trial_that_kills_its_worker_fails_and_the_others_do_not(config):
    write_space(learning_rate=[0.001, MISBEHAVE], batch_size=[20])
    tune(config)
    status = {float(row["learning_rate"]): (row["status"], row["reason"]) for row in read_csv("runs/s/trials.csv")}
    assert status[0.001] == ("completed", "")
    assert status[MISBEHAVE][0] == "failed"
    assert "its worker died 3 times" in status[MISBEHAVE][1]


def test_a_raylet_that_is_killed_loses_no_trial(config, cluster):
    def kill_when_it_runs(node):
        while len(list(Path("runs/s").glob("tuner/*/trial.json"))) < 5:
            time.sleep(0.05)
        cluster.remove_node(node, allow_graceful=False)

    (node,) = cluster.worker_nodes
    killer = threading.Thread(target=kill_when_it_runs, args=(node,))
    killer.start()
    tune(config)
    killer.join()
    assert read_points() == list(range(40))
    assert not Path("runs/s/repeated.log").exists()


def test_without_ray_or_a_cluster_one_line_says_what_to_do(workdir, capsys, monkeypatch):
    write_space(seed=[0, 1])
    words = ["--space=space.yaml", "--executor=ray"]
    assert main([*words, "--ray-address=nowhere"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --ray-address nowhere: ")
    assert error.count("\n") == 1
    monkeypatch.setattr("workbench.sweep.early_start.importlib.util.find_spec", lambda name: None)
    assert main(words) == 2
    assert capsys.readouterr().err == "error: --executor ray: Ray is not installed; pip install ray\n"
