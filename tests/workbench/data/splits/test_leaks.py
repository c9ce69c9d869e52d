"""Photos that are in two parts or under two labels are found when a data set is loaded."""

import numpy as np
import pytest
from PIL import Image

from workbench.config import DataConfig
from workbench.data.dataset import load_dataset
from workbench.data.description import describe
from workbench.data.splits import leaks
from workbench.data.splits.earlier_runs import describe_unchecked_runs, find_used_images, list_unchecked_runs
from workbench.data.splits.kept_split import open_kept_split
from workbench.data.splits.saved_split import write_split


def draw_photo(seed):
    """A generated photo: smooth shapes of random colours."""
    pixels = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), np.uint8)
    return Image.fromarray(pixels).resize((120, 100), Image.Resampling.BICUBIC)


@pytest.fixture
def data(tmp_path):
    """A folder of different photos, 6 to train and 3 to test of each of two classes."""
    root = tmp_path / "my photos"
    for label, name in enumerate(("daisy", "rose")):
        for part, first, count in (("train", 0, 6), ("test", 6, 3)):
            (root / part / name).mkdir(parents=True)
            for number in range(first, first + count):
                draw_photo(100 * label + number).save(root / part / name / f"{number}.jpg", quality=92)
    return root


def load(data, kept=None, size=40):
    return load_dataset(DataConfig(data=str(data), image_size=size), seed=0, kept=kept)


def test_different_photos_are_not_warned_of(data):
    dataset = load(data)
    assert not dataset.warnings
    assert not any(image.repeats for image in dataset.split)


def test_photos_of_two_parts_and_two_classes_are_named_in_one_line(data):
    (data / "test" / "daisy" / "6.jpg").write_bytes((data / "train" / "daisy" / "0.jpg").read_bytes())
    mirrored = draw_photo(1).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    mirrored.resize((300, 250)).save(data / "test" / "rose" / "7.png")
    (data / "test" / "rose" / "7.jpg").unlink()
    dataset = load(data)
    (line,) = dataset.warnings
    where = "train" if "train/daisy/0.jpg" in (dataset.names[row] for row in dataset.train) else "train or validation"
    assert line.startswith(f"warning: 2 of 6 test images are also in {where}")
    assert "such as test/daisy/6.jpg (train/daisy/0.jpg)" in line
    assert "1 photo is in two classes, such as train/daisy/1.jpg and test/rose/7.png" in line
    assert line.endswith(f"python -m workbench.data inspect '{data}' lists such photos")
    assert line in describe(dataset)
    assert {image.name: image.repeats for image in dataset.split if image.part == "test" and image.repeats} == {
        "test/daisy/6.jpg": "train/daisy/0.jpg",
        "test/rose/7.png": "train/daisy/1.jpg",
    }


def test_a_test_photo_whose_twin_is_a_validation_image_that_has_one_in_train_counts(data):
    """Of three photos of a burst, the first and the last do not resemble each other."""
    for number, part in enumerate(("train", "val", "test")):
        for name, seed in (("daisy", 52), ("rose", 300 + 10 * number)):
            (data / part / name).mkdir(parents=True, exist_ok=True)
            photo = Image.blend(draw_photo(seed), draw_photo(seed + 1), 0.2 * number)
            photo.save(data / part / name / f"burst-{number}.png")
    dataset = load(data)
    assert {image.name: image.repeats for image in dataset.split if image.repeats} == {
        "val/daisy/burst-1.png": "train/daisy/burst-0.png",
        "test/daisy/burst-2.png": "val/daisy/burst-1.png",
    }
    assert "1 of 8 test images is also in validation" in dataset.warnings[0]
    assert "1 of 2 validation images is also in train" in dataset.warnings[0]


@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
def test_the_pixels_of_the_padding_do_not_count(data, resize):
    """Different photos with the same margins are not the same photo."""
    for number, path in enumerate(sorted(data.rglob("*.jpg"))):
        draw_photo(1000 + number).resize((160, 60)).save(path, quality=92)
    copy = data / "test" / "daisy" / "copy.png"
    Image.open(data / "train" / "daisy" / "0.jpg").transpose(Image.Transpose.ROTATE_180).save(copy)
    (line,) = load_dataset(DataConfig(data=str(data), image_size=48, resize=resize), seed=0).warnings
    assert "1 of 7 test images is also in" in line
    assert "test/daisy/copy.png (train/daisy/0.jpg)" in line


def test_left_out_images_do_not_count(data):
    (data / "test" / "daisy" / "6.jpg").write_bytes((data / "train" / "daisy" / "0.jpg").read_bytes())
    (data / "left_out.csv").write_text("image,reason\ntest/daisy/6.jpg,also in train\n")
    assert not load(data).warnings


def test_of_tiny_images_only_the_files_are_compared(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "tiny" / name).mkdir(parents=True)
        for number in range(5):
            pixels = rng.integers(0, 256, (1, 1, 3), np.uint8) + rng.integers(0, 9, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "tiny" / name / f"{number}.png")
    assert not load(tmp_path / "tiny").warnings
    copied = tmp_path / "tiny" / "a" / "0.png"
    (tmp_path / "tiny" / "b" / "copy.png").write_bytes(copied.read_bytes())
    assert "1 photo is in two classes, such as a/0.png and b/copy.png" in load(tmp_path / "tiny").warnings[0]


