"""TensorFlow Datasets as sources, shown with small sets that the tests define and prepare."""

import numpy as np
import pytest

from workbench.config import DataConfig
from workbench.data import tfds_source
from workbench.data.dataset import load_dataset
from workbench.data.source import TEST, TRAIN, UNSPLIT, VALIDATION
from workbench.data.sources import open_source
from workbench.errors import UserError

tfds = pytest.importorskip("tensorflow_datasets")


@pytest.fixture(autouse=True)
def data_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))


class _Tiny(tfds.core.GeneratorBasedBuilder):
    """A set with `SPLITS` (names and images a class) of `IMAGE` features, `make_image` as the image."""

    VERSION = tfds.core.Version("1.2.0")
    SPLITS = (("train", 10), ("test", 4))
    IMAGE = tfds.features.Image(shape=(None, None, 3))
    LABEL = tfds.features.ClassLabel(names=["ash", "birch", "cedar"])
    skip_registration = True

    def _info(self):
        features = {"image": self.IMAGE, "label": self.LABEL, **self.more_features()}
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {split: self._examples(split, count) for split, count in self.SPLITS}

    def _generate_examples(self):
        raise NotImplementedError

    def _examples(self, split, count):
        for number in range(count):
            for label in range(3):
                key = f"{split}-{label}-{number}"
                yield key, {"image": self.make_image(label, number), "label": label, **self.more_values(key)}

    def make_image(self, label, number):
        return np.full((20, 24, 3), 80 * label + number, np.uint8)

    def more_features(self):
        return {}

    def more_values(self, key):
        return {}


class TinyTrees(_Tiny):
    """Train and test, with file names."""

    def more_features(self):
        return {"file_name": tfds.features.Text()}

    def more_values(self, key):
        return {"file_name": f"{key}.png"}


class TinyEqualNames(_Tiny):
    """The file names of a class are those of the other classes, as in Caltech-101."""

    def more_features(self):
        return {"image/file_name": tfds.features.Text()}

    def more_values(self, key):
        return {"image/file_name": f"image_{key.rpartition('-')[2]}.jpg"}


class TinyTrainOnly(_Tiny):
    """No test split."""

    SPLITS = (("train", 10),)


class TinyThreeSplits(_Tiny):
    SPLITS = (("test", 2), ("train", 6), ("validation", 3), ("unlabelled", 5))


class TinyValidationOnly(_Tiny):
    SPLITS = (("train", 6), ("validation", 3))


class TinyHiddenTest(_Tiny):
    """The test split's labels are withheld."""

    SPLITS = (("train", 6), ("validation", 3), ("test", 2))

    def _examples(self, split, count):
        for key, example in super()._examples(split, count):
            yield key, {**example, "label": -1} if split == "test" else example


class TinySingle(_Tiny):
    """One example a class."""

    SPLITS = (("train", 1), ("test", 1))


class TinyGrey(_Tiny):
    IMAGE = tfds.features.Image(shape=(None, None, 1))

    def make_image(self, label, number):
        return np.full((20, 24, 1), 80 * label + number, np.uint8)


class TinySixteenBit(_Tiny):
    IMAGE = tfds.features.Image(shape=(None, None, 1), dtype=np.uint16)

    def make_image(self, label, number):
        return np.full((20, 24, 1), 257 * (80 * label + number), np.uint16)


class TinyDeepColour(_Tiny):
    IMAGE = tfds.features.Image(shape=(None, None, 3), dtype=np.uint16)

    def make_image(self, label, number):
        return np.full((20, 24, 3), 257 * (80 * label + number), np.uint16)


class TinyAlpha(_Tiny):
    IMAGE = tfds.features.Image(shape=(None, None, 4))

    def make_image(self, label, number):
        return np.dstack([super().make_image(label, number), np.full((20, 24), 255, np.uint8)])


class TinyOddSizes(_Tiny):
    """Images of one pixel, and huge ones."""

    def make_image(self, label, number):
        shape = (1, 1, 3) if number % 2 else (3000, 2000, 3)
        return np.full(shape, 80 * label + number, np.uint8)

    SPLITS = (("train", 2), ("test", 1))


class TinyFloat(_Tiny):
    IMAGE = tfds.features.Image(shape=(4, 4, 1), dtype=np.float32)

    def make_image(self, label, number):
        return np.full((4, 4, 1), 0.5, np.float32)


class TinyBoxes(_Tiny):
    """Two labels and no word on which one is meant."""

    def more_features(self):
        return {"other": tfds.features.ClassLabel(num_classes=4)}

    def more_values(self, key):
        return {"other": 0}


class TinyOddSplits(_Tiny):
    SPLITS = (("first", 2), ("second", 2))


class TinyBroken(_Tiny):
    """Cannot be prepared."""

    def _split_generators(self, dl_manager):
        raise ConnectionError("no route to host\nand more")


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """The sets above are found by name, in these tests alone."""
    from tensorflow_datasets.core import registered

    for builder in _Tiny.__subclasses__():
        monkeypatch.setitem(registered._DATASET_REGISTRY, builder.name, builder)


