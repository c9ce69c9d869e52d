"""From a `--data` value to decoded images and a stratified split."""

import shutil

import numpy as np
import pytest
from PIL import Image

from workbench.config import DataConfig
from workbench.data.dataset import choose_image_size, compute_class_weights, load_dataset
from workbench.data.description import describe, describe_imbalance
from workbench.data.image_formats import MISSING_DECODERS
from workbench.errors import UserError


def load(root, seed=0, **options):
    return load_dataset(DataConfig(data=str(root), **{"image_size": 16, **options}), seed)


def per_class(dataset, rows):
    return list(np.bincount(dataset.labels[rows], minlength=len(dataset.class_names)))


def assert_parts_are_disjoint(dataset):
    rows = np.concatenate([dataset.train, dataset.validation, dataset.test])
    assert sorted(rows) == list(range(len(dataset.labels)))


def test_digits():
    dataset = load("digits", image_size=None)
    assert dataset.images.shape == (1797, 32, 32, 3)
    assert dataset.image_size == 32
    assert dataset.class_names == [str(digit) for digit in range(10)]
    assert_parts_are_disjoint(dataset)
    assert len(dataset.test) == pytest.approx(0.15 * 1797, abs=6)
    assert len(dataset.validation) == pytest.approx(0.20 * 0.85 * 1797, abs=6)


def test_real_photos(flowers):
    dataset = load(flowers)
    assert len(dataset.class_names) == 12
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (576, 144, 240)
    assert per_class(dataset, dataset.validation) == [12] * 12
    assert dataset.unreadable == []


def test_validation_is_a_fifth_of_each_class(photo_folder):
    dataset = load(photo_folder(train=10, test=4))
    assert per_class(dataset, dataset.train) == [8] * 3
    assert per_class(dataset, dataset.validation) == [2] * 3
    assert per_class(dataset, dataset.test) == [4] * 3
    assert_parts_are_disjoint(dataset)
    assert all(dataset.names[row].startswith("test") for row in dataset.test)
    assert all(dataset.names[row].startswith("train") for row in np.concatenate([dataset.train, dataset.validation]))


def test_without_a_split_fifteen_percent_of_each_class_is_held_out(photo_folder):
    dataset = load(photo_folder(classes=("a", "b"), train=40, test=None))
    assert per_class(dataset, dataset.test) == [6, 6]
    assert per_class(dataset, dataset.validation) == [7, 7]
    assert_parts_are_disjoint(dataset)


def test_the_seed_fixes_the_split(photo_folder):
    root = photo_folder(train=20, test=None)
    splits = [load(root, seed) for seed in (3, 3, 4)]
    for part in ("train", "validation", "test"):
        first, same, other = (getattr(split, part).tolist() for split in splits)
        assert first == same
        assert first != other


def test_val_beside_train_is_the_test_set(photo_folder):
    root = photo_folder(train=10, test=4)
    (root / "test").rename(root / "val")
    dataset = load(root)
    assert per_class(dataset, dataset.test) == [4] * 3
    assert per_class(dataset, dataset.validation) == [2] * 3


def test_train_val_and_test_are_used_as_they_are(photo_folder):
    root = photo_folder(train=10, test=4)
    shutil.copytree(root / "test", root / "val")
    dataset = load(root)
    assert [per_class(dataset, rows) for rows in (dataset.train, dataset.validation, dataset.test)] == [
        [10] * 3,
        [4] * 3,
        [4] * 3,
    ]


def copy_turned(folder, target):
    """Copy photos and turn them by 90 degrees, so that they are not the same photos."""
    shutil.copytree(folder, target)
    for path in target.rglob("*.jpg"):
        Image.open(path).transpose(Image.Transpose.ROTATE_90).save(path)


def rename_test(root):
    (root / "test").rename(root / "val")


def copy_test_to_valid(root):
    copy_turned(root / "test", root / "valid")


def capitalize_parts(root):
    (root / "train").rename(root / "Train")
    (root / "test").rename(root / "Test")


def remove_test(root):
    shutil.rmtree(root / "test")


@pytest.mark.parametrize(
    ("arrange", "expected"),
    [
        (None, "train/ is for training and validation (20 % of each class), test/ for testing"),
        (
            rename_test,
            "train/ is for training and validation (20 % of each class), val/ for testing, because there is no test/",
        ),
        (capitalize_parts, "Train/ is for training and validation (20 % of each class), Test/ for testing"),
        (copy_test_to_valid, "train/ is for training, valid/ for validation, test/ for testing"),
        (
            remove_test,
            "train/ is for training, validation and testing: 15 % of each class are for testing, "
            "and 20 % of the rest for validation",
        ),
    ],
)
def test_the_screen_says_which_folder_is_used_for_what(photo_folder, arrange, expected):
    root = photo_folder(train=10, test=4)
    if arrange:
        arrange(root)
    lines = describe(load(root))
    assert "images of 3 classes" in lines[0]
    assert lines[1:] == [expected]


