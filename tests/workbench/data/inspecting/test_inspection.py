"""`python -m workbench.data inspect`: what it counts, finds and lists, its page, and the splits it fixes."""

import html
import io
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from workbench.config import DataConfig
from workbench.data import exclusions
from workbench.data.config import InspectConfig, Nature12kConfig
from workbench.data.dataset import load_dataset
from workbench.data.exclusions import EXCLUSIONS_FILE, read_exclusions
from workbench.data.inspecting import scan as scan_module
from workbench.data.inspecting.inspection import inspect
from workbench.errors import UserError
from workbench.reporting import inspection_page as page_module

pytestmark = pytest.mark.usefixtures("workdir")


def photo(seed, width=96, height=72):
    pixels = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def root(tmp_path):
    """Two classes, 6 train and 3 test photos each, all different."""
    folder = tmp_path / "pets"
    for label, name in enumerate(("cat", "dog")):
        for part, count in (("train", 6), ("test", 3)):
            (folder / part / name).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                photo(100 * label + 10 * count + number).save(folder / part / name / f"{number}.jpg", quality=90)
    return folder


def run(root, capsys=None, **options):
    findings = inspect(InspectConfig(data=str(root), **options))
    if capsys is None:
        return findings
    return findings, capsys.readouterr().out, findings.page.read_text()


def used_names(root):
    dataset = load_dataset(DataConfig(data=str(root), image_size=16), seed=0)
    return {dataset.names[row] for part in (dataset.train, dataset.validation, dataset.test) for row in part}


def test_a_data_set_with_nothing_wrong(root, capsys):
    findings, printed, page = run(root, capsys)
    assert findings.count_images().tolist() == [[6, 0, 0, 3], [6, 0, 0, 3]]
    assert re.search(r"cat +6 +3", printed)
    assert re.search(r"in all +12 +6", printed)
    assert "sizes: all 96 x 72 pixels" in printed
    assert "every one is a readable image" in printed
    assert "0 pairs of identical files, 0 of similar images" in printed
    assert "LEAK" not in printed + page
    assert "fix-splits" not in printed
    assert page.count("<img") == 18
    assert str(findings.page) == "inspect-pets.html"


def test_links_to_folders_are_named(root, capsys):
    (root / "train" / "cat" / "up").symlink_to(root)
    findings, printed, page = run(root, capsys)
    assert findings.count_images().tolist() == [[6, 0, 0, 3], [6, 0, 0, 3]]
    for text in (printed, page):
        assert "train/cat/up is a link to a folder and is not followed" in text


def test_sizes_are_those_of_the_upright_images(root, capsys):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(1, 400, 100).save(root / "train" / "cat" / "0.jpg", exif=exif)
    findings, printed, _ = run(root, capsys)
    assert [100, 400] in findings.scan.sizes.tolist()
    assert "short side 72 to 100 pixels (median 72), long side up to 400; most often 96 x 72 (17 images)" in printed


def test_every_file_is_used_or_listed(root, capsys):
    (root / "train" / "cat" / "torn.jpg").write_bytes(b"\xff\xd8\xff torn")
    (root / "test" / "dog" / "empty.png").write_bytes(b"")
    (root / "test" / "dog" / "notes.txt").write_text("in May")
    (root / "test" / "dog" / "photo.txt").write_bytes((root / "test" / "dog" / "0.jpg").read_bytes() + b"\0")
    findings, printed, page = run(root, capsys)
    assert "19 readable images, 2 unreadable (such as train/cat/torn.jpg: the header of the JPEG is damaged)" in printed
    assert "1 that is no image (such as test/dog/notes.txt)" in printed
    assert {name for name, _ in findings.scan.unreadable} == {"train/cat/torn.jpg", "test/dog/empty.png"}
    for name in ("train/cat/torn.jpg", "the file is empty", "test/dog/notes.txt"):
        assert name in page
    assert "test/dog/photo.txt" in findings.scan.names


def leaking(root):
    """Three leaks: a copy, a small mirrored copy in the other class, and one that only a test image repeats."""
    train, test = root / "train", root / "test"
    shutil.copy(train / "cat" / "0.jpg", test / "cat" / "copy.jpg")
    mirrored = Image.open(train / "cat" / "1.jpg").transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((64, 48))
    mirrored.save(test / "dog" / "mirrored.jpg", quality=70)
    Image.open(test / "dog" / "0.jpg").save(test / "dog" / "again.png")
    return root