@pytest.mark.parametrize("spec", ["tfds:no_such_set", "nature_12k"])
def test_tensorflow_is_loaded_before_tensorflow_datasets_can_start_it(tmp_path, monkeypatch, spec):
    """Otherwise it takes the whole memory of a GPU. Neither set can be opened, so loading must come first."""

    class LoadedError(Exception):
        pass

    def load_tensorflow():
        raise LoadedError

    folder = tmp_path / "tfds" / "nature_12k" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").touch()
    monkeypatch.setattr(tfds_source, "load_tensorflow", load_tensorflow)
    with pytest.raises(LoadedError):
        open_source(spec)


def load(name, **options):
    return load_dataset(DataConfig(data=f"tfds:{name}", **{"image_size": 8, **options}), seed=0)


def assert_shades(dataset, tolerance=0):
    """Each image has the shade of its label, and every label its name."""
    assert dataset.class_names == ["ash", "birch", "cedar"]
    shades = dataset.images.mean((1, 2, 3))
    assert (np.abs(shades - 80 * dataset.labels) <= 10 + tolerance).all()
    assert dataset.unreadable == []


def test_train_and_test_splits():
    dataset = load("tiny_trees")
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (24, 6, 12)
    assert_shades(dataset)
    assert dataset.name == "tiny_trees"
    assert all(dataset.names[row].startswith("test/test-") for row in dataset.test)
    assert len(set(dataset.names)) == 42


def test_versions():
    assert len(load("tiny_trees:1.2.0").labels) == 42
    with pytest.raises(UserError, match=r"--data tfds:tiny_trees:7\.0\.0: .*1\.2\.0"):
        load("tiny_trees:7.0.0")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("tiny_train_only", {UNSPLIT: 30}),
        ("tiny_three_splits", {TRAIN: 18, VALIDATION: 9, TEST: 6}),
        ("tiny_validation_only", {TRAIN: 18, TEST: 9}),
        ("tiny_hidden_test", {TRAIN: 18, TEST: 9}),
    ],
)
def test_parts(name, parts):
    source = open_source(f"tfds:{name}")
    items = list(source.load_items())
    assert {part: sum(item.part == part for item in items) for part in parts} == parts
    assert len(items) == sum(parts.values()) == source.num_items


@pytest.mark.parametrize(("name", "count"), [("tiny_three_splits", 33), ("tiny_equal_names", 42)])
def test_items_from_any_number_on_are_the_same(name, count):
    source = open_source(f"tfds:{name}")
    items = [(item.name, item.label) for item in source.load_items()]
    assert len({name for name, _ in items}) == count
    for start in (0, 5, 18, 20, 32, 33, count):
        assert [(item.name, item.label) for item in source.load_items(start)] == items[start:]


def test_file_names_that_repeat_get_the_number_of_the_image():
    dataset = load("tiny_equal_names")
    assert_shades(dataset)
    for split, count in (("train", 10), ("test", 4)):
        names = [name for name in dataset.names if name.startswith(split)]
        file_names = [f"image_{number}.jpg" for number in range(count)]
        assert sorted(name.rpartition("/")[2] for name in names) == sorted(3 * file_names)
        assert {name for name in names if name.startswith(f"{split}/")} == {f"{split}/{name}" for name in file_names}
        numbers = [int(name.partition("/")[0].removeprefix(f"{split}-")) for name in names if "-" in name]
        assert numbers == [row for row, name in enumerate(names) if "-" in name]
        assert len(numbers) == 2 * count


@pytest.mark.parametrize("name", ["tiny_grey", "tiny_sixteen_bit", "tiny_deep_colour", "tiny_alpha", "tiny_odd_sizes"])
def test_odd_images(name):
    assert_shades(load(name))


def test_a_download_is_announced(capsys, tmp_path):
    load("tiny_trees")
    folder = tmp_path / "tfds" / "tiny_trees" / "1.2.0"
    printed = f"tiny_trees: TensorFlow Datasets downloads and prepares it in {folder}"
    assert printed in capsys.readouterr().out
    load("tiny_trees")
    assert "downloads" not in capsys.readouterr().out


def test_decoded_once():
    assert load("tiny_trees").decode_seconds > 0
    assert load("tiny_trees").decode_seconds == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tiny_single", "class 'ash' of tiny_single has 1 readable training image"),
        ("tiny_float", "hold float32 values"),
        ("tiny_boxes", "2 class label features"),
        ("tiny_odd_splits", "no split named train, but first, second"),
        ("tiny_broken", "cannot be downloaded and prepared: no route to host"),
        ("tiny_treees", "did you mean tfds:tiny_trees"),
        ("no_such_thing_at_all", "no such set"),
        ("", "Parsing builder name string"),
        ("../..", ""),
    ],
)
def test_refused_in_one_line(name, message):
    with pytest.raises(UserError) as error:
        load(name)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert f"tfds:{name}" in str(error.value) or "tiny_single" in str(error.value)
