import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from cnn_scratch.config import TrainConfig
from tests.processes import PIPE, Process, limit_file_size, run, start_worker
from tests.workbench.sweep.noop import MISBEHAVE, OUT_OF_MEMORY, NoopHyperModel, NoopTuneConfig, main, tune
from workbench import cli
from workbench.config import build, replace
from workbench.errors import UserError
from workbench.files import read_csv, read_json, write_json
from workbench.finished_run import open_run
from workbench.reporting.sweep_page import build_sweep_page
from workbench.reporting.sweep_statistics import build_repeats_section
from workbench.training.augmentation_options import check_augmentation_options


def command(*words):
    return [sys.executable, "-m", "tests.workbench.sweep.noop", "--space=space.yaml", "--name=s", *words]


def write_space(**parameters):
    lines = [f"  {name}: {{values: {values}}}" for name, values in {"epochs": [1], **parameters}.items()]
    Path("space.yaml").write_text("\n".join(["parameters:", *lines]))


def rows():
    return sorted(read_csv("runs/s/trials.csv"), key=lambda row: row["trial"])


def test_a_trial_that_fails_or_kills_its_worker_does_not_harm_the_others(workdir, forked_workers):
    write_space(learning_rate=[0.001, 0.002, MISBEHAVE, OUT_OF_MEMORY], batch_size=[20])
    tune(build(NoopTuneConfig, space="space.yaml", name="s", max_trials="all", workers=2))
    status = {float(row["learning_rate"]): (row["status"], row["reason"]) for row in rows()}
    assert status[0.001] == status[0.002] == ("completed", "")
    assert status[OUT_OF_MEMORY] == ("failed", "MemoryError: cannot allocate 9 TB [/device:CPU:0]")
    assert status[MISBEHAVE][0] == "failed"
    assert "its worker died 3 times, the last time with exit code 9" in status[MISBEHAVE][1]


def test_out_of_memory_in_every_trial_ends_with_a_word(workdir, capsys):
    write_space(learning_rate=[OUT_OF_MEMORY], batch_size=[10, 20])
    with pytest.raises(UserError, match="none of the 2 trials could be completed; the first: MemoryError: cannot"):
        tune(build(NoopTuneConfig, space="space.yaml", name="s", max_trials="all", workers=0))
    assert "[2/2] 1  failed  MemoryError: cannot allocate 9 TB [/device:CPU:0]" in capsys.readouterr().out


def test_a_sweep_that_goes_on_says_so_once(workdir, capsys):
    write_space(seed=[0, 1, 2], batch_size=[10])
    tune(build(NoopTuneConfig, space="space.yaml", name="s", max_trials=1, workers=0))
    capsys.readouterr()
    tune(build(NoopTuneConfig, space="space.yaml", name="s", max_trials=2, workers=0))
    shown = capsys.readouterr().out
    assert "resuming after 1 finished trial\n[2/2]" in shown
    assert "Reloading" not in shown
    more = "python -m tests.workbench.sweep.noop --space space.yaml --max-trials 3 --workers 0 --name s   (or all: 3)"
    assert f"more trials:          {more}\n" in shown


def test_a_finished_sweep_needs_no_workers(workdir):
    write_space(seed=[0, 1, 2], batch_size=[10])
    tune(build(NoopTuneConfig, space="space.yaml", name="s", max_trials=2, workers=0))
    run(command("--max-trials=2", "--workers=1"), check=True)
    assert not Path("runs/s/workers").exists()
    assert len(rows()) == 2