def test_a_folder_without_parts_is_named_and_other_data_has_no_folders(photo_folder):
    root = photo_folder(train=10, test=None)
    assert describe(load(root))[1].startswith("photos/ is for training, validation and testing: 15 %")
    assert len(describe(load("digits"))) == 1


def test_a_class_that_is_missing_from_a_part_is_warned_of_in_one_line(photo_folder):
    root = photo_folder(train=10, test=4)
    copy_turned(root / "test", root / "val")
    shutil.rmtree(root / "test" / "iris")
    for image in (root / "val" / "rose").iterdir():
        image.unlink()
    shutil.rmtree(root / "val" / "iris")
    assert describe(load(root))[2:] == [
        "warning: no validation image of classes 'iris' and 'rose', no test image of class 'iris'; "
        "add images, because accuracy there is measured on the other classes only"
    ]


def test_many_missing_classes_are_counted(photo_folder):
    root = photo_folder(classes=tuple("abcdef"), train=3, test=1)
    for name in "abcde":
        shutil.rmtree(root / "test" / name)
    line = describe(load(root))[-1]
    assert "no test image of classes 'a', 'b', 'c' and 2 more;" in line


def test_a_class_whose_test_images_are_all_left_out_is_missing(photo_folder):
    root = photo_folder(train=10, test=1)
    (root / "left_out.csv").write_text("image,reason\ntest/iris/iris-00.jpg,blurred\n")
    assert "no test image of class 'iris'" in describe(load(root))[-1]


def test_a_linked_folder_is_described(photo_folder):
    root = photo_folder(train=10, test=4)
    (root / "train" / "iris" / "up").symlink_to(root)
    dataset = load(root)
    assert len(dataset.labels) == 42
    (line,) = [line for line in describe(dataset) if "not followed" in line]
    assert "train/iris/up" in line


@pytest.mark.parametrize(("test", "parts"), [(1, [1, 1, 1]), (None, [1, 1, 1])])
def test_the_smallest_classes_that_can_be_split(photo_folder, test, parts):
    dataset = load(photo_folder(train=2 if test else 3, test=test))
    for rows, count in zip((dataset.train, dataset.validation, dataset.test), parts, strict=True):
        assert per_class(dataset, rows) == [count] * 3


def refused(root, **options):
    with pytest.raises(UserError) as error:
        load(root, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("test", "left", "needed"), [(1, 1, "at least 2, to train and validate on"), (None, 2, "at least 3")]
)
def test_too_few_images_of_a_class(photo_folder, test, left, needed):
    root = photo_folder(train=5, test=test)
    for image in sorted((root / "train" / "iris" if test else root / "iris").iterdir())[left:]:
        image.unlink()
    message = refused(root)
    assert "class 'iris' of photos" in message
    assert f"has {left} readable" in message
    assert needed in message


def test_a_class_whose_images_are_all_unreadable(photo_folder):
    root = photo_folder(train=4, test=2)
    shutil.copytree(root / "test", root / "val")
    for image in (root / "train" / "iris").iterdir():
        image.write_bytes(b"\xff\xd8\xff")
    assert "class 'iris' of photos has 0 readable" in refused(root, max_unreadable=0.5)


def damaged(root, count):
    for image in sorted(root.rglob("*.jpg"))[:count]:
        image.write_bytes(b"\xff\xd8\xff torn")
    return root


def test_few_unreadable_images_are_skipped_and_listed(photo_folder):
    dataset = load(damaged(photo_folder(classes=("a", "b"), train=60, test=None), 1))
    ((name, reason),) = dataset.unreadable
    assert name.endswith("a-00.jpg")
    assert reason
    assert len(dataset.labels) == 119
    assert_parts_are_disjoint(dataset)


def test_more_than_a_hundredth_unreadable_is_an_error(photo_folder):
    message = refused(damaged(photo_folder(classes=("a", "b"), train=60, test=None), 2))
    assert "2 of 120 images are unreadable" in message
    assert "a-00.jpg" in message
    assert message.endswith("--max-unreadable 0.017")