def test_the_pairs_are_kept_with_the_store(data, cache, monkeypatch):
    (data / "test" / "daisy" / "6.jpg").write_bytes((data / "train" / "daisy" / "0.jpg").read_bytes())
    calls = []

    def counted(*args, find_pairs=leaks.find_pairs):
        calls.append(args)
        return find_pairs(*args)

    monkeypatch.setattr(leaks, "find_pairs", counted)
    first = load(data)
    assert load(data).warnings == first.warnings
    assert len(calls) == 1
    (path,) = cache.glob("image-workbench/*/pairs-1.npz")
    for damaged in (path.read_bytes()[:-30], b"", b"PK\x03\x04 torn"):
        path.write_bytes(damaged)
        assert load(data).warnings == first.warnings
    assert len(calls) == 4


def test_a_run_keeps_what_was_found(data, tmp_path):
    """Also after the training image has been removed, whose photo the test image shows."""
    (data / "test" / "daisy" / "6.jpg").write_bytes((data / "train" / "daisy" / "0.jpg").read_bytes())
    draw_photo(2).save(data / "train" / "rose" / "also-a-daisy.png")
    before = load(data)
    assert "1 photo is in two classes, such as train/daisy/2.jpg and train/rose/also-a-daisy.png" in before.warnings[0]
    write_split(tmp_path, before.split)
    (data / "train" / "daisy" / "0.jpg").unlink()
    after = load(data, open_kept_split(tmp_path, "test"))
    assert [image.repeats for image in after.split if image.part == "test" and image.repeats] == ["train/daisy/0.jpg"]
    assert "1 of 6 test images is also in train" in after.warnings[0]
    assert "1 photo is in two classes, such as train/daisy/2.jpg" in after.warnings[0]


def test_images_that_an_earlier_run_has_used(data, tmp_path):
    """A run is fine-tuned from `other`, and `other` from `base`; both were trained on images that test now."""
    base, other = tmp_path / "base", tmp_path / "other"
    test = [image for image in load(data).split if image.part == "test"]
    parts = ["train", "train", "validation", "test"]
    used = [image._replace(name=f"old/{image.name}", part=part) for image, part in zip(test, parts, strict=False)]
    for folder, images in ((base, used[:2]), (other, used[2:])):
        folder.mkdir()
        write_split(folder, images)
    (other / "config.yaml").write_text(f"from_: {base}\n")
    (base / "config.yaml").write_text(f"from_: {other}\n")  # no sound run has this, but it must end
    assert not load(data).warnings
    dataset = load_dataset(DataConfig(str(data), image_size=40), seed=0, used=find_used_images(str(other)))
    (line,) = dataset.warnings
    name = test[0].name
    assert line == (
        "warning: 3 of 6 test images were already used to train or validate the network that --from names, "
        f"such as {name} ({base}: old/{name})"
    )
    assert [bool(image.seen_in) for image in dataset.split if image.part == "test"] == [True] * 3 + [False] * 3
    write_split(tmp_path, dataset.split)
    assert load(data, open_kept_split(tmp_path, "test")).warnings == [line]


def test_a_relative_earlier_run_is_found_from_any_folder(data, tmp_path, monkeypatch):
    """It is relative to the folder in which the run was trained. A sweep names it in best.yaml."""
    split = [image for image in load(data).split if image.part == "test"]
    runs = tmp_path / "project" / "runs"
    for name in ("base", "other", "sweep"):
        (runs / name).mkdir(parents=True)
    write_split(runs / "base", split)
    (runs / "other" / "config.yaml").write_text("from_: runs/base\n")
    (runs / "sweep" / "config.yaml").write_text("max_trials: 1\n")
    (runs / "sweep" / "best.yaml").write_text("from_: runs/base\n")
    places = ((tmp_path / "project", "runs/"), (runs, ""), (tmp_path, "project/runs/"), (data, f"{runs}/"))
    for folder, to_runs in places:
        monkeypatch.chdir(folder)
        for run in (f"{to_runs}other", f"{to_runs}sweep"):
            assert find_used_images(run).keys() == {image.digest for image in split}
            assert list_unchecked_runs(run) == [run]


def test_runs_whose_images_are_not_known_are_named_in_one_line(data, tmp_path):
    base, other = tmp_path / "base", tmp_path / "other"
    other.mkdir()
    (other / "config.yaml").write_text(f"from_: {base}\n")
    (line,) = describe_unchecked_runs(list_unchecked_runs(str(other)))
    assert line.startswith(f"warning: {other} and {base} have no split.csv, so it is not known whether the network of ")
    write_split(other, load(data).split)
    (line,) = describe_unchecked_runs(list_unchecked_runs(str(other)))
    assert line.startswith(f"warning: {base} has no split.csv")
    base.mkdir()
    write_split(base, load(data).split)
    assert not describe_unchecked_runs(list_unchecked_runs(str(other)))
    assert not list_unchecked_runs(None)


def test_real_photos(flowers):
    """`inspect` finds as many."""
    (line,) = load(flowers, size=64).warnings
    assert line.startswith("warning: 26 of 240 test images are also in train or validation, such as test/bluebell/")
