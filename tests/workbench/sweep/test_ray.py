"""Sweeps on a Ray cluster of one node, and of others that join: raylets of this machine with an address each."""

import contextlib
import os
import signal
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray

from benchmarks.loopback_cluster import LoopbackCluster
from cnn_scratch.commands import TUNE
from tests.workbench.sweep import noop
from tests.workbench.sweep.noop import KILLER, NoopTuneConfig, main, tune
from workbench import cli
from workbench.config import build
from workbench.data.dataset import Dataset
from workbench.files import read_csv, read_json
from workbench.sweep.ray_cluster.shared_dataset import SharedDataset, share_dataset, share_images

ROOT = Path(__file__).parents[3]
SETTINGS = {
    "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),  # processes that Ray starts find this checkout
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_prestart_worker_first_driver": "0",  # start no worker that nobody has asked for
    "RAY_enable_worker_prestart": "0",
    "RAY_health_check_period_ms": "300",  # a killed machine is missed after about 1.5 s
    "RAY_health_check_timeout_ms": "10000",  # a busy one has so long for each of five answers
}


@pytest.fixture(scope="module")
def cluster():
    """Start a node with two cores, without what only shows the cluster's logs or enlarges it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SETTINGS.items():
            patch.setenv(name, value)
        with LoopbackCluster(0) as cluster:
            cluster.add_node(num_cpus=2, include_log_monitor=False, no_monitor=True)
            yield cluster


def write_space(**parameters):
    parameters = {"batch_size": [50], "epochs": [1], **parameters}
    lines = [f"  {name}: {{values: {values}}}" for name, values in parameters.items()]
    Path("space.yaml").write_text("\n".join(["parameters:", *lines]))


def make_words(cluster, *words):
    return ["--space=space.yaml", "--name=s", "--max-trials=all", *cluster.options, *words]


def read_points():
    """Return the completed trials' seeds, and check that there is one row a trial."""
    rows = read_csv("runs/s/trials.csv")
    assert len({row["trial"] for row in rows}) == len(rows)
    assert {row["status"] for row in rows} == {"completed"}
    return sorted(int(row["seed"]) for row in rows)


def find_rows(status):
    return [row for row in read_csv("runs/s/trials.csv") if row["status"] == status]


def count_finished():
    return len(list(Path("runs/s").glob("tuner/*/trial.json")))


def list_workers():
    """Return the names of the workers that have finished a trial; one that killed its workers has no name."""
    results = [read_json(path) for path in Path("runs/s").glob("tuner/trial_*/result.json")]
    return {result["worker"] for result in results if result and "worker" in result}


def list_actors():
    """Return the titles of our processes in the cluster."""
    titles = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            titles += process.cmdline()[:1]
    return [title for title in titles if title.startswith(("ray::TrialWorker", "ray::Mailbox"))]


