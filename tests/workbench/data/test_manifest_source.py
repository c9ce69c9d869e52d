"""A CSV file as the data: what it may look like, and the row that is named where it is wrong."""

import collections
import os
import shutil

import pytest

from workbench.config import DataConfig
from workbench.data.config import InspectConfig
from workbench.data.dataset import load_dataset
from workbench.data.description import describe
from workbench.data.inspecting.inspection import inspect
from workbench.data.source import TEST, TRAIN, UNSPLIT, VALIDATION
from workbench.data.sources import open_source
from workbench.data.splits.kept_split import open_kept_split
from workbench.data.splits.saved_split import write_split
from workbench.errors import UserError

SPLIT_ROWS = ["images/a 1.jpg,a,train", "images/a2.jpg,a,test", "images/b1.jpg,b,train", "images/b2.jpg,b,test"]


@pytest.fixture
def write(photo_folder, tmp_path):
    """Function that writes photos.csv from lines or bytes next to images/, which holds a 1.jpg, a2.jpg ... b9.jpg."""
    photos = photo_folder(classes=("a", "b"), train=9, test=None)
    images = tmp_path / "images"
    images.mkdir()
    for label in "ab":
        for number, path in enumerate(sorted((photos / label).iterdir()), 1):
            shutil.copy(path, images / f"{label}{number}.jpg")
    (images / "a1.jpg").rename(images / "a 1.jpg")

    def write_table(*lines, name="photos.csv"):
        data = lines[0] if isinstance(lines[0], bytes) else "\n".join(lines).encode()
        (tmp_path / name).write_bytes(data)
        return str(tmp_path / name)

    return write_table


def contents(source):
    """Return name -> (class name, part)."""
    return {item.name: (source.class_names[item.label], item.part) for item in source.load_items()}


def test_images_labels_and_splits(write, tmp_path):
    source = open_source(write("image,label,split", *SPLIT_ROWS))
    assert source.name == "photos"
    assert source.class_names == ["a", "b"]
    assert source.num_items == 4
    assert contents(source) == {
        os.path.join("images", "a 1.jpg"): ("a", TRAIN),
        os.path.join("images", "a2.jpg"): ("a", TEST),
        os.path.join("images", "b1.jpg"): ("b", TRAIN),
        os.path.join("images", "b2.jpg"): ("b", TEST),
    }
    (last,) = source.load_items(3)
    assert last.read() == (tmp_path / "images" / "b2.jpg").read_bytes()
    assert source.warnings == []


@pytest.mark.parametrize(
    "table",
    [
        b'Label;IMAGE;comment\r\na;images/a2.jpg;"x; y"\r\n\r\nb;images/b2.jpg;\r\n',
        "\ufeffimage,label\na2,wrong\n".replace("a2,wrong", "images/a2.jpg,a\nimages/b2.jpg,b").encode(),
        "image\tlabel\nimages/a2.jpg\ta\nimages/b2.jpg\tb".encode("utf-16"),
        b'image,label\n"images/a2.jpg", a \n./images/../images/b2.jpg,"b"\n',
        b"image,label,split\nimages\\a2.jpg,a,\nimages\\b2.jpg,b,\n",
        b"image,label\rimages/a2.jpg,a\rimages/b2.jpg,b\r",
    ],
    ids=["semicolons", "byte-order mark", "UTF-16 with tabs", "quotes", "backslashes", "carriage returns"],
)
def test_tables_as_spreadsheets_write_them(write, table):
    assert contents(open_source(write(table))) == {
        os.path.join("images", "a2.jpg"): ("a", UNSPLIT),
        os.path.join("images", "b2.jpg"): ("b", UNSPLIT),
    }


def test_commas_quotes_and_other_alphabets_in_cells(write, tmp_path):
    (tmp_path / "images" / "a2.jpg").rename(tmp_path / "images" / 'größe, "2".jpg')
    source = open_source(write("image,label", '"images/größe, ""2"".jpg","cat, black"', "images/b2.jpg,犬"))
    assert source.class_names == ["cat, black", "犬"]
    assert source.load_items()[0].read()


def test_val_next_to_test_is_the_validation_set(write):
    source = open_source(write("image,label,split", *SPLIT_ROWS, "images/a3.jpg,a,val", "images/b3.jpg,b,Validation"))
    assert collections.Counter(part for _, part in contents(source).values()) == {TRAIN: 2, TEST: 2, VALIDATION: 2}


def test_val_without_test_is_the_test_set_as_in_folders(write):
    source = open_source(write("image,label,split", *(row.replace("test", "val") for row in SPLIT_ROWS)))
    assert collections.Counter(part for _, part in contents(source).values()) == {TRAIN: 2, TEST: 2}
    assert source.warnings == ["the validation images of photos.csv are for testing, because it lists no test images"]


def test_training_rows_alone_are_split_as_a_folder_without_splits(write):
    path = write("image,label,split", *(row.replace("test", "train") for row in SPLIT_ROWS))
    assert {part for _, part in contents(open_source(path)).values()} == {UNSPLIT}


def test_absolute_paths_and_folders_above(write, tmp_path):
    (tmp_path / "tables").mkdir()
    path = write(
        "image,label",
        f"{tmp_path}/images/a2.jpg,a",
        "../images/b2.jpg,b",
        name="tables/photos.tsv",
    )
    assert [bool(item.read()) for item in open_source(path).load_items()] == [True, True]


