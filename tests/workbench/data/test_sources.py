"""Where images come from: folder layouts, which files are ignored, and which folders are refused in one line."""

import collections
import os
import shutil

import numpy as np
import pytest

from workbench.data.decoding import UnreadableImage
from workbench.data.source import TEST, TRAIN, UNSPLIT, VALIDATION
from workbench.data.sources import open_source
from workbench.errors import UserError


def counts(source):
    """(part, class name) -> number of items."""
    return collections.Counter((item.part, source.class_names[item.label]) for item in source.load_items())


def test_digits_are_embedded():
    source = open_source("digits")
    items = source.load_items()
    assert source.class_names == [str(digit) for digit in range(10)]
    assert len(items) == 1797
    assert {item.part for item in items} == {UNSPLIT}
    assert len({item.name for item in items}) == 1797
    image = items[0].read()
    assert image.dtype == np.uint8
    assert image.shape == (8, 8)
    assert image.max() > 200


def test_train_and_test_folders(photo_folder):
    root = photo_folder(classes=("b", "a"), train=5, test=2)
    source = open_source(str(root))
    assert source.name == "photos"
    assert source.class_names == ["a", "b"]
    assert counts(source) == {(TRAIN, "a"): 5, (TRAIN, "b"): 5, (TEST, "a"): 2, (TEST, "b"): 2}
    item = source.load_items()[0]
    assert item.name == os.path.join("train", "a", "a-00.jpg")
    assert item.read() == (root / item.name).read_bytes()


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_a_single_held_out_folder_is_the_test_set(photo_folder, name):
    root = photo_folder(classes=("a", "b"), train=5, test=2)
    (root / "test").rename(root / name)
    assert counts(open_source(str(root)))[TEST, "a"] == 2


@pytest.mark.parametrize("name", ["test", "val"])
def test_a_folder_without_class_folders_is_no_part(photo_folder, name):
    root = photo_folder(classes=("a", "b"), train=5, test=2)
    shutil.move(root / "test" / "a" / "a-00.jpg", root / "unlabelled.jpg")
    shutil.rmtree(root / "test")
    (root / name).mkdir()
    shutil.move(root / "unlabelled.jpg", root / name)
    source = open_source(str(root))
    assert counts(source) == {(UNSPLIT, "a"): 5, (UNSPLIT, "b"): 5}
    assert any(f"{name} holds no class folders and is not used" in line for line in source.warnings)


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_val_beside_test_is_the_validation_set(photo_folder, name):
    root = photo_folder(classes=("a", "b"), train=5, test=2)
    shutil.copytree(root / "test", root / name)
    (root / name / "a" / "a-00.jpg").unlink()
    found = counts(open_source(str(root)))
    assert (found[VALIDATION, "a"], found[VALIDATION, "b"], found[TEST, "a"]) == (1, 2, 2)


@pytest.mark.parametrize(
    ("train", "test"), [("Train", "Test"), ("TRAIN", "val"), ("train", "Test"), ("train", "Valid")]
)
def test_the_case_of_a_part_does_not_matter(photo_folder, train, test):
    root = photo_folder(classes=("a", "b"), train=5, test=2)
    (root / "train").rename(root / train)
    (root / "test").rename(root / test)
    source = open_source(str(root))
    assert counts(source) == {(TRAIN, "a"): 5, (TRAIN, "b"): 5, (TEST, "a"): 2, (TEST, "b"): 2}
    assert source.warnings == []


def test_of_two_folders_of_one_part_the_usual_name_is_used(photo_folder):
    root = photo_folder(classes=("a", "b"), train=5, test=2)
    for name in ("Test", "val", "valid"):
        shutil.copytree(root / "test", root / name)
    source = open_source(str(root))
    assert source.folders == {TRAIN: "train", TEST: "test", VALIDATION: "val"}
    assert source.warnings == [
        f"warning: {name} is not used, because there is another such folder; move its images there, or remove it"
        for name in ("Test", "valid")
    ]