def find_writers(folder):
    """Return the processes whose standard output is a file of the folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if Path(f"/proc/{process.pid}/fd/1").readlink().parent == folder.resolve():
                found.append(process)
    return found


start_for_real = functools.partial(subprocess.Popen, text=True)


@pytest.mark.parametrize(("stop", "start", "count"), [(signal.SIGINT, start_for_real, 1), (signal.SIGTERM, Process, 2)])
def test_ctrl_c_stops_the_workers_and_says_how_to_go_on(workdir, stop, start, count):
    write_space(seed=list(range(200)), batch_size=[100])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with start(command("--max-trials=all", f"--workers={count}"), env=environment, stderr=PIPE) as process:
        while len(list(Path("runs/s/tuner").glob("*/trial.json"))) < 3:
            time.sleep(0.05)
        workers = find_writers(Path("runs/s/workers"))
        assert len(list(Path("runs/s/workers").glob("*.log"))) == len(workers) == count
        process.send_signal(stop)
        shown = process.stderr.read()
    assert process.returncode == 130
    assert shown.startswith("\nstopped; finished trials are kept. To continue:\n  python -m tests.workbench.sweep.noop")
    assert not psutil.wait_procs(workers, timeout=10)[1]
    assert 3 <= len(rows()) < 200


def test_the_best_trials_are_repeated_with_other_seeds_and_that_is_continued(workdir, forked_workers, capsys):
    write_space(learning_rate=[0.001, 0.002, 0.003, 0.004], batch_size=[1])
    config = build(NoopTuneConfig, space="space.yaml", name="s", max_trials="all", workers=0, seed=5)
    tune(config)
    assert not Path("runs/s/repeats").exists()
    tune(replace(config, repeat=2))
    scores = [(seed * 37 % 101) / 101 for seed in (6, 7, 8)]
    repeated = read_json("runs/s/repeats.json")
    assert [entry["trial"] for entry in repeated] == ["0", "1", "2"]
    for entry in repeated:
        assert (entry["seeds"], entry["scores"]) == ([6, 7], pytest.approx(scores[:2]))
        assert entry["mean"] == pytest.approx(sum(scores[:2]) / 2)
    shown = capsys.readouterr().out
    assert "[6/6] 2-seed7  val_accuracy" in shown
    own, mean = 5 * 37 % 101 / 101, sum(scores[:2]) / 2
    assert f"trial 0: {own:.1%} in the sweep; with 2 further seeds {mean:.1%} on average, standard deviation" in shown
    files = {path: path.read_text() for path in Path("runs/s/repeats").glob("*/trial.json")}
    assert len(files) == 6
    assert not list(Path("runs/s/repeats").glob("*/weights.npz"))
    shutil.rmtree("runs/s/repeats/trial_1-seed6")  # as if it had been killed there
    tune(replace(config, repeat=3, workers=2))
    kept = {path: text for path, text in files.items() if path.parent.name != "trial_1-seed6"}
    assert kept == {path: path.read_text() for path in kept}
    assert [entry["scores"] for entry in read_json("runs/s/repeats.json")] == [pytest.approx(scores)] * 3
    assert len(rows()) == 4
    assert list(Path("runs/s/repeats/workers").glob("*.log"))


def interrupt(*arguments):
    raise KeyboardInterrupt


def test_repeats_that_are_interrupted_leave_the_winner(workdir, monkeypatch):
    monkeypatch.setattr("workbench.sweep.running_sweep.repeat_finalists", interrupt)
    write_space(learning_rate=[0.001, 0.002], batch_size=[1])
    with pytest.raises(KeyboardInterrupt):
        tune(build(NoopTuneConfig, space="space.yaml", name="s", max_trials="all", workers=0, repeat=1))
    assert {"model.keras", "best.yaml", "metrics.json"} <= {path.name for path in Path("runs/s").iterdir()}


def test_interrupted_repeats_are_reported_and_continued(workdir, monkeypatch, capsys):
    write_space(learning_rate=[0.001, 0.002], batch_size=[1])
    fit, ids = NoopHyperModel.fit, []

    def interrupt(self, hp, model, *, trial):
        if len(ids) == 5:  # two trials and three repeats
            raise KeyboardInterrupt
        ids.append(trial.id)
        return fit(self, hp, model, trial=trial)

    config = build(NoopTuneConfig, space="space.yaml", name="s", max_trials="all", workers=0, repeat=2)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match=r"To continue:\n.*--repeat 2"):
        patch.setattr(NoopHyperModel, "fit", interrupt)
        tune(config)
    assert ids[2:] == ["0-seed1", "0-seed2", "1-seed1"]
    text = build_repeats_section(Path("runs/s")).text
    assert "with 2 further seeds 55.0% on average, standard deviation" in text
    assert "with 1 further seed 36.6% on average; 1 more is not finished." in text
    assert "If the repeats were stopped, the same command continues them" in text

    capsys.readouterr()
    tune(config)
    assert "with 2 further seeds" in build_repeats_section(Path("runs/s")).text
    assert "not finished" not in build_repeats_section(Path("runs/s")).text
    assert [len(entry["scores"]) for entry in read_json("runs/s/repeats.json")] == [2, 2]


def test_repeats_of_a_swept_seed_have_seeds_that_the_sweep_has_not(workdir):
    write_space(seed=[0, 1, 3], batch_size=[1])
    tune(build(NoopTuneConfig, space="space.yaml", name="s", max_trials="all", workers=0, repeat=2))
    seeds = sorted(entry["seeds"] for entry in read_json("runs/s/repeats.json"))
    assert seeds == [[2, 4], [2, 4], [4, 5]]


def test_a_full_disk_is_one_line_and_what_is_finished_stays(workdir, capsys):
    write_space(seed=list(range(6)), batch_size=[10])
    tune(build(NoopTuneConfig, space="space.yaml", name="s", max_trials=2, workers=0))
    with limit_file_size(1 << 10):
        assert main(["--space=space.yaml", "--name=s", "--max-trials=6", "--workers=0"]) == 2
    error = capsys.readouterr().err
    assert "File too large" in error
    assert error.count("\n") == 1
    tune(build(NoopTuneConfig, space="space.yaml", name="s", max_trials=6, workers=0))
    assert len(rows()) == 6
    assert read_json("runs/s/metrics.json")["trials"] == 6


def sweep(text, **options):
    Path("space.yaml").write_text(text)
    return tune(build(NoopTuneConfig, space="space.yaml", name="s", workers=0, **options))


def test_early_terminate_ends_the_weaker_trials_at_its_epochs(workdir):
    seeds = list(range(12))
    sweep(
        "early_terminate: {type: hyperband, min_iter: 2, eta: 2}\n"
        f"parameters: {{seed: {{values: {seeds}}}, epochs: {{value: 9}}, batch_size: {{value: 1}}}}"
    )
    epochs = {row["status"]: set() for row in rows()}
    for row in rows():
        epochs[row["status"]].add(int(row["epochs"]))
    assert epochs["completed"] == {9}
    assert epochs["pruned"] <= {2, 4, 8}
    best = max(rows(), key=lambda row: float(row["val_accuracy"]))
    assert best["status"] == "completed"


def test_a_random_search_draws_from_its_distributions_and_can_be_continued(workdir, capsys):
    text = """
        method: random
        run_cap: 6
        parameters:
          learning_rate: {distribution: log_normal, mu: -6, sigma: 1}
          batch_size: {distribution: q_uniform, min: 4, max: 8, q: 4}
          epochs: {values: [1, 2], probabilities: [1.0, 0.0]}
    """
    sweep(text)
    shown, first = capsys.readouterr().out, rows()
    assert "space: 3 parameters, 2 of them are drawn from ranges\n" in shown
    assert "--max-trials 24 --workers 0 --name s\n" in shown  # there is no end of different points
    assert len(first) == 6
    assert len({row["learning_rate"] for row in first}) == 6
    assert {row["batch_size"] for row in first} <= {"4", "8"}
    assert {row["epochs"] for row in first} == {"1"}
    sweep(text, max_trials=9)
    assert len(rows()) == 9
    assert rows()[:6] == first
    with pytest.raises(UserError, match="distributions was"):
        sweep(text.replace("sigma: 1", "sigma: 2"))


@pytest.mark.parametrize(
    ("drawn", "count"),
    [
        ("{min: 0.001, max: 0.1, distribution: log_uniform_values}", 12),
        ("{min: 1, max: 3, distribution: q_uniform}", 3),
    ],
)
def test_a_bayesian_search_has_as_many_trials_as_asked_for_if_its_ranges_have_these_values(workdir, drawn, count):
    text = "parameters: {learning_rate: %s, batch_size: {value: 1}, epochs: {value: 1}}"
    folder = sweep(text % drawn, tuner="bayesian", max_trials=12, budget="1s")
    assert read_json(folder / "status.json")["total"] == count
    (tile,) = [tile for tile in build_sweep_page(open_run(folder)).tiles if tile.label == "trials"]
    assert tile.note == "0 failed, 0 pruned"


@pytest.mark.parametrize("is_on", [True, False])
def test_the_winner_of_a_sweep_of_data_aug_can_be_trained_again(workdir, is_on):
    values = str([is_on, not is_on]).lower()
    text = "parameters: {data_aug: {values: %s}, shift: {value: 0.1}, epochs: {value: 1}, batch_size: {value: 1}}"
    folder = sweep(text % values, max_trials=1, order="lexicographic")
    best = cli.parse(TrainConfig, ["--config", str(folder / "best.yaml")])
    check_augmentation_options(best)
    assert (best.training.data_aug, best.training.shift) == (is_on, 0.1 if is_on else 0.0)


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("grid", ["learning_rate: {values: [0.001, 0.002]}", "seed: {values: [3, 4, 5]}"]),
        ("random", ["learning_rate: {min: 0.001, max: 0.1}", "batch_size: {min: 1, max: 9}"]),
        ("random", ["seed: {values: [3, 4], probabilities: [0.5, 0.5]}", "learning_rate: {min: 0.001, max: 0.1}"]),
    ],
)
def test_a_sweep_is_continued_with_its_parameters_in_another_order(workdir, method, parameters):
    names = ("trial", "learning_rate", "seed", "batch_size")

    def search(parameters, max_trials):
        sweep(
            f"{{method: {method}, parameters: {{epochs: {{value: 1}}, {', '.join(parameters)}}}}}",
            max_trials=max_trials,
        )
        return [{name: row[name] for name in names if name in row} for row in rows()]

    whole = search(parameters, 5)
    shutil.rmtree("runs")
    search(parameters, 2)
    assert search(parameters[::-1], 5) == whole


def test_a_sweep_of_a_range_that_an_earlier_version_began_is_continued(workdir):
    text = "parameters: {learning_rate: {min: 0.001, max: 0.1}, batch_size: {value: 1}, epochs: {value: 1}}"
    sweep(text, max_trials=2)
    begun = read_json("runs/s/sweep.json")
    del begun["distributions"]
    write_json("runs/s/sweep.json", begun)
    sweep(text, max_trials=3)
    assert len(rows()) == 3


def test_a_sweep_that_was_killed_before_its_split_was_written_is_continued(workdir):
    write_space(seed=[0], batch_size=[10])
    config = build(NoopTuneConfig, space="space.yaml", name="s", max_trials=1, workers=0)
    tune(config)
    begun = read_json("runs/s/sweep.json")
    shutil.rmtree("runs/s")
    Path("runs/s").mkdir()
    write_json("runs/s/sweep.json", begun)
    tune(config)
    assert [row["status"] for row in rows()] == ["completed"]
    assert read_json("runs/s/sweep.json") == begun


def test_the_method_of_the_file_is_the_tuner(workdir):
    sweep("method: bayes\nparameters: {seed: {values: [0, 1, 2, 3]}, batch_size: {value: 1}}", max_trials=3)
    assert Path("runs/s/tuner/oracle.json").exists()
    assert "tuner: bayesian" in Path("runs/s/config.yaml").read_text()
    with pytest.raises(UserError, match="tuner was bayesian, is grid"):
        sweep("parameters: {seed: {values: [0, 1, 2, 3]}, batch_size: {value: 1}}", max_trials=3)


def test_a_damaged_sweep_is_refused_in_one_line_and_left_alone(workdir):
    write_space(seed=[0, 1, 2], batch_size=[10])
    config = build(NoopTuneConfig, space="space.yaml", name="s", max_trials=2, workers=0)
    folder = tune(config)
    trials, trial = (folder / "trials.csv").read_bytes(), folder / "tuner" / "trial_0"
    for path, says in (
        (folder / "sweep.json", r"sweep.json: damaged, .* restore the file, or choose another --name"),
        (trial / "trial.json", r"trial.json: damaged; restore it, or remove .*trial_0 so that the trial is run again"),
        (trial / "result.json", r"result.json: damaged; restore it"),
    ):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(UserError, match=says):
            tune(replace(config, max_trials=3))
        assert (folder / "trials.csv").read_bytes() == trials
        path.write_bytes(content)
    (folder / "sweep.json").rename("sweep.json")
    with pytest.raises(UserError, match=r"sweep.json: missing"):
        tune(replace(config, max_trials=3))
    Path("sweep.json").rename(folder / "sweep.json")
    shutil.rmtree(trial)
    tune(replace(config, max_trials=3))
    assert len(rows()) == 3


def test_overwrite_removes_a_sweep_only_once_the_data_have_been_read(workdir, monkeypatch):
    write_space(seed=[0, 1], batch_size=[1])
    config = build(NoopTuneConfig, space="space.yaml", name="s", max_trials="all", workers=0)
    folder = tune(config)
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (workdir / "one" / "class").mkdir(parents=True)
    with pytest.raises(UserError, match="one"):
        tune(replace(config, data="one", overwrite=True))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("workbench.sweep.command.load_dataset", interrupt)
        tune(replace(config, overwrite=True))
    assert {path: path.read_bytes() for path in files} == files
    (folder / "of_the_old_one").touch()
    tune(replace(config, space=str(folder / "space.yaml"), max_trials=1, seed=4, overwrite=True))
    assert not (folder / "of_the_old_one").exists()
    assert len(rows()) == 1


def test_a_sweep_in_the_folder_of_a_training_is_refused(workdir):
    write_space(seed=[0], batch_size=[10])
    folder = workdir / "runs" / "s"
    folder.mkdir(parents=True)
    (folder / "model.keras").write_text("of a training")
    with pytest.raises(UserError, match="runs/s holds a run that is not a sweep: choose another --name, or replace it"):
        tune(build(NoopTuneConfig, space="space.yaml", name="s", workers=0))
    assert [path.name for path in folder.iterdir()] == ["model.keras"]


def test_the_workers_of_a_complete_search_end_before_its_repeats_begin(workdir, monkeypatch):
    write_space(learning_rate=[0.001], batch_size=[1])
    config = build(NoopTuneConfig, space="space.yaml", name="s", max_trials="all", workers=0)
    tune(config)
    started = []

    def start(log, environment):
        assert all(process.poll() is not None for process in started)
        started.append(start_worker(log, environment))
        return started[-1]

    monkeypatch.setattr("workbench.sweep.workers.start_worker_process", start)
    tune(replace(config, workers=1, repeat=1))
    assert len(started) == 2
