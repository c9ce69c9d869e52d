"""A run keeps its split, whatever happens to its data folder; what would not be true any more is refused."""

import shutil

import numpy as np
import pytest
from PIL import Image

from workbench.config import DataConfig
from workbench.data.dataset import load_dataset
from workbench.data.splits.kept_split import open_kept_split
from workbench.data.splits.saved_split import SPLIT, read_split, write_split
from workbench.errors import UserError

PARTS = ("train", "validation", "test")


@pytest.fixture
def data(photo_folder):
    """A folder without a test set: 9 photos of each of three classes."""
    return photo_folder(train=9, test=None)


@pytest.fixture
def run(data, tmp_path):
    """A run folder that keeps the split of `data`."""
    folder = tmp_path / "runs" / "r"
    folder.mkdir(parents=True)
    write_split(folder, load(data).split)
    return folder


def load(data, run=None, use="look"):
    kept = open_kept_split(run, use) if run else None
    return load_dataset(DataConfig(data=str(data), image_size=16), seed=0, kept=kept)


def names(dataset, part):
    return [dataset.names[row] for row in getattr(dataset, part)]


def refused(data, run, use):
    with pytest.raises(UserError) as error:
        load(data, run, use)
    assert "\n" not in str(error.value)
    return str(error.value)


def add_photo(path, seed=99):
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(pixels).save(path, quality=90)


def of_part(data, run, part):
    """Return the paths of a part's images."""
    return [data / image.name for image in read_split(run) if image.part == part]


def test_without_changes_the_split_is_the_same(data, run):
    before, after = load(data), load(data, run)
    for part in PARTS:
        np.testing.assert_array_equal(getattr(before, part), getattr(after, part))
    assert after.split == before.split
    assert not after.changes
    images = read_split(run)
    assert {image.part for image in images} == set(PARTS)
    assert all(image.name.startswith(f"{image.class_name}/") for image in images)


def test_a_split_without_the_columns_that_came_later(data, run):
    lines = [line.rsplit(",", 3) for line in (run / SPLIT).read_text().splitlines()]
    (run / SPLIT).write_text("".join(f"{first},{number}\n" for first, _, _, number in lines))
    assert "conflicts" not in (run / SPLIT).read_text()
    assert load(data, run).split == load(data).split


def test_added_photos_are_named_and_not_used(data, run):
    before = load(data)
    for number in range(4):
        add_photo(data / "daisy" / f"a-new-{number}.jpg", number)
    drawn_again = load(data)
    assert {*names(before, "train"), *names(before, "validation")} & set(names(drawn_again, "test"))
    for use in ("look", "test", "resume"):
        after = load(data, run, use)
        assert [names(after, part) for part in PARTS] == [names(before, part) for part in PARTS]
        (line,) = after.changes
        added = "daisy/a-new-0.jpg, daisy/a-new-1.jpg, daisy/a-new-2.jpg, ..."
        assert line == (f"the data has changed since {run} was trained: 4 images were added ({added}) and are not used")


def test_a_renamed_photo_is_found_by_its_content(data, run):
    before = load(data)
    moved = of_part(data, run, "test")[0]
    moved.rename(moved.with_name("zzz.jpg"))
    after = load(data, run, "test")
    assert not after.changes
    assert "daisy/zzz.jpg" in names(after, "test")
    np.testing.assert_array_equal(after.images[after.test], before.images[before.test])


def test_photos_that_swapped_their_names_keep_their_parts(data, run):
    one, other = of_part(data, run, "test")[0], of_part(data, run, "train")[0]
    one.rename(data / "x.jpg"), other.rename(one), (data / "x.jpg").rename(other)
    before = [image.name for image in read_split(run) if image.part == "test"]
    after = names(load(data, run, "test"), "test")
    assert after == [str(other.relative_to(data)), *before[1:]]


def test_a_missing_training_image_is_refused_for_resuming_only(data, run):
    gone = of_part(data, run, "train")[0]
    gone.unlink()
    name = gone.relative_to(data)
    assert load(data, run, "test").changes == [
        f"the data has changed since {run} was trained: 1 training image is gone ({name})"
    ]
    assert refused(data, run, "resume") == (
        f"--data {data}: 1 training image is gone ({name}); {run} is continued with the images that it began with: "
        "restore them, or train again under another --name"
    )