def test_two_spellings_of_a_part_are_not_used(photo_folder):
    root = photo_folder(classes=("a", "b"), train=5, test=2)
    shutil.copytree(root / "test", root / "TEST")
    (root / "test").rename(root / "Test")
    source = open_source(str(root))
    assert source.folders == {UNSPLIT: "train"}
    assert [line.split(",")[0] for line in source.warnings] == [
        "warning: TEST is not used",
        "warning: Test is not used",
    ]


def test_a_class_that_is_called_train_in_another_case(photo_folder):
    root = photo_folder(classes=("Bus", "Train"), train=5, test=None)
    assert counts(open_source(str(root))) == {(UNSPLIT, "Bus"): 5, (UNSPLIT, "Train"): 5}


@pytest.mark.parametrize("name", ["train", "Train"])
def test_a_class_may_be_called_train(photo_folder, name):
    root = photo_folder(classes=("bus", "car", name), train=5, test=None)
    source = open_source(str(root))
    assert counts(source) == {(UNSPLIT, "bus"): 5, (UNSPLIT, "car"): 5, (UNSPLIT, name): 5}
    assert source.warnings == []


@pytest.mark.parametrize("other", ["test", "Test", "val", "test_images", "notes"])
def test_images_for_training_without_class_folders_are_no_class(photo_folder, other):
    root = photo_folder(classes=("train", other), train=2, test=None)
    if other == "notes":
        for image in (root / "notes").iterdir():
            image.rename(image.with_suffix(".txt"))
    assert refused(root) == (
        f"{root}: holds 2 images and no class folders; put the images of each class in a folder of their own, such as "
        f"{root / 'train' / 'cat'}; or rename {root / 'train'} if it is itself a class"
    )


def test_class_folders_without_a_split(photo_folder):
    root = photo_folder(classes=("a", "b"), train=5, test=None)
    assert counts(open_source(str(root))) == {(UNSPLIT, "a"): 5, (UNSPLIT, "b"): 5}


def test_train_alone_is_not_split_yet(photo_folder):
    root = photo_folder(classes=("a", "b"), train=5, test=2)
    shutil.rmtree(root / "test")
    assert counts(open_source(str(root))) == {(UNSPLIT, "a"): 5, (UNSPLIT, "b"): 5}


def test_images_in_deeper_folders_belong_to_the_class(photo_folder):
    root = photo_folder(classes=("a", "b"), train=2, test=None)
    (root / "a" / "2024" / "may").mkdir(parents=True)
    shutil.copy(root / "a" / "a-00.jpg", root / "a" / "2024" / "may" / "x.jpg")
    assert counts(open_source(str(root)))[UNSPLIT, "a"] == 3