def refuse(path):
    with pytest.raises(UserError) as error:
        open_source(path)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["file,label", "x.jpg,a"], "row 1: the column 'image' is missing, there is 'file', 'label'; the first row"),
        (["image;class", "x.jpg;a"], "row 1: the column 'label' is missing, there is 'image', 'class'"),
        (["images/a2.jpg,a"], "row 1: the column 'image' is missing, there is 'images/a2.jpg', 'a'"),
        (["image,label,Image"], "row 1: has more than one column 'image'"),
        (["image,label", "", "images/a2.jpg,a", "gone.jpg,b"], "row 4: there is no file 'gone.jpg' in "),
        (["image,label", "images,a"], "row 2: 'images' is not a file"),
        (["image,label,split", SPLIT_ROWS[0], "images/b1.jpg,b,dev"], "row 3: unknown split 'dev'; write train, val"),
        (["image,label", "images/a2.jpg,a", "images/b2.jpg, "], "row 3: the label is empty"),
        (["image,label", "images/a2.jpg"], "row 2: the label is empty"),
        (["image,label", ",a"], "row 2: the image is empty"),
        (["image,label", "images/a2.jpg,a", "images/b2.jpg,b", "./images/a2.jpg,a"], "row 4: repeats 'images/a2.jpg'"),
        (
            ["image,label", "images/a2.jpg,a", "images/a2.jpg,b"],
            "row 3: labels 'images/a2.jpg' as 'b', but row 2 as 'a'",
        ),
        (["image,label,split", *SPLIT_ROWS, "images/a2.jpg,a,train"], "row 6: puts 'images/a2.jpg' into another split"),
        (["image,label,split", *SPLIT_ROWS, "images/a3.jpg,a,"], "row 6: the split is empty, but row 2 has one"),
        (["image,label,split", *SPLIT_ROWS, "images/a3.jpg,c,test"], "row 6: the label 'c' has no training images"),
        (["image,label", "images/a2.jpg,a"], "has the label 'a' only, and two classes are needed"),
        (["image,label"], "lists no images"),
        ([""], "lists no images"),
        (["image,label", "images/a2.jpg,a", "images/b, 2.jpg,b"], "row 3: has 3 cells and the heading 2; write a cell"),
        (["image,label", 'images/a2.jpg,"a'], "row 2: unexpected end of data; is a quotation mark missing?"),
        (["image,label", 'images/a2.jpg,"a"b'], "row 2: ',' expected after '\"'; is a quotation mark missing?"),
        ([b"image,label\nimages/a2.jpg,a\nimages/b2.jpg,caf" + b"\xe9"], "row 3: is not text in UTF-8; save"),
        (["image,label", "images/a\0.jpg,a"], "row 2: there is no file"),
    ],
)
def test_what_is_wrong_is_named_with_its_row(write, lines, says):
    path = write(*lines)
    message = refuse(path)
    assert message.startswith(f"{path}: ")
    assert says in message


def test_no_such_table_and_other_files(write, tmp_path):
    assert "no such file; give a folder" in refuse(str(tmp_path / "none.csv"))
    (tmp_path / "photos.xlsx").write_bytes(b"PK\3\4")
    assert "or a CSV file with the columns image,label" in refuse(str(tmp_path / "photos.xlsx"))


def test_key_follows_the_content(write, tmp_path):
    keys = [open_source(write("image,label,split", *rows)).key for rows in (SPLIT_ROWS, SPLIT_ROWS[::-1], SPLIT_ROWS)]
    assert keys[0] == keys[2] != keys[1]
    image = tmp_path / "images" / "b2.jpg"
    image.write_bytes(image.read_bytes() + b"\0")
    assert open_source(write("image,label,split", *SPLIT_ROWS)).key != keys[0]


@pytest.mark.usefixtures("workdir")
def test_inspection_finds_a_leak_and_training_leaves_it_out(write, tmp_path):
    shutil.copy(tmp_path / "images" / "a 1.jpg", tmp_path / "images" / "a9.jpg")
    extra = ["images/a9.jpg,a,test", "images/a3.jpg,a,train", "images/b3.jpg,b,train"]
    path = write("image,label,split", *SPLIT_ROWS, *extra)
    findings = inspect(InspectConfig(path, fix_splits=True))
    assert findings.count_images().sum() == 6
    assert findings.page.name == "inspect-photos.html"
    dataset = load_dataset(DataConfig(path, image_size=16), seed=0)
    assert dataset.left_out == [os.path.join("images", "a9.jpg")]
    assert describe(dataset)[0].startswith("photos: 2 training, 2 validation, 2 test images of 2 classes, 16 px")
    assert (tmp_path / "photos-left_out.csv").is_file()


def test_the_split_is_drawn_as_for_a_folder(write):
    rows = [
        f"images/{'a 1' if label == 'a' and n == 1 else f'{label}{n}'}.jpg,{label}"
        for label in "ab"
        for n in range(1, 10)
    ]
    dataset = load_dataset(DataConfig(write("image,label", *rows), image_size=16), seed=0)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (12, 4, 2)


def test_the_list_of_images_to_leave_out_is_called_like_the_table(write, tmp_path):
    data = DataConfig(
        write("image,label", *(f"images/{c}{n}.jpg,{c}" for c in "ab" for n in range(2, 10))), image_size=16
    )
    before = load_dataset(data, seed=0)
    write_split(tmp_path, before.split)
    (tmp_path / "photos-left_out.csv").write_text(f"image\n{before.names[before.test[0]]}\n")
    dataset = load_dataset(data, seed=0, kept=open_kept_split(tmp_path, "look"))
    assert describe(dataset)[0].endswith("; 1 left out (photos-left_out.csv)")
    assert "1 test image is left out by photos-left_out.csv" in dataset.changes[0]