def test_leaks_are_named_with_their_pairs(root, capsys):
    root = root.rename(root.with_name("my pets"))
    findings, printed, page = run(leaking(root), capsys)
    names = findings.scan.names
    repeated = {names[row]: names[twin] for row, twin in findings.repeats.items()}
    assert repeated == {"test/cat/copy.jpg": "train/cat/0.jpg", "test/dog/mirrored.jpg": "train/cat/1.jpg"}
    assert "LEAK: 2 of 9 test images are also in train, such as test/cat/copy.jpg (train/cat/0.jpg)" in printed
    assert "1 pair of identical files, 2 of similar images" in printed
    assert "1 of these pairs is in two classes, such as train/cat/1.jpg and test/dog/mirrored.jpg" in printed
    assert f"inspect '{root}' --fix-splits" in printed
    assert page.count("across splits</span>") == 2
    assert page.count("two classes</span>") == 1
    assert "mirrored" in page


def test_large_sets_are_scanned_in_chunks(root, monkeypatch):
    whole = run(leaking(root))
    monkeypatch.setattr(scan_module, "_CHUNK", 4)
    pieces = run(root)
    assert pieces.repeats == whole.repeats
    assert pieces.scan.names == whole.scan.names
    np.testing.assert_array_equal(pieces.scan.pairs.distance, whole.scan.pairs.distance)


def test_fix_splits_lists_what_leaks_and_training_leaves_it_out(root, capsys):
    files = {path: path.read_bytes() for path in leaking(root).rglob("*.*")}
    before = used_names(root)
    (root / EXCLUSIONS_FILE).write_text("image,reason\ntest/cat/2.jpg,blurred\n")
    findings, printed, page = run(root, capsys, fix_splits=True)
    assert findings.added == 2
    assert read_exclusions(root / EXCLUSIONS_FILE) == {
        "test/cat/2.jpg": "blurred",
        "test/cat/copy.jpg": "also train/cat/0.jpg",
        "test/dog/mirrored.jpg": "also train/cat/1.jpg",
    }
    assert "training leaves them out from now on" in printed
    assert "also train/cat/1.jpg" in page
    assert {path: path.read_bytes() for path in files} == files, "no image is touched"
    dropped = {"test/cat/2.jpg", "test/cat/copy.jpg", "test/dog/mirrored.jpg"}
    assert used_names(root) == before - dropped
    findings, printed, _ = run(root, capsys, fix_splits=True)
    assert findings.added == 0
    assert "LEAK" not in printed
    assert f"left out by {root / EXCLUSIONS_FILE}: 3 images" in printed
    assert findings.count_images().tolist() == [[6, 0, 0, 2], [6, 0, 0, 4]]


def test_of_many_classes_the_largest_and_smallest_are_shown(tmp_path, capsys):
    for number in range(60):
        folder = tmp_path / "many" / f"class-{number:02d}"
        folder.mkdir(parents=True)
        for copy in range(3 if number == 45 else 1 if number == 50 else 2):
            photo(100 * number + copy).save(folder / f"{copy}.jpg")
    _, printed, page = run(tmp_path / "many", capsys)
    lines = [line.split() for line in printed.splitlines() if line.startswith(("class-", "..."))]
    assert lines[0] == ["class-45", "3"]
    assert lines[20] == ["...", "20", "more"]
    assert lines[-1] == ["class-50", "1"]
    assert len(lines) == 41
    assert all(f"<td>class-{number:02d}</td>" in page for number in range(60))


def test_nothing_to_fix_writes_nothing(root):
    run(root, fix_splits=True)
    assert not (root / EXCLUSIONS_FILE).exists()


def test_a_test_set_that_is_the_training_set_is_not_emptied(root):
    shutil.rmtree(root / "test")
    shutil.copytree(root / "train", root / "test")
    with pytest.raises(UserError, match="every test image of pets is also in the training set; nothing was listed"):
        run(root, fix_splits=True)
    assert not (root / EXCLUSIONS_FILE).exists()


def test_validation_and_test_repeat_earlier_parts(root):
    shutil.copytree(root / "test", root / "val")
    photo(7).save(root / "val" / "cat" / "own.jpg")
    (root / "test" / "cat" / "0.jpg").unlink()
    findings = run(root)
    repeated = {findings.scan.names[row]: findings.scan.names[twin] for row, twin in findings.repeats.items()}
    assert len(repeated) == 5
    assert all(name.startswith("test/") and twin.startswith("val/") for name, twin in repeated.items())


def test_without_a_split_all_but_one_of_a_photo_are_left_out(root, capsys):
    flat = root / "train"
    for name in ("a.jpg", "b.jpg"):
        shutil.copy(flat / "cat" / "0.jpg", flat / "cat" / name)
    Image.open(flat / "cat" / "0.jpg").resize((80, 60)).save(flat / "dog" / "small.png")
    findings, printed, _ = run(flat, capsys, fix_splits=True)
    assert "3 images repeat an earlier one" in printed
    assert len(used_names(flat)) == 12
    assert findings.added == 3
    assert "cat/0.jpg" in used_names(flat)


