"""The list of left-out images, and that every command leaves these images out."""

import shutil

import pytest

from workbench.config import DataConfig
from workbench.data.corrections import Correction, write_corrections
from workbench.data.dataset import load_dataset
from workbench.data.description import describe
from workbench.data.exclusions import EXCLUSIONS_FILE, read_exclusions, write_exclusions
from workbench.data.sources import open_source
from workbench.errors import UserError


def load(root, **options):
    return load_dataset(DataConfig(data=str(root), image_size=16, **options), seed=0)


def used(dataset):
    return {dataset.names[row] for part in (dataset.train, dataset.validation, dataset.test) for row in part}


def test_written_and_read(tmp_path):
    reasons = {"test/a/1.jpg": "also train/a/2.jpg", 'test/b/od"d, \n name.jpg': "", "test/ü/[x].jpg": "mine"}
    write_exclusions(tmp_path / "list.csv", reasons)
    assert read_exclusions(tmp_path / "list.csv") == reasons
    assert read_exclusions(tmp_path / "none.csv") == {}


def test_lines_that_a_user_adds_count(tmp_path):
    (tmp_path / "list.csv").write_text("\ufeffimage,reason\n\ntest/a/1.jpg\ntest/a/2.jpg,blurred, and dark\n")
    assert read_exclusions(tmp_path / "list.csv") == {"test/a/1.jpg": "", "test/a/2.jpg": "blurred, and dark"}


@pytest.mark.parametrize("content", [b"", b"test/a/1.jpg\n", b"image,reason\n\xff\xfe\n"])
def test_a_file_that_is_not_such_a_list(tmp_path, photo_folder, content):
    root = photo_folder()
    (root / EXCLUSIONS_FILE).write_bytes(content)
    with pytest.raises(UserError, match=r"left_out\.csv: .*correct or remove"):
        load(root)


def test_listed_images_are_in_no_part_and_the_others_are_as_before(photo_folder):
    root = photo_folder(train=10, test=4)
    before = load(root)
    listed = ["test/iris/iris-00.jpg", "train/rose/rose-03.jpg"]
    write_exclusions(root / EXCLUSIONS_FILE, dict.fromkeys(listed, "blurred"))
    dataset = load(root)
    assert used(dataset) == used(before) - set(listed)
    assert sorted(dataset.left_out) == sorted(listed)
    assert "; 2 left out (left_out.csv)" in describe(dataset)[0]
    assert "left out" not in describe(before)[0]
    assert dataset.decode_seconds == 0, "nothing is decoded again"
    assert dataset.key != before.key
    (root / EXCLUSIONS_FILE).unlink()
    assert used(load(root)) == used(before)
    assert load(root).key == before.key


def test_lines_that_name_no_image_are_counted(photo_folder):
    root = photo_folder(train=4, test=2)
    (root / "train" / "iris" / "iris-00.jpg").write_bytes(b"\xff\xd8\xff torn")
    listed = ["train/iris/iris-00.jpg", "train/rose/rose-03.jpg"]
    write_exclusions(root / EXCLUSIONS_FILE, dict.fromkeys(listed, ""))
    assert not any("no image" in line for line in describe(load(root)))
    write_exclusions(root / EXCLUSIONS_FILE, dict.fromkeys([*listed, "iris-01.jpg", "rose/x.jpg"], ""))
    assert "warning: 2 lines of left_out.csv name no image, such as 'iris-01.jpg'" in describe(load(root))


def test_paths_of_windows(photo_folder):
    """Where no file is called so: elsewhere, a backslash is a character of a name."""
    root = photo_folder(train=4, test=2)
    (root / "test" / "iris" / "iris-00.jpg").rename(root / "test" / "iris" / "a\\b.jpg")
    listed = ["train\\rose\\rose-03.jpg", "test/iris/a\\b.jpg"]
    write_exclusions(root / EXCLUSIONS_FILE, dict.fromkeys(listed, ""))
    assert sorted(load(root).left_out) == ["test/iris/a\\b.jpg", "train/rose/rose-03.jpg"]


def test_a_data_set_without_a_split(photo_folder):
    root = photo_folder(train=10, test=None)
    write_exclusions(root / EXCLUSIONS_FILE, {"iris/iris-00.jpg": ""})
    assert len(used(load(root))) == 29
    assert "iris/iris-00.jpg" not in used(load(root))


@pytest.mark.parametrize(("is_listed", "files"), [(False, "labels.csv"), (True, "left_out.csv and labels.csv")])
def test_the_files_are_named_that_leave_images_out(photo_folder, tmp_path, is_listed, files):
    root, table = photo_folder(train=10, test=4), tmp_path / "labels.csv"
    write_corrections(table, [Correction("train/rose/rose-03.jpg", "rose", "iris", action="exclude")])
    if is_listed:
        write_exclusions(root / EXCLUSIONS_FILE, {"test/iris/iris-00.jpg": ""})
    dataset = load(root, labels=str(table))
    assert f"; {1 + is_listed} left out ({files})" in describe(dataset)[0]


def test_an_unreadable_image_that_is_left_out_does_not_count(photo_folder):
    root = photo_folder(train=4, test=2)
    (root / "train" / "iris" / "iris-00.jpg").write_bytes(b"\xff\xd8\xff torn")
    with pytest.raises(UserError, match="unreadable"):
        load(root)
    write_exclusions(root / EXCLUSIONS_FILE, {"train/iris/iris-00.jpg": "torn"})
    assert load(root).unreadable == []


def test_the_list_moves_with_the_folder(photo_folder, tmp_path):
    root = photo_folder()
    write_exclusions(root / EXCLUSIONS_FILE, {"test/iris/iris-00.jpg": ""})
    shutil.move(root, tmp_path / "elsewhere")
    assert open_source(str(tmp_path / "elsewhere")).left_out == {"test/iris/iris-00.jpg": ""}
