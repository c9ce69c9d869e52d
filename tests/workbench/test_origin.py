"""A run or a file that was given to another command than its own: the error names the right command."""

import shutil
from pathlib import Path

import pytest

from cnn_scratch.train import main as train_main
from cnn_scratch.tune import main as tune_main
from transfer.run import main as run_main

OLD_RUNS = Path(__file__).parents[1] / "compatibility" / "old_runs"
SWEEP = "is a sweep of cnn_scratch.tune; continue it with python -m cnn_scratch.tune --config runs/sweep/config.yaml"


def test_a_misspelled_key_is_not_another_commands(tmp_path, capsys):
    (tmp_path / "x.yaml").write_text("num_filters: 3\nmax_trails: 4\n")
    assert tune_main(["--config", str(tmp_path / "x.yaml")]) == 2
    assert "unknown key 'max_trails': did you mean 'max_trials'?" in capsys.readouterr().err


@pytest.fixture
def old_runs(workdir):
    return shutil.copytree(OLD_RUNS, workdir / "runs")


@pytest.mark.parametrize(
    ("main", "words", "says"),
    [
        (
            train_main,
            ["--resume", "runs/finetuned"],
            "--resume runs/finetuned: is a run of transfer.run; continue it with python -m transfer.run --resume runs/",
        ),
        (
            run_main,
            ["--resume", "runs/cnn"],
            "is a run of cnn_scratch.train; continue it with python -m cnn_scratch.train --resume runs/cnn",
        ),
        (train_main, ["--resume", "runs/sweep"], SWEEP),
        (run_main, ["--resume", "runs/sweep"], SWEEP),
        (
            train_main,
            ["--config", "runs/finetuned/config.yaml"],
            "has options of transfer.run; call python -m transfer",
        ),
        (
            run_main,
            ["--config", "runs/cnn/config.yaml"],
            "has options of cnn_scratch.train; call python -m cnn_scratch",
        ),
        (train_main, ["--config", "runs/sweep/config.yaml"], "has options of a sweep; give it to cnn_scratch.tune"),
        (train_main, ["--config", "runs/sweep/space.yaml"], "describes the space of a sweep; give it to cnn_scratch"),
        (tune_main, ["--config", "runs/sweep/space.yaml"], "describes the space of a sweep; give it as --space runs/s"),
        (
            tune_main,
            ["--config", "runs/cnn/config.yaml"],
            "has options of cnn_scratch.train; call python -m cnn_scratch",
        ),
    ],
)
def test_the_right_command_is_named(old_runs, main, words, says, capsys):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
