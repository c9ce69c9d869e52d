import errno
import os
import subprocess
import sys

import pytest

from workbench.errors import UserError
from workbench.files import read_csv, read_json, read_yaml, replace_file, write_json


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, [1])
    with pytest.raises(RuntimeError), replace_file(path) as temporary:
        temporary.write_text("[2")
        raise RuntimeError
    assert read_json(path) == [1]
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_what_a_killed_process_was_writing_is_removed_by_the_next(tmp_path):
    with replace_file(tmp_path / "a.json") as own:
        pass
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    for pid in (ended.pid, os.getppid()):  # the second one lives, and may be writing
        own.with_name(own.name.replace(f"-{os.getpid()}-", f"-{pid}-")).write_text("[1")
    write_json(tmp_path / "b.json", [1])
    left = [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".writing-")]
    assert [f"-{os.getppid()}-" in name for name in left] == [True]


@pytest.mark.parametrize("content", [None, b"", b'{"a": ', b"\xff\xfe"])
def test_a_missing_or_torn_json_file_is_none(tmp_path, content):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    assert read_json(path) is None


def parse(tmp_path, text):
    (tmp_path / "a.yaml").write_text(text)
    return read_yaml(tmp_path / "a.yaml")


def test_anchors_and_merge_keys_are_resolved(tmp_path):
    text = """
base: &base {values: [1, 2], note: a}
parameters:
  deep: {own: &derived {<<: *base, note: b}}
same: *base
other: {<<: *derived, note: c}
several: {<<: [*base, {extra: 1}], values: [3]}
"""
    content = parse(tmp_path, text)
    assert content["same"] == {"values": [1, 2], "note": "a"}
    assert content["parameters"]["deep"]["own"] == {"values": [1, 2], "note": "b"}
    assert content["other"] == {"values": [1, 2], "note": "c"}
    assert content["several"] == {"values": [3], "note": "a", "extra": 1}
    assert parse(tmp_path, "") is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: 2\na: 3\n", "a.yaml: line 3: 'a' is given twice, first in line 1"),
        ("x:\n  a: 1\n  'a': 2\n", "a.yaml: line 3: 'a' is given twice, first in line 2"),
        ("- {a: 1, a: 1}", "a.yaml: line 1: 'a' is given twice, first in line 1"),
        ("a: &a {<<: {b: 1}, b: 2, b: 3}", "'b' is given twice"),
        ("a: &a\n  b: *a\n", "line 1: an anchor contains itself"),
        ("a: [1", "a.yaml: line 1: "),
        ("a: !!python/object:os.system {}", "line 1: "),
        ("date: 2024-13-45", "not a text file in YAML"),
        ("a: " + "[" * 5000, "not a text file in YAML"),
    ],
)
def test_a_yaml_file_that_cannot_be_meant_is_refused_in_one_line(tmp_path, text, says):
    with pytest.raises(UserError) as error:
        parse(tmp_path, text)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_yaml_file_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(UserError, match=r"a\.yaml: not text in UTF-8 \(invalid start byte, byte 3\); save it as UTF-8"):
        read_yaml(tmp_path / "a.yaml")


def test_an_error_in_writing_names_the_file_that_the_user_knows(tmp_path, monkeypatch):
    def refuse(prefix, suffix, dir):
        raise PermissionError(errno.EACCES, "Permission denied", str(dir / f"{prefix}x{suffix}"))

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(PermissionError) as error:
        write_json(tmp_path / "a.json", [1])
    assert error.value.filename == str(tmp_path / "a.json")


@pytest.mark.parametrize(
    "raised",
    [OSError(errno.ENOSPC, "No space left on device"), OSError("Can't write data (errno = 28, error message = 'No')")],
)
def test_a_full_disk_says_how_much_is_needed(tmp_path, raised):
    with pytest.raises(OSError, match="needed") as error, replace_file(tmp_path / "a.bin", 12_345_678):
        raise raised
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(tmp_path / "a.bin"))
    assert error.value.strerror == "No space left on device (12.3 MB needed)"
    assert not list(tmp_path.iterdir())


def test_an_error_about_another_file_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="other"), replace_file(tmp_path / "a.bin"):
        (tmp_path / "other").read_bytes()


def test_a_file_that_is_not_a_table_is_one_line(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"a\.csv: damaged, not a text file in CSV"):
        read_csv(tmp_path / "a.csv")