def test_a_changed_validation_image_is_refused_for_resuming(data, run):
    add_photo(of_part(data, run, "validation")[0])
    assert "1 validation image has changed (daisy/" in refused(data, run, "resume")
    assert len(load(data, run).validation) == len(load(data).validation) - 1


def test_a_test_image_that_is_gone_or_has_changed_is_refused_for_testing_only(data, run):
    first, second, third = of_part(data, run, "test")
    first.unlink(), second.unlink(), add_photo(third)
    said = refused(data, run, "test")
    assert said.startswith(f"--data {data}: 2 test images are gone (daisy/")
    assert "1 test image has changed (rose/" in said
    assert f"{run} cannot be tested on other images" in said
    assert len(load(data, run, "resume").test) == 0


def test_an_unreadable_photo_has_changed(data, run):
    path = of_part(data, run, "test")[0]
    path.write_bytes(b"\xff\xd8\xff\xe0 torn")
    with pytest.raises(UserError, match="1 test image has changed"):
        load_dataset(
            DataConfig(data=str(data), image_size=16, max_unreadable=1.0), 0, kept=open_kept_split(run, "test")
        )


def test_a_photo_in_another_class_has_changed(data, run):
    path = of_part(data, run, "test")[0]
    path.rename(data / "rose" / "new.jpg")
    assert "1 test image is gone (daisy/" in refused(data, run, "test")


def test_images_that_are_left_out_now(data, run):
    train, (test, *others) = of_part(data, run, "train")[0], of_part(data, run, "test")
    lines = [f"{path.relative_to(data)},not wanted" for path in (train, test)]
    (data / "left_out.csv").write_text("\n".join(["image,reason", *lines, ""]))
    after = load(data, run, "test")
    assert names(after, "test") == [str(path.relative_to(data)) for path in others]
    assert "1 test image is left out by left_out.csv" in after.changes[0]
    assert "1 training image is left out by left_out.csv" in refused(data, run, "resume")


def test_another_class(data, run):
    shutil.copytree(data / "rose", data / "tulip")
    assert refused(data, run, "look").endswith(f"has other classes than those {run} was trained on ('tulip' is new)")
    shutil.rmtree(data / "tulip"), shutil.rmtree(data / "iris")
    assert "('iris' is missing)" in refused(data, run, "test")


def test_other_data_with_the_same_classes(data, run, photo_folder):
    other = photo_folder(train=9, test=None, name="other", size=36)
    assert f"has none of the validation and test images of {run}" in refused(other, run, "look")
    assert "3 test images have changed" in refused(other, run, "test")


def test_moved_data(data, run, tmp_path):
    before, moved = load(data), tmp_path / "moved" / "elsewhere"
    shutil.copytree(data, moved)
    after = load(moved, run, "test")
    assert not after.changes
    assert names(after, "test") == names(before, "test")


def test_the_embedded_digits(tmp_path):
    before = load("digits")
    write_split(tmp_path, before.split)
    after = load("digits", tmp_path, "test")
    assert not after.changes
    for part in PARTS:
        np.testing.assert_array_equal(getattr(before, part), getattr(after, part))


def cut_off(text):
    return "".join(text.splitlines(keepends=True)[:-3])


DAMAGES = {
    "empty": lambda text: "",
    "cut off at a line": cut_off,
    "cut off in a line": lambda text: text[:-20],
    "a line is missing": lambda text: "".join(text.splitlines(keepends=True)[:4] + text.splitlines(keepends=True)[5:]),
    "another part": lambda text: text.replace(",train,", ",trian,"),
    "another file": lambda text: "image,reason\n",
    "quotes": lambda text: text.replace("image,", '"image,', 1),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_split_is_refused(data, run, damage):
    (run / SPLIT).write_text(DAMAGES[damage]((run / SPLIT).read_text()))
    assert f"{run / SPLIT}: damaged" in refused(data, run, "look")


def test_names_with_commas_quotes_and_line_ends(data, tmp_path):
    for name in ('a, "b".jpg', "two\nlines.jpg", "one\rline.jpg", "grün.jpg"):
        add_photo(data / "daisy" / name, len(name))
    before = load(data)
    write_split(tmp_path, before.split)
    assert read_split(tmp_path) == before.split
    assert not load(data, tmp_path, "test").changes
