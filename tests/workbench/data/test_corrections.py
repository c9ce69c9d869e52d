"""A person decides on the images of a table one by one, in several windows, while the table may be searched again."""

import concurrent.futures

import pytest

from workbench.data import corrections
from workbench.data.corrections import Correction, choose_action, lock_corrections, read_corrections, write_corrections
from workbench.errors import UserError


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "labels.csv"
    write_corrections(path, [Correction(f"{n}.jpg", "daisy", "rose", seen="rose") for n in range(12)])
    return path


def test_choices_of_several_windows_are_all_kept(table):
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda n: choose_action(table, f"{n}.jpg", ("keep", "exclude")[n % 2]), range(12)))
    assert [row.action for row in read_corrections(table)] == ["keep", "exclude"] * 6


def test_a_choice_can_be_changed_and_taken_back(table):
    choose_action(table, "3.jpg", "relabel", "iris")
    assert read_corrections(table)[3] == Correction("3.jpg", "daisy", "iris", seen="rose", action="relabel")
    choose_action(table, "3.jpg", "")
    assert read_corrections(table)[3] == Correction("3.jpg", "daisy", "rose", seen="rose")


def test_a_table_of_a_spreadsheet_keeps_its_other_columns(tmp_path):
    path = tmp_path / "labels.csv"
    text = "\ufeffNote;Image;label;suggested;action\nask Ann, later;a.jpg;x;y;\n;b.jpg;x;y\n"
    path.write_text(text, encoding="utf-8")
    choose_action(path, "b.jpg", "relabel", "z")
    assert path.read_text(encoding="utf-8") == text.replace("b.jpg;x;y", "b.jpg;x;z;relabel")
    path.write_text(text[1:], encoding="utf-16")
    choose_action(path, "a.jpg", "keep")
    assert path.read_text(encoding="utf-8") == text.replace("y;\n", "y;keep\n")


def test_a_choice_that_cannot_be_written_is_refused(table, monkeypatch):
    for image, action, class_name in (("x.jpg", "keep", ""), ("1.jpg", "drop", ""), ("1.jpg", "relabel", "daisy")):
        with pytest.raises(UserError):
            choose_action(table, image, action, class_name)
    monkeypatch.setattr(corrections, "_PATIENCE", 0.05)
    with lock_corrections(table), pytest.raises(UserError, match="is being written"):
        choose_action(table, "1.jpg", "keep")
    table.unlink()
    with pytest.raises(UserError, match="No such file"):
        choose_action(table, "1.jpg", "keep")
