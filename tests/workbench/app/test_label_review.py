import json
import shlex
import shutil

import pytest

from cnn_scratch.config import TrainConfig
from tests.workbench.app.conftest import add_label_search
from tests.workbench.synthetic import write_run, write_sweep
from workbench import cli
from workbench.app.catalogue import Catalogue
from workbench.app.label_review import choose, describe_review, find_table, list_commands, list_reviews
from workbench.config import build, flatten, replace
from workbench.data.corrections import read_corrections
from workbench.errors import UserError
from workbench.training.augmentation_options import check_augmentation_options
from workbench.training.run_folder import dump_config


@pytest.fixture
def run(tmp_path):
    """The entry of a run with two classes, and the table of its label search."""
    folder = write_run(tmp_path, ("daisy", "iris"))
    table = add_label_search(folder)
    return Catalogue(folder.parent).find("cnn"), table


def test_only_decisions_that_fit_the_run_are_written(run):
    entry, table = run
    first, second, _ = [row.image for row in read_corrections(table)]
    choose(entry, first, "relabel", "iris")
    choose(entry, second, "exclude", "")
    before = table.read_text()
    for image, action, class_name in (
        ("train/daisy/other.png", "keep", ""),
        ("../../config.yaml", "keep", ""),
        (first, "delete", ""),
        (first, "relabel", "rose"),
        (first, "relabel", "daisy"),
        (first, "relabel", ""),
    ):
        with pytest.raises(UserError):
            choose(entry, image, action, class_name)
    assert table.read_text() == before
    assert describe_review(read_corrections(table)) == "3 of 3 images reviewed: 1 relabelled, 1 kept, 1 left out."
    table.write_text("image,label\n")
    ((name, problem),) = list_reviews([entry])
    assert name == "cnn"
    assert "the column 'suggested' is missing" in problem


def test_a_table_outside_the_run_is_neither_shown_nor_written(run, tmp_path):
    entry, table = run
    outside = shutil.move(table.parent, tmp_path / "outside")
    before = (outside / table.name).read_text()
    table.parent.symlink_to(outside)
    assert find_table(entry) is None
    with pytest.raises(UserError, match="no table"):
        choose(entry, read_corrections(outside / table.name)[0].image, "keep", "")
    assert (outside / table.name).read_text() == before


def test_the_commands_train_a_run_and_a_sweep_again(run, tmp_path):
    entry, table = run
    config = entry.path / "config.yaml"
    (_, line), *others = list_commands(entry, table)
    where = f"--labels {table} --runs-dir {entry.path.parent} --name cnn-corrected"
    assert (line, others) == (f"python -m cnn_scratch.train --config {config} {where}", [])
    sweep = write_sweep(tmp_path, 3)
    (sweep / "best.yaml").write_text("{}")
    (sweep / "metrics.json").write_text(json.dumps({"train_module": "cnn_scratch.train"}))
    (sweep / "config.yaml").write_text("max_trials: 3\nkeep: 1\ndata: photos\n")
    found = Catalogue(sweep.parent).find(sweep.name)
    lines = [line for _, line in list_commands(found, table)]
    assert [line.split()[2] for line in lines] == ["cnn_scratch.train", "cnn_scratch.tune"]
    assert len({line.partition(" --name ")[2] for line in lines}) == 2


def test_the_commands_train_folds_again_with_the_settings_that_these_were_resolved_to(run):
    entry, table = run
    asked = build(TrainConfig, data="photos", recipe="planned", rand_augment=9.0, folds=5, logs_dir="/logs")
    resolved = replace(asked, folds=0, fold="1/5", logs_dir="/logs/cnn", optimizer="muon", epochs=43, data_aug=True)
    (entry.path / "config.yaml").write_text(dump_config(asked))
    (entry.path / "fold-1").mkdir()
    (entry.path / "fold-1" / "config.yaml").write_text(dump_config(resolved))
    commands = list_commands(Catalogue(entry.path.parent).find("cnn"), table)
    folders = {"labels": str(table), "runs_dir": str(entry.path.parent), "logs_dir": "/logs", "fold": None}
    for (_, line), folds, name in zip(commands, (0, 5), ("cnn-corrected", "cnn-corrected-folds"), strict=True):
        words = shlex.split(line)
        assert words[:3] == ["python", "-m", "cnn_scratch.train"]
        config = cli.parse(TrainConfig, words[3:])
        check_augmentation_options(config)
        assert flatten(config) == flatten(replace(resolved, folds=folds, name=name, **folders))