def wait_for_actors_to_end():
    """Wait until no process of the sweep is left: `ray.kill` returns before the process has ended."""
    deadline = time.monotonic() + 10
    while (left := list_actors()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


@contextlib.contextmanager
def stop_when(condition, number):
    """Send this process a signal as soon as a condition holds, if this block has not ended by then."""
    ended = threading.Event()

    def watch():
        while not ended.wait(0.05):
            if condition():
                os.kill(os.getpid(), number)
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def test_a_sweep_begun_locally_is_stopped_on_ray_and_continued_locally(cluster, workdir, capsys, monkeypatch):
    """With asynchronous halving, and with a trial that kills its workers."""
    seeds = list(range(150))
    seeds[106] = KILLER  # is tried after 20 others
    write_space(seed=seeds, epochs=[16])
    local = ["--space=space.yaml", "--name=s", "--prune=halving", "--workers=0"]
    assert main([*local, "--max-trials=5"]) == 0
    begun = read_csv("runs/s/trials.csv")
    with stop_when(lambda: find_rows("failed") and len(list_workers()) >= 3, signal.SIGTERM):
        assert main(make_words(cluster, "--prune=halving")) == 130
    shown = capsys.readouterr()
    assert "device: Ray, 2 workers with 1 CPU core each" in shown.out
    says = (
        "\nstopped; finished trials are kept. To continue:\n  python -m tests.workbench.sweep.noop --space space.yaml "
    )
    assert says in shown.err
    assert f" --executor ray --ray-address {cluster.address}" in shown.err
    rows = read_csv("runs/s/trials.csv")
    assert rows[:5] == begun
    assert len(rows) == count_finished() < 150
    assert not ray.is_initialized()
    wait_for_actors_to_end()

    (killed,) = find_rows("failed")
    assert int(killed["seed"]) == KILLER
    assert killed["reason"].startswith("its worker died 3 times, the last time with ")
    pruned = [row for row in find_rows("pruned") if row not in begun]
    assert min(float(row["ended"]) for row in pruned) < max(float(row["started"]) for row in rows)

    monkeypatch.setattr(noop, "KILLER", None)
    monkeypatch.setattr(noop, "time", types.SimpleNamespace(sleep=lambda seconds: None))
    assert main([*local, "--max-trials=all"]) == 0
    rows = read_csv("runs/s/trials.csv")
    assert len({row["trial"] for row in rows}) == len(rows)
    assert sorted(int(row["seed"]) for row in rows) == sorted(seeds)
    assert find_rows("failed") == [killed]
    assert {row["epochs"] for row in find_rows("pruned")} <= {"1", "4"}
    assert {row["epochs"] for row in find_rows("completed")} == {"16"}
    assert len(list(Path("runs/s").glob("tuner/*/weights.npz"))) == 5


def test_a_sweep_that_no_machine_has_room_for_can_be_stopped(cluster, workdir, capsys):
    write_space(seed=[0, 1])
    with stop_when(Path("runs/s/status.json").exists, signal.SIGINT):
        assert main(make_words(cluster, "--worker-cpus=9")) == 130
    assert "stopped; finished trials are kept. To continue:" in capsys.readouterr().err
    ray.init(cluster.address, log_to_driver=False)
    try:
        assert {actor["State"] for actor in ray._private.state.actors().values()} == {"DEAD"}
    finally:
        ray.shutdown()


def share_without_file(dataset):
    """Share a data set as if its file of decoded images were on no other machine."""
    shared = share_dataset(dataset)
    return SharedDataset(shared.dataset, None, shared.shape)


def test_hyperband_trains_networks_with_images_from_the_object_store(
    cluster, workdir, shared_red_and_blue, monkeypatch
):
    monkeypatch.setattr("workbench.sweep.ray_cluster.call_server.share_dataset", share_without_file)
    fixed = {"batch_size": [8], "num_filters": [2], "dense_units": [2], "epochs": [3], "schedule": ["constant"]}
    write_space(**fixed, dropout=[0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4])
    words = [f"--data={shared_red_and_blue}", "--image-size=32", "--tuner=hyperband", "--keep=1", "--workers=1"]
    assert cli.main(TUNE, ["--space=space.yaml", "--name=s", *words, *cluster.options]) == 0
    folder = Path("runs/s")
    rows = read_csv(folder / "trials.csv")
    assert {row["status"] for row in rows} == {"completed"}
    assert {row["epochs"] for row in rows} == {"1", "3"}
    assert 1 in [read_json(path)["resumed_after"] for path in folder.glob("tuner/trial_*/result.json")]
    assert len(list(folder.glob("tuner/trial_*/weights.npz"))) == 1
    assert (folder / "model.keras").exists()
    assert {path.parent.name for path in Path("logs/s").glob("*/*tfevents*")} == {row["trial"] for row in rows}


def test_images_are_mapped_and_not_copied(cluster, tmp_path):
    images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    path = tmp_path / "key" / "images.bin"
    path.parent.mkdir()
    images.tofile(path)
    rows = np.zeros(2, int)
    mapped = np.memmap(path, np.uint8, "r", shape=images.shape)
    dataset = Dataset("d", ["a"], mapped, rows, [], rows, rows, rows, [], 0.0, "", "")
    ray.init(cluster.address, log_to_driver=False)
    try:
        shared = share_dataset(dataset)
        from_store = shared.open(
            lambda: ray.get(share_images(dataset))
        ).images  # there is no index: the file is not complete
        assert not from_store.flags.writeable
        assert not from_store.flags.owndata
        (path.parent / "index.json").write_text("{}")
        from_file = shared.open(lambda: pytest.fail("the images were sent")).images
        assert Path(from_file.filename) == path
        assert (from_store == images).all()
        assert (from_file == images).all()
    finally:
        ray.shutdown()


def test_a_machine_that_joins_gets_trials_and_one_that_vanishes_loses_none(cluster, workdir):
    """The workers ask for three cores, which only the machines have that join while the sweep runs."""
    write_space(seed=list(range(80)))
    options = {"executor": "ray", "ray_address": cluster.address, "max_trials": "all", "worker_cpus": 3}
    config = build(NoopTuneConfig, space="space.yaml", name="s", **options)
    sweep = threading.Thread(target=tune, args=(config,), daemon=True)  # only the main thread can start nodes
    sweep.start()
    cluster.add_node(num_cpus=3)
    while count_finished() < 5:
        assert sweep.is_alive()
        time.sleep(0.05)
    cluster.kill_node()
    cluster.add_node(num_cpus=3)
    sweep.join()
    cluster.kill_node()
    assert read_points() == list(range(80))
    assert len(list_workers()) == 2
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
