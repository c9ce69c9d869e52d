"""Near-duplicates and photos of one animal, patient or day stay on one side of the split."""

import collections
import shutil

import numpy as np
import pytest
from PIL import Image

from workbench.config import DataConfig
from workbench.data.dataset import load_dataset
from workbench.data.description import describe
from workbench.data.source import UNSPLIT, Source
from workbench.data.splits.drawing import draw_split
from workbench.data.splits.duplicates import Pairs
from workbench.data.splits.folds import draw_folds
from workbench.data.splits.groups import find_groups
from workbench.errors import UserError


def draw_photo(seed):
    """A generated photo: smooth shapes of random colours."""
    pixels = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), np.uint8)
    return Image.fromarray(pixels).resize((60, 50), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp("drawn")
    for label, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for number in range(30):
            draw_photo(1000 * label + number).save(root / name / f"animal{number // 5}-{number}.png")
    return root


@pytest.fixture
def data(drawn, tmp_path):
    """A folder without parts: for each of two classes 30 photos, five of each of six animals."""
    return shutil.copytree(drawn, tmp_path / "photos")


def load(data, seed=0, **options):
    return load_dataset(DataConfig(data=str(data), image_size=40, **options), seed)


def list_parts(dataset):
    return {image.name: image.part for image in dataset.split}


def count(dataset, rows):
    return np.bincount(dataset.labels[rows], minlength=2).tolist()


def test_without_duplicates_the_split_is_that_of_earlier_versions(data):
    """The rule of earlier versions: of each class, the first images of a random order."""
    rng, labels = np.random.default_rng(3), np.repeat([0, 1], 30)

    def split(rows, share):
        drawn = [rng.permutation(rows[labels[rows] == label]) for label in (0, 1)]
        held_out = np.sort(np.concatenate([order[: round(share * len(order))] for order in drawn]))
        return np.setdiff1d(rows, held_out), held_out

    train, test = split(np.arange(60), 0.15)
    train, validation = split(train, 0.20)
    dataset = load(data, seed=3)
    for part, expected in ((dataset.train, train), (dataset.validation, validation), (dataset.test, test)):
        assert part.tolist() == expected.tolist()
    assert not dataset.notes
    assert list_parts(load(data, seed=3, groups="none")) == list_parts(dataset)


def test_near_duplicates_stay_on_one_side(data):
    """The half of each class is one photo three times: as it is, mirrored, and smaller."""
    for name in ("cat", "dog"):
        for number in range(0, 15, 3):
            first = Image.open(data / name / f"animal{number // 5}-{number}.png")
            mirrored, smaller = first.transpose(Image.Transpose.FLIP_LEFT_RIGHT), first.resize((48, 40))
            for offset, image in ((1, mirrored), (2, smaller)):
                (data / name / f"animal{(number + offset) // 5}-{number + offset}.png").unlink()
                image.save(data / name / f"animal-of-{number}-{offset}.png")
    for seed in range(6):
        dataset = load(data, seed)
        assert not any(image.repeats for image in dataset.split)
        assert dataset.notes == ["kept on one side of the split: 30 near-duplicates in 10 groups"]
        assert dataset.notes[0] in describe(dataset)
        assert [count(dataset, rows) for rows in (dataset.validation, dataset.test)] == [[5, 5], [4, 4]]
        assert list_parts(load(data, seed)) == list_parts(dataset)
    assert any(image.repeats for image in load(data, groups="none").split)
    assert list_parts(load(data, 0)) != list_parts(load(data, 1))


def assert_undivided(dataset, key_of):
    parts = collections.defaultdict(set)
    for name, part in list_parts(dataset).items():
        parts[key_of(name)].add(part)
    assert all(len(found) == 1 for found in parts.values())


def find_animal(name):
    return name.rpartition("/")[2].partition("-")[0]


def test_photos_of_one_animal_stay_on_one_side(data):
    """An animal has photos in both classes: its 10 images are a sixth of the data."""
    dataset = load(data, groups=r"^(animal\d+)-")
    assert_undivided(dataset, find_animal)
    assert dataset.notes == [r"kept on one side of the split: 60 images in 6 groups of --groups ^(animal\d+)-"]
    assert [count(dataset, rows) for rows in (dataset.validation, dataset.test)] == [[5, 5], [5, 5]]


def test_a_regex_with_a_slash_is_searched_in_the_path(data):
    dataset = load(data, groups=r"(\w+/animal\d+)-")
    assert_undivided(dataset, lambda name: name.partition("-")[0])
    assert "60 images in 12 groups" in dataset.notes[0]
    assert [count(dataset, rows) for rows in (dataset.validation, dataset.test)] == [[5, 5], [5, 5]]


def test_a_table_of_groups_and_images_in_none(data, tmp_path):
    names = sorted(f"{path.parent.name}/{path.name}" for path in data.rglob("*.png"))
    rows = [f"{name};{find_animal(name)}" for name in names if "animal5" not in name]
    table = tmp_path / "groups.csv"
    table.write_text("\n".join(["Image;Group", *rows, "gone.png;animal9"]), encoding="utf-16")
    dataset = load(data, groups=str(table))
    assert_undivided(dataset, lambda name: name if "animal5" in name else find_animal(name))
    assert "50 images in 5 groups" in dataset.notes[0]
    assert dataset.notes[0].endswith("(10 images in none)")


def test_groups_that_the_data_itself_divides_are_named(data):
    (data / "train").mkdir()
    for name in ("cat", "dog"):
        (data / name).rename(data / "train" / name)
        (data / "test" / name).mkdir(parents=True)
        for number in (0, 1):
            (data / "train" / name / f"animal0-{number}.png").rename(data / "test" / name / f"animal0-{number}.png")
    dataset = load(data, groups=r"(animal\d+)")
    assert dataset.notes[1] == (
        "warning: 1 group of --groups has images in two parts that the data itself divides, such as 'animal0'"
    )
    assert list_parts(dataset)["test/cat/animal0-0.png"] == "test"


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ("animal", r"put the part of the names that images of a group share into brackets, such as '(patient\d+)'"),
        ("(animal", "neither a CSV file nor a regular expression"),
        ("(patient)", "no image is in a group"),
        ("nowhere.csv", "--groups nowhere.csv: No such file"),
        (r"\w(\w\w)", "class 'cat' has images of 1 group only, such as 'ni'; it needs at least 3"),
    ],
)
def test_groups_that_cannot_be_used(data, groups, message):
    with pytest.raises(UserError) as error:
        load(data, groups=groups)
    assert message in str(error.value)


