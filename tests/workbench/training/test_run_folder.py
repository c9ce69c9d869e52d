import dataclasses
import os
import subprocess
import sys

import pytest

from workbench.config import RunConfig, TrainingRunConfig
from workbench.errors import UserError
from workbench.files import append_csv, read_csv, write_csv
from workbench.training.run_folder import RunFolder, choose_run_folder, claim_name, dump_config, read_config


def test_claimed_names_are_numbered(workdir):
    assert [claim_name("a", "runs") for _ in range(3)] == ["a", "a-2", "a-3"]


def test_a_folder_whose_run_was_killed_before_its_options_were_written_is_free(workdir):
    folder = workdir / "runs" / "a"
    folder.mkdir(parents=True)
    run = TrainingRunConfig(name="a")
    for name in ("split.csv", "classes.json", ".writing-host-1-x.yaml"):
        (folder / name).touch()
        assert choose_run_folder(run, "b").path == RunFolder(run).path
    (folder / "notes.txt").touch()
    with pytest.raises(UserError, match="runs/a exists: resume it with --resume"):
        choose_run_folder(run, "b")
    assert choose_run_folder(dataclasses.replace(run, overwrite=True), "b").path == RunFolder(run).path


def test_a_held_folder_is_refused_with_the_holder(workdir):
    config = RunConfig(name="a")
    code = (
        "import sys; from workbench.training.run_folder import RunFolder; from workbench.config import RunConfig\n"
        "with RunFolder(RunConfig(name='a')).lock(): print('held', flush=True); sys.stdin.read()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match=f"in use by process {holder.pid} since"), RunFolder(config).lock():
            pass
        holder.kill()
        holder.wait()
        with RunFolder(config).lock():  # the lock of a killed process is free
            assert (workdir / "runs" / "a").is_dir()


def test_a_folder_that_cannot_be_made_is_one_line(workdir):
    (workdir / "runs").write_text("a file")
    with pytest.raises(UserError, match="--runs-dir"), RunFolder(RunConfig(name="a")).lock():
        pass


@pytest.mark.parametrize("name", ["../a", "a/b", ".hidden", ""])
def test_names_stay_inside_the_folder(name):
    with pytest.raises(UserError, match="--name"):
        RunFolder(RunConfig(name=name))


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_default_name_has_a_dash_for_each_sign_that_names_cannot_have(workdir, overwrite):
    run = TrainingRunConfig(overwrite=overwrite)
    assert choose_run_folder(run, "cnn-my photos & Tiere_ä-32px").path.name == "cnn-my-photos-Tiere_ä-32px"


def test_config_round_trip(workdir):
    config = RunConfig(name="a", wandb=True)
    folder = RunFolder(config)
    with folder.lock():
        folder.write_config(config)
    assert read_config("runs/a", RunConfig) == config
    assert "overwrite" not in dump_config(dataclasses.replace(config, overwrite=True))


def test_reading_what_is_no_run(workdir):
    with pytest.raises(UserError, match="not a run folder"):
        read_config("nowhere", RunConfig)
    (workdir / "config.yaml").write_text("colour: red\n")
    with pytest.raises(UserError, match=r"config.yaml: unknown key 'colour'"):
        read_config(".", RunConfig)
    (workdir / "config.yaml").write_text("name: a\nname: b\n")
    with pytest.raises(UserError, match=r"config.yaml: line 2: 'name' is given twice"):
        read_config(".", RunConfig)


def test_csv_rows(tmp_path):
    path = tmp_path / "rows.csv"
    append_csv(path, {"a": 1, "b": "x, y"})
    append_csv(path, {"a": 2, "b": ""})
    assert read_csv(path) == [{"a": "1", "b": "x, y"}, {"a": "2", "b": ""}]
    write_csv(path, [])
    assert read_csv(path) == []
