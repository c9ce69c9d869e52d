import pytest

from vision.files import read_json, replacing, replacing_folder, write_json


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, [1])
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("[2")
        raise RuntimeError
    assert read_json(path) == [1]
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a"
    with replacing_folder(path) as temporary:
        (temporary / "one").write_text("1")
    with pytest.raises(RuntimeError), replacing_folder(path) as temporary:
        (temporary / "two").write_text("2")
        raise RuntimeError
    assert [entry.name for entry in path.iterdir()] == ["one"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("content", [None, b"", b'{"a": ', b"\xff\xfe"])
def test_a_missing_or_torn_json_file_is_none(tmp_path, content):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    assert read_json(path) is None