def test_files_that_are_not_images_are_ignored(photo_folder):
    root = photo_folder(classes=("a", "b"), train=2, test=None)
    (root / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (root / "a" / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (root / "a" / "._a-00.jpg").write_bytes(b"\0\5\x16\7")
    (root / "a" / "notes.txt").write_text("picked in May")
    (root / ".git").mkdir()
    (root / "__MACOSX").mkdir()
    (root / "a" / "__MACOSX").mkdir()
    (root / "a" / "__MACOSX" / "x.jpg").write_bytes(b"?")
    (root / "README.md").write_text("flowers")
    (root / "runs" / "r").mkdir(parents=True)
    (root / "runs" / "r" / "config.yaml").write_text("epochs: 1")
    (root / "logs" / "r").mkdir(parents=True)
    (root / "logs" / "r" / "events.out.tfevents.1").write_bytes(b"")
    source = open_source(str(root))
    assert source.class_names == ["a", "b"]
    read = {item.name: item.read() for item in source.load_items()}
    assert read.pop(os.path.join("a", "notes.txt")) is None
    assert len(read) == 4
    assert all(read.values())


def test_type_is_found_from_the_bytes_not_the_name(photo_folder):
    root = photo_folder(classes=("a", "b"), train=2, test=None)
    (root / "a" / "a-00.jpg").rename(root / "a" / "picture")
    (root / "a" / "a-01.jpg").write_text("not a JPEG, though it says so")
    read = {item.name: item.read() for item in open_source(str(root)).load_items()}
    assert read[os.path.join("a", "picture")].startswith(b"\xff\xd8")
    assert read[os.path.join("a", "a-01.jpg")].startswith(b"not a JPEG")


def test_links_to_folders_inside_a_class_are_not_followed(photo_folder):
    root = photo_folder(classes=("a", "b"), train=2, test=1)
    (root / "train" / "a" / "round").symlink_to(root / "train" / "a")
    (root / "train" / "a" / "up").symlink_to(root)
    (root / "test" / "b" / "below").mkdir()
    (root / "test" / "b" / "below" / "more").symlink_to(root / "train" / "b")
    source = open_source(str(root))
    assert counts(source) == {(TRAIN, "a"): 2, (TRAIN, "b"): 2, (TEST, "a"): 1, (TEST, "b"): 1}
    (line,) = source.warnings
    assert "\n" not in line
    assert "not followed" in line
    assert "3 links" in line
    assert os.path.join("train", "a", "round") in line


def test_one_linked_folder_is_named(photo_folder):
    root = photo_folder(classes=("a", "b"), train=2, test=None)
    assert open_source(str(root)).warnings == []
    (root / "a" / "up").symlink_to(root)
    assert open_source(str(root)).warnings == [
        "a/up is a link to a folder and is not followed; copy its images here, or link to each of them"
    ]


def test_links_to_image_files_are_read(photo_folder, tmp_path):
    root = photo_folder(classes=("a", "b"), train=2, test=None)
    image = shutil.copy(root / "a" / "a-00.jpg", tmp_path / "elsewhere.jpg")
    (root / "a" / "link.jpg").symlink_to(image)
    source = open_source(str(root))
    assert counts(source)[UNSPLIT, "a"] == 3
    assert source.warnings == []
    (item,) = [item for item in source.load_items() if "link" in item.name]
    assert item.read().startswith(b"\xff\xd8")


def test_a_class_folder_may_itself_be_a_link(photo_folder, tmp_path):
    root = photo_folder(classes=("a", "b"), train=2, test=None)
    shutil.move(root / "b", tmp_path / "elsewhere")
    (root / "b").symlink_to(tmp_path / "elsewhere")
    source = open_source(str(root))
    assert counts(source) == {(UNSPLIT, "a"): 2, (UNSPLIT, "b"): 2}
    assert source.warnings == []


@pytest.mark.parametrize("target", [".", "..", "../.."])
def test_a_link_to_a_folder_above_is_not_a_class(photo_folder, target):
    root = photo_folder(classes=("a", "b"), train=2, test=1)
    (root / "train" / "loop").symlink_to(target)
    source = open_source(str(root))
    assert source.class_names == ["a", "b"]
    assert counts(source)[TRAIN, "a"] == 2
    (line,) = source.warnings
    assert line.startswith(f"{os.path.join('train', 'loop')} is a link to a folder and is not followed")


def test_a_link_to_nowhere_is_an_unreadable_image(photo_folder):
    root = photo_folder(classes=("a", "b"), train=2, test=None)
    (root / "a" / "gone.jpg").symlink_to(root / "nowhere.jpg")
    (item,) = [item for item in open_source(str(root)).load_items() if "gone" in item.name]
    with pytest.raises(UnreadableImage, match="No such file"):
        item.read()


def test_a_folder_that_cannot_be_listed_is_refused(photo_folder, monkeypatch):
    root = photo_folder(classes=("a", "b"), train=2, test=None)
    monkeypatch.chdir(root / "a")
    for _ in range(20):  # until the path is longer than the system allows
        os.mkdir("x" * 250)
        os.chdir("x" * 250)
    assert "this folder cannot be listed: File name too long" in refused(root)


def test_pipes_are_ignored(photo_folder):
    root = photo_folder(classes=("a", "b"), train=2, test=None)
    os.mkfifo(root / "a" / "pipe.jpg")
    items = open_source(str(root)).load_items()
    assert len(items) == 4
    assert all(item.read() for item in items)


def test_names_that_are_not_utf8_can_be_printed_and_read(photo_folder):
    root = photo_folder(classes=("a", "b"), train=2, test=None)
    os.rename(root / "a" / "a-00.jpg", os.fsencode(root / "a") + b"/caf\xe9\n.jpg")
    items = open_source(str(root)).load_items()
    (item,) = [item for item in items if "caf" in item.name]
    assert item.name.encode("utf-8")
    assert item.read().startswith(b"\xff\xd8")


def test_key_follows_the_content(photo_folder):
    root = photo_folder(classes=("a", "b"), train=2, test=1)
    keys = [open_source(str(root)).key]
    assert open_source(str(root)).key == keys[0]
    assert open_source(f"{root}/train/..").key == keys[0]
    image = root / "train" / "a" / "a-00.jpg"
    stat = image.stat()
    os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    keys.append(open_source(str(root)).key)
    image.write_bytes(image.read_bytes() + b"\0")
    os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    keys.append(open_source(str(root)).key)
    image.rename(root / "train" / "a" / "z.jpg")
    keys.append(open_source(str(root)).key)
    shutil.move(root / "train" / "a" / "z.jpg", root / "train" / "b" / "z.jpg")
    keys.append(open_source(str(root)).key)
    (root / "test").rename(root / "val")
    keys.append(open_source(str(root)).key)
    assert len(set(keys)) == len(keys)


def refused(spec):
    with pytest.raises(UserError) as error:
        open_source(str(spec))
    message = str(error.value)
    assert "\n" not in message
    return message


def test_no_such_folder(tmp_path):
    message = refused(tmp_path / "nowhere")
    assert "no such folder" in message
    assert "digits" in message


def test_a_file_instead_of_a_folder(photo_folder):
    assert "is a file" in refused(photo_folder() / "train" / "iris" / "iris-00.jpg")


def test_an_empty_folder(tmp_path):
    assert "no class folders" in refused(tmp_path)


def test_one_image_without_class_folders(photo_folder):
    assert "holds 1 image and no class folders" in refused(photo_folder(test=1) / "test" / "iris")


def test_images_without_class_folders(photo_folder):
    assert "4 images and no class folders" in refused(photo_folder(test=4) / "test" / "iris")


def test_the_folder_of_one_class_names_the_folder_above(photo_folder):
    root = photo_folder(test=4)
    message = refused(root / "test" / "iris")
    assert "put the images of each class in a folder of their own, such as" in message
    assert f"or give --data {root / 'test'} if 'iris' is itself a class" in message


def test_loose_images_in_a_folder_of_their_own_name_no_folder_above(photo_folder, tmp_path):
    loose = tmp_path / "alone" / "loose"
    photo_folder(classes=("a", "b"), train=3, test=None)
    shutil.copytree(tmp_path / "photos" / "a", loose)
    message = refused(loose)
    assert "3 images and no class folders" in message
    assert "is itself a class" not in message


@pytest.mark.parametrize("test", [2, None])
@pytest.mark.parametrize(("inner", "levels"), [("photos", "1 level"), ("2026/photos", "2 levels")])
def test_class_folders_too_deep_name_the_folder_to_give(photo_folder, tmp_path, test, inner, levels):
    root = photo_folder(classes=("a", "b"), train=3, test=test)
    right = tmp_path / "archive" / inner
    right.parent.mkdir(parents=True)
    root.rename(right)
    message = refused(tmp_path / "archive")
    assert f"the class folders are {levels} deeper, in {right}" in message
    assert message.endswith(f"give --data {right}")
    assert open_source(message.rpartition(" ")[2]).class_names == ["a", "b"]


def test_classes_one_level_too_deep_in_the_training_folder(photo_folder):
    root = photo_folder(classes=("a", "b"), train=3, test=2)
    for part in ("train", "test"):
        (root / part).rename(root / "images")
        (root / part).mkdir()
        (root / "images").rename(root / part / "images")
    assert f"1 level deeper, in {root / 'train' / 'images'} ('a', ...); move them into {root / 'train'}" in refused(
        root
    )


@pytest.mark.parametrize(
    ("train", "test", "known"),
    [
        ("Training", "Testing", "test"),
        ("seg_train", "seg_test", "test"),
        ("training_set", "test_set", "test"),
        ("trainset", "validation-data", "val"),
        ("seg_train/seg_train", "seg_test/seg_test", "test"),
    ],
)
def test_parts_with_unknown_names_are_not_classes(photo_folder, train, test, known):
    root = photo_folder(classes=("a", "b", "c"), train=2, test=1)
    for old, new in (("train", train), ("test", test)):
        (root / new).parent.mkdir(exist_ok=True)
        (root / old).rename(root / new)
    first, second = train.split("/")[0], test.split("/")[0]
    assert refused(root) == (
        f"{root}: '{first}' and '{second}' look like parts, not classes, because both hold 'a' and 'b'; rename them to "
        f"train/ and {known}/"
    )


def test_classes_may_hold_folders_of_the_same_names(photo_folder):
    root = photo_folder(classes=("inside", "outside"), train=2, test=1)
    (root / "train").rename(root / "cat")
    (root / "test").rename(root / "dog")
    assert counts(open_source(str(root))) == {(UNSPLIT, "cat"): 4, (UNSPLIT, "dog"): 2}


def test_one_class(photo_folder):
    assert "one class folder only ('iris')" in refused(photo_folder(classes=("iris",)))


@pytest.mark.parametrize("test", [2, None])
def test_an_empty_class_folder(photo_folder, test):
    root = photo_folder(classes=("a", "b"), train=2, test=test)
    empty = (root / "train" if test else root) / "c"
    empty.mkdir()
    (empty / ".DS_Store").write_bytes(b"\0")
    message = refused(root)
    assert str(empty) in message
    assert "empty" in message


def test_a_class_folder_that_holds_only_a_linked_folder(photo_folder):
    root = photo_folder(classes=("a", "b"), train=2, test=None)
    (root / "c").mkdir()
    (root / "c" / "link").symlink_to(root / "a")
    assert "this class folder is empty except for links to folders, which are not followed;" in refused(root)


def test_a_class_that_only_the_test_set_has(photo_folder):
    root = photo_folder(classes=("a", "b"), train=2, test=1)
    (root / "test" / "b").rename(root / "test" / "bee")
    message = refused(root)
    assert "'bee'" in message
    assert str(root / "train") in message


@pytest.mark.parametrize("test", [None, 4])
def test_images_next_to_class_folders_are_named_in_one_line(photo_folder, test):
    root = photo_folder(train=5, test=test)
    training = root if test is None else root / "train"
    shutil.copy(training / "iris" / "iris-00.jpg", root / "loose.jpg")
    (root / "notes.txt").write_text("not an image")
    (root / ".hidden.jpg").write_text("not listed")
    assert open_source(str(root)).warnings == [
        "warning: 1 image is in no class folder and is not used, such as loose.jpg; "
        "move it into the folder of its class"
    ]
    shutil.copy(root / "loose.jpg", training / "b.jpg")
    assert open_source(str(root)).warnings == [
        "warning: 2 images are in no class folder and are not used, such as "
        f"{'b.jpg' if test is None else 'loose.jpg'}; move them into the folders of their classes"
    ]
