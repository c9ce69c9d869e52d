"""A damaged run is not resumed: one line says what is damaged and what to do, and nothing is changed."""

import shutil

import pytest

from cnn_scratch.train import main
from workbench.files import read_csv, read_json, write_csv, write_json


def tear(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def drop_rows(path, count):
    write_csv(path, read_csv(path)[:-count])


def skip_an_epoch(path):
    rows = read_csv(path)
    write_csv(path, [*rows[:1], *rows[2:]])


DAMAGES = {
    "no state": ("last.keras", lambda path: path.unlink(), "last.keras: missing"),
    "torn state": ("last.keras", tear, "last.keras: damaged (not a whole file)"),
    "empty state": ("last.keras", lambda path: path.write_bytes(b""), "last.keras: damaged (not a whole file)"),
    "flipped state": ("last.keras", flip, "last.keras: damaged ("),
    "a state without its optimizer": (
        "last.keras",
        lambda path: shutil.copy(path.with_name("model.keras"), path),
        "last.keras: damaged, or of another network (",
    ),
    "no model": ("model.keras", lambda path: path.unlink(), "model.keras: missing"),
    "torn model": ("model.keras", tear, "model.keras: damaged (not a whole file)"),
    "no history": ("history.csv", lambda path: path.unlink(), "history.csv: missing or empty"),
    "empty history": ("history.csv", lambda path: path.write_text(""), "history.csv: missing or empty"),
    "words": ("history.csv", lambda path: path.write_text("what\nis,this\n"), "history.csv: damaged (line 2 is not"),
    "bytes": ("history.csv", lambda path: path.write_bytes(b"\xff\xfe\0"), "history.csv: damaged (not a text file)"),
    "another table": ("history.csv", lambda path: path.write_text("epoch\n1\n"), "the column loss is missing"),
    "a gap": ("history.csv", skip_an_epoch, "history.csv: damaged (line 3 is not epoch 2)"),
    "short history": ("history.csv", lambda path: drop_rows(path, 2), "has 2 epochs, but last.keras was saved after 4"),
    "no options": ("config.yaml", lambda path: path.write_text(""), "config.yaml: empty"),
    "foreign options": ("config.yaml", lambda path: path.write_bytes(b"\xff\xfe"), "config.yaml: not text in UTF-8"),
}


def read_files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_is_refused_in_one_line_and_left_alone(tiny_run, damage, capsys):
    name, spoil, says = DAMAGES[damage]
    spoil(tiny_run / name)
    before = read_files(tiny_run)
    assert main(["--resume", str(tiny_run), "--epochs", "5"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert says in error
    if name != "config.yaml":
        again = f"python -m cnn_scratch.train --config {tiny_run}/config.yaml --name tiny-again"
        assert f"nothing was changed: restore the file, or train again with {again}\n" in error
    assert read_files(tiny_run) == before


def test_a_run_is_trained_again_with_the_command_of_the_error(tiny_run):
    assert main(["--config", str(tiny_run / "config.yaml"), "--name", "tiny-again", "--epochs", "1"]) == 0
    assert (tiny_run.with_name("tiny-again") / "model.keras").exists()


def test_a_run_that_was_killed_in_its_first_epoch_starts_again_after_a_test(tiny_run):
    (tiny_run / "last.keras").unlink()
    drop_rows(tiny_run / "history.csv", 3)
    write_json(tiny_run / "metrics.json", {"test": None})
    assert main(["--resume", str(tiny_run)]) == 0
    assert read_json(tiny_run / "metrics.json")["epochs"] == 4


def test_a_run_that_was_killed_after_its_last_epoch_gets_its_results(tiny_run, capsys):
    whole, weights = read_json(tiny_run / "metrics.json"), (tiny_run / "model.keras").read_bytes()
    for name in ("metrics.json", "report.html"):
        (tiny_run / name).unlink()
    assert main(["--resume", str(tiny_run)]) == 0
    metrics = read_json(tiny_run / "metrics.json")
    assert metrics.keys() == whole.keys()
    times = ("peak_memory_bytes", "last_call_seconds")
    assert [metrics[name] for name in metrics if name not in times] == [whole[n] for n in whole if n not in times]
    assert (tiny_run / "model.keras").read_bytes() == weights

    (tiny_run / "report.html").unlink()
    assert main(["--resume", str(tiny_run)]) == 0
    assert (tiny_run / "report.html").exists()
    assert read_json(tiny_run / "metrics.json") == metrics
    assert main(["--resume", str(tiny_run)]) == 2
    assert "all 4 epochs are done; ask for more" in capsys.readouterr().err

    report = tiny_run / "report.html"
    report.write_text('<main data-epochs="3">')  # before the run was continued
    assert main(["--resume", str(tiny_run)]) == 0
    assert '<main data-epochs="3">' not in report.read_text()