def test_lines_that_name_no_image_are_counted(root, capsys):
    (root / EXCLUSIONS_FILE).write_text("image,reason\ntest/cat/gone.jpg,\n")
    _, printed, _ = run(root, capsys)
    assert "1 image; 1 of them does not exist" in printed


def test_it_compares_the_squares_that_training_sees(root):
    """The margins that are cut off do not count."""
    noise = np.random.default_rng(0).integers(0, 256, (72, 144, 3), np.uint8)
    wide = Image.fromarray(noise)
    wide.paste(Image.open(root / "train" / "cat" / "0.jpg"), (24, 0))
    wide.save(root / "test" / "cat" / "wide.png")
    findings = run(root)
    assert [findings.scan.names[row] for row in findings.repeats] == ["test/cat/wide.png"]
    (line,) = load_dataset(DataConfig(data=str(root), image_size=48), seed=0).warnings
    assert "such as test/cat/wide.png (train/cat/0.jpg)" in line


def test_digits_have_no_folder_to_list_in(capsys):
    _, printed, page = run("digits", capsys, fix_splits=True)
    assert "all 8 x 8 pixels" in printed
    assert "LEAK" not in page


def test_a_data_set_in_which_nothing_is_readable(root, capsys):
    for image in root.rglob("*.jpg"):
        image.write_bytes(b"\xff\xd8\xff")
    findings, printed, _ = run(root, capsys)
    assert len(findings.scan.unreadable) == 18
    assert "no readable image" in printed


def test_names_are_escaped_on_the_page_and_on_the_screen(root, capsys):
    name = "[red]<script>alert(1)"
    (root / "train" / "cat").rename(root / "train" / name)
    (root / "test" / "cat").rename(root / "test" / name)
    (root / "test" / name / "[bold]x.jpg").write_bytes(b"")
    _, printed, page = run(root, capsys)
    assert "[red]<script>" in printed
    assert "[bold]x.jpg" in printed
    assert "<script>" not in page
    assert html.escape("[red]<script>") in page


def test_very_many_pairs_are_counted_and_some_of_them_listed(root, monkeypatch):
    monkeypatch.setattr(page_module, "MAX_LISTED", 2)
    monkeypatch.setattr(page_module, "MAX_PAIRS", 1)
    for number in range(4):
        shutil.copy(root / "train" / "cat" / "0.jpg", root / "test" / "cat" / f"copy-{number}.jpg")
    page = run(root).page.read_text()
    assert "4 pairs; 1 are shown" in page
    assert "Pairs of the same photo (4, the first 2)" in page
    assert "Images that repeat an earlier one (4, the first 2)" in page
    assert page.count("across splits</span>") == 1


def test_the_page_needs_no_other_file(root, tmp_path):
    (tmp_path / "pages").mkdir()
    page = run(root, page=str(tmp_path / "pages" / "x.html")).page.read_text()
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    assert "<html" in page
    with pytest.raises(UserError, match=r"the folder .* does not exist"):
        run(root, page=str(tmp_path / "nowhere" / "x.html"))


def test_pictures_are_small_and_keep_their_shape(root):
    photo(3, 800, 200).save(root / "train" / "cat" / "0.jpg")
    page = run(root).page.read_text()
    assert 'width="112" height="28"' in page
    assert len(page) < 200_000


def test_a_list_that_cannot_be_written_is_an_error(root, monkeypatch):
    def read_only(path, reasons):
        raise PermissionError(13, "Permission denied", "/tmp/x")

    monkeypatch.setattr(exclusions, "write_exclusions", read_only)
    with pytest.raises(UserError, match=r"left_out\.csv: Permission denied"):
        run(leaking(root), fix_splits=True)


def test_tensorflow_data_sets_have_an_exclusion_list_too(tmp_path, monkeypatch, root, capsys):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    from workbench.data.nature_12k import CLASS_NAMES, prepare

    for part, count in (("train", 3), ("val", 2)):
        for label, name in enumerate(CLASS_NAMES):
            folder = tmp_path / "copy" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                buffer = io.BytesIO()
                photo(1000 * label + 10 * count + number).save(buffer, "JPEG")
                (folder / f"{number}.jpg").write_bytes(buffer.getvalue())
    shutil.copy(tmp_path / "copy" / "train" / "Aves" / "1.jpg", tmp_path / "copy" / "val" / "Fungi" / "x.jpg")
    prepare(Nature12kConfig(folder=str(tmp_path / "copy")))
    findings, printed, page = run("nature_12k", capsys, fix_splits=True)
    assert "LEAK: 1 of 21 test images is also in train, such as test/Fungi/x.jpg (train/Aves/1.jpg)" in printed
    assert page.count("<img") == 51 + 2
    dataset = load_dataset(DataConfig(data="nature_12k", image_size=16), seed=0)
    assert len(dataset.test) == 20
    assert dataset.left_out == ["test/Fungi/x.jpg"]
    assert findings.added == 1