def test_max_unreadable_allows_it_and_the_error_names_a_value_that_does(photo_folder):
    root = damaged(photo_folder(classes=("a", "b"), train=60, test=None), 7)
    allowed = float(refused(root).split("--max-unreadable ")[1])
    assert len(load(root, max_unreadable=allowed).unreadable) == 7
    assert "unreadable" in refused(root, max_unreadable=0.05)
    assert "unreadable" in refused(root, max_unreadable=0.0)


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_max_unreadable_is_a_share(photo_folder, share):
    assert "--max-unreadable" in refused(photo_folder(train=2), max_unreadable=share)


def test_nothing_readable(photo_folder):
    root = photo_folder(train=2, test=None)
    assert "no readable image" in refused(damaged(root, 6), max_unreadable=1.0)


@pytest.fixture
def without_pillow_heif(monkeypatch):
    monkeypatch.setitem(MISSING_DECODERS, "HEIF", "pillow-heif: pip install pillow-heif")


def as_heic(root, count):
    """Write the first images of a folder as HEIC instead."""
    for path in sorted(root.rglob("*.jpg"))[:count]:
        Image.open(path).save(path.with_suffix(".heic"), "HEIF")
        path.unlink()
    return root


@pytest.mark.parametrize("count", [3, 30])
def test_heic_without_pillow_heif_says_how_many_and_what_to_install(photo_folder, without_pillow_heif, count):
    root = as_heic(photo_folder(train=10, test=None), count)
    message = refused(root)
    assert f"{root}: {count} HEIC images need pillow-heif: pip install pillow-heif" in message
    assert message.endswith("; or skip images with --max-unreadable 0.1" if count == 3 else "pillow-heif")


def test_heic_is_skipped_where_that_is_allowed_and_read_once_pillow_heif_is_installed(photo_folder, monkeypatch):
    root = as_heic(photo_folder(train=10, test=None), 1)
    with monkeypatch.context() as patch:
        patch.setitem(MISSING_DECODERS, "HEIF", "pillow-heif: pip install pillow-heif")
        dataset = load(root, max_unreadable=0.1)
        assert len(dataset.labels) == 29
        assert "1 HEIC image needs pillow-heif: pip install pillow-heif" in describe(dataset)
    dataset = load(root)
    assert len(dataset.labels) == 30
    assert dataset.unreadable == []


def test_files_that_are_not_images_do_not_count(photo_folder):
    root = photo_folder(train=5, test=None)
    (root / "iris" / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (root / "iris" / "notes.txt").write_text("in May")
    dataset = load(root)
    assert dataset.unreadable == []
    assert len(dataset.labels) == 15


@pytest.mark.parametrize("size", [0, -3, 5000])
def test_image_size_out_of_range(size):
    assert f"--image-size {size}" in refused("digits", image_size=size)


def test_default_image_sizes():
    assert choose_image_size(DataConfig()) == 32
    assert choose_image_size(DataConfig(data="somewhere")) == 128
    assert choose_image_size(DataConfig(data="somewhere", image_size=64)) == 64


def test_crop_stretch_and_pad_differ(photo_folder):
    root = photo_folder(classes=("a", "b"), train=4, test=None)
    wide = Image.new("RGB", (90, 30), "red")
    wide.paste("blue", (60, 0, 90, 30))
    wide.save(root / "a" / "a-00.jpg")
    crop, stretch, pad = (load(root, resize=resize).images[0] for resize in ("crop", "stretch", "pad"))
    assert crop[..., 2].mean() < 30 < stretch[..., 2].mean()
    assert (pad[:5] == 128).all()
    assert pad[8, -2, 2] > 200


def test_wrong_path(tmp_path):
    assert "no such folder" in refused(tmp_path / "nowhere")


def test_key_and_seconds_are_passed_on(photo_folder):
    root = photo_folder(train=3)
    first, again = load(root), load(root)
    assert first.decode_seconds > 0
    assert again.decode_seconds == 0
    assert first.key == again.key != load("digits").key


def uneven(root):
    """Leaves 10 daisies, 10 irises and 2 roses to train and validate on."""
    for image in sorted((root / "train" / "rose").iterdir())[2:]:
        image.unlink()
    return root


def test_uneven_classes_are_described(photo_folder):
    even = photo_folder(train=10, test=4)
    assert describe_imbalance(load(even)) is None
    message = describe_imbalance(load(uneven(even)))
    assert "'daisy' has 8 training images and 'rose' 1;" in message
    assert "--class-weights balanced" in message


def test_balanced_weights_give_every_class_the_same_weight(photo_folder):
    dataset = load(uneven(photo_folder(train=10, test=4)))
    weights = compute_class_weights(dataset)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights * dataset.count_classes(), len(dataset.train) / 3, rtol=1e-6)
    np.testing.assert_allclose(weights[dataset.labels[dataset.train]].mean(), 1, rtol=1e-6)