def test_too_few_groups_of_a_class_whose_first_image_is_in_none(data):
    shutil.rmtree(data / "dog")
    (data / "dog").mkdir()
    for name in ("a", "patient1_1", "patient1_2"):
        draw_photo(len(name) + 7000).save(data / "dog" / f"{name}.png")
    with pytest.raises(UserError, match="class 'dog' has images of 2 groups only, such as '1'; it needs at least 3"):
        load(data, groups=r"(?:animal|patient)(\d+)")


def test_a_class_without_a_group_that_can_be_spared(tmp_path):
    """Any two classes share one of three groups: once one is held out, the third class keeps its two."""
    for seed, image in enumerate(("train/a/1", "train/a/2", "train/b/1", "train/b/3", "train/c/2", "train/c/3")):
        path = tmp_path / f"{image}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_photo(seed).save(path)
    for seed, name in enumerate("abc", 100):
        (tmp_path / "test" / name).mkdir(parents=True)
        draw_photo(seed).save(tmp_path / "test" / name / "x.png")
    with pytest.raises(UserError, match=r"class '[abc]' of .* would have no validation image, because its groups"):
        load(tmp_path, groups=r"(\d)\.png")
    assert len(load(tmp_path, groups=r"(\d)\.png", fold="1/3").validation) == 2
    assert len(load(tmp_path).validation) == 3


def test_a_table_that_puts_an_image_into_two_groups(data, tmp_path):
    table = tmp_path / "groups.csv"
    table.write_text("image,group\ncat/animal0-0.png,a\ncat/animal0-0.png,b\n")
    with pytest.raises(UserError, match=r"groups.csv: row 3: puts 'cat/animal0-0.png' into 'b'"):
        load(data, groups=str(table))


def test_a_class_of_one_photo_is_divided_all_the_same(data):
    """There is no other way to train and to validate on it; the warning of leaks names them."""
    for path in (data / "dog").iterdir():
        draw_photo(5000).save(path)
    dataset = load(data)
    assert count(dataset, dataset.validation) == [5, 5]
    assert not dataset.notes
    assert any("also in train" in line for line in dataset.warnings)


NO_PAIRS = Pairs(*(np.zeros(0, np.int64) for _ in range(4)), np.zeros(0, bool))


def test_uneven_groups_of_several_classes():
    """Nothing is divided, and each class has about its share of each part."""
    for seed in range(20):
        rng, num_images, num_classes = np.random.default_rng(seed), 600, 5
        labels, owners = rng.integers(0, num_classes, num_images), rng.zipf(1.6, num_images) % 150
        names = [f"{row}-{owner}-" for row, owner in enumerate(owners)]
        groups = find_groups(r"-(\d+)-", names, NO_PAIRS)
        source = Source("x", [str(label) for label in range(num_classes)], "", num_images, list)
        parts = np.full(num_images, UNSPLIT, object)
        train, validation, test = draw_split(parts, labels, source, seed, groups)
        assert sorted([*train, *validation, *test]) == list(range(num_images))
        assert not {*owners[train]} & {*owners[validation], *owners[test]}
        assert not {*owners[validation]} & {*owners[test]}
        for rows, share in ((test, 0.15), (validation, 0.17)):
            shares = np.bincount(labels[rows], minlength=num_classes) / np.bincount(labels)
            assert np.abs(shares - share).max() < 0.08
        folds = draw_folds(np.sort(np.concatenate([train, validation])), labels, source, seed, 4, groups)
        assert sorted(np.concatenate(folds)) == sorted([*train, *validation])
        for number, fold in enumerate(folds):
            assert not {*owners[fold]} & {*owners[np.concatenate([*folds[:number], *folds[number + 1 :]])]}


def test_every_image_validates_in_one_fold_of_its_share(data):
    folds = [load(data, fold=f"{number}/4") for number in (1, 2, 3, 4)]
    whole = load(data)
    pool = sorted([*whole.train, *whole.validation])
    assert sorted(np.concatenate([fold.validation for fold in folds])) == pool
    for fold in folds:
        assert sorted([*fold.train, *fold.validation]) == pool
        assert fold.test.tolist() == whole.test.tolist()
        assert set(count(fold, fold.validation)) <= {6, 7}
    assert "cross-validation: fold 2 of 4 validates, the others are trained on" in describe(folds[1])


@pytest.mark.parametrize("fold", ["5/4", "0/4", "2", "1/1", "1/101", "a/b"])
def test_a_fold_that_is_none(data, fold):
    with pytest.raises(UserError, match=f"--fold {fold}: give the number of a fold"):
        load(data, fold=fold)


def test_more_folds_than_groups(data):
    with pytest.raises(UserError, match="photos can be divided into 5 folds at most"):
        load(data, groups=r"(animal\d+)", fold="1/6")
