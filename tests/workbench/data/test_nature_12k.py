"""Preparing nature_12k, tested with a small archive of the same layout from a local server."""

import hashlib
import io
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from tests.workbench.data.file_server import serving
from workbench.config import DataConfig
from workbench.data import download as download_module
from workbench.data import nature_12k as nature_module
from workbench.data.config import Nature12kConfig
from workbench.data.dataset import load_dataset
from workbench.data.nature_12k import CLASS_NAMES, find_images_root, prepare
from workbench.data.sources import open_source
from workbench.errors import UserError
from workbench.files import read_json

TRAIN, TEST = 3, 2  # images a class


@pytest.fixture(autouse=True)
def data_dir(tmp_path, monkeypatch):
    folder = tmp_path / "tfds"
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
    monkeypatch.setattr(download_module, "PAUSE", 0.0)
    monkeypatch.setattr(nature_module, "ARCHIVE_BYTES", 100_000)
    return folder


def photo(label, number):
    buffer = io.BytesIO()
    pixels = np.random.default_rng([label, number]).integers(0, 12, (20, 24, 3)) + 24 * label
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def entries():
    """(name, bytes) of the archive, with other files that such archives contain."""
    yield "__MACOSX/inaturalist_12K/train/._x", b"\0\5\x16\7"
    yield "inaturalist_12K/.DS_Store", b"\0\0\0\1Bud1"
    for part, count in (("train", TRAIN), ("val", TEST)):
        yield f"inaturalist_12K/{part}/.DS_Store", b"\0\0\0\1Bud1"
        for label, name in enumerate(CLASS_NAMES):
            yield f"inaturalist_12K/{part}/{name}/.DS_Store", b"\0\0\0\1Bud1"
            yield f"inaturalist_12K/{part}/{name}/notes.txt", b"in May"
            for number in range(count):
                yield f"inaturalist_12K/{part}/{name}/{number:03d}.jpg", photo(label, number)


def zipped(content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in content:
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def archive():
    return zipped(entries())


@pytest.fixture
def server(archive):
    with serving(archive) as running:
        yield running


@pytest.fixture
def folder(archive, tmp_path):
    zipfile.ZipFile(io.BytesIO(archive)).extractall(tmp_path / "copy")
    return tmp_path / "copy"


def assert_prepared():
    source = open_source("nature_12k")
    assert source.class_names == list(CLASS_NAMES)
    assert source.num_items == 10 * (TRAIN + TEST)
    dataset = load_dataset(DataConfig(data="nature_12k", image_size=8), seed=0)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (20, 10, 20)
    assert dataset.unreadable == []
    np.testing.assert_allclose(dataset.images.mean((1, 2, 3)), 24 * dataset.labels + 6, atol=4)
    assert all(dataset.names[row].startswith("test/") for row in dataset.test)


def refused(config=None, **kwargs):
    with pytest.raises(UserError) as error:
        prepare(config or Nature12kConfig(), **kwargs)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_downloaded(server, data_dir, capsys):
    server.moods = ["break 20000", "ignore range", "break 30000"]
    path = prepare(Nature12kConfig(), server.url)
    assert path == data_dir / "nature_12k" / "1.0.0"
    assert_prepared()
    printed, chatter = capsys.readouterr()
    assert chatter == ""
    assert "Unknown size" not in printed
    assert printed.index("0.0 GB from http") < printed.index("30 training and 20 test images")
    assert "reference project's copy has 9,999 and 2,000" in printed
    assert not (data_dir / "downloads" / "nature_12k").exists()
    sent = server.sent
    prepare(Nature12kConfig(), server.url)
    assert "already prepared" in capsys.readouterr().out
    assert server.sent == sent


def test_a_copy_of_the_archive(archive, tmp_path):
    mine = tmp_path / "mine.zip"
    mine.write_bytes(archive)
    prepare(Nature12kConfig(archive=str(mine)))
    assert_prepared()
    assert mine.read_bytes() == archive


@pytest.mark.parametrize("below", [".", "inaturalist_12K"])
def test_an_unpacked_copy(folder, below):
    before = sorted(folder.rglob("*"))
    prepare(Nature12kConfig(folder=str(folder / below)))
    assert_prepared()
    assert sorted(folder.rglob("*")) == before


def test_an_unreadable_photo_is_kept_for_the_count(folder):
    (folder / "inaturalist_12K" / "val" / "Aves" / "000.jpg").write_bytes(b"\xff\xd8\xff torn")
    prepare(Nature12kConfig(folder=str(folder)))
    dataset = load_dataset(DataConfig(data="nature_12k", image_size=8, max_unreadable=0.1), seed=0)
    assert [name for name, _ in dataset.unreadable] == ["test/Aves/000.jpg"]


def test_a_damaged_archive_is_deleted_and_downloaded_again(server, archive):
    server.data = archive[:20000] + b"?" * 2000 + archive[22000:]
    message = refused(url=server.url)
    assert "not a complete zip archive" in message
    assert "the same command downloads it again" in message
    server.data = archive
    prepare(Nature12kConfig(), server.url)
    assert_prepared()


def test_a_later_download_must_have_the_known_checksum(server, archive, data_dir, cache, capsys):
    prepare(Nature12kConfig(), server.url)
    known = read_json(cache / "image-workbench" / "checksums.json")
    assert known == {server.url: {"size": len(archive), "sha256": hashlib.sha256(archive).hexdigest()}}
    shutil.rmtree(data_dir)
    server.data = zipped([*entries(), ("inaturalist_12K/train/Aves/new.jpg", photo(3, 9))])
    assert "are right" in refused(url=server.url)
    server.data = archive[:-1] + b"?"
    assert "SHA-256 is not the known one" in refused(url=server.url)
    server.data = archive
    prepare(Nature12kConfig(), server.url)
    assert_prepared()


def test_errors_name_what_is_missing(tmp_path, folder):
    assert "one of them" in refused(Nature12kConfig(archive="a", folder="b"))
    assert "no such file" in refused(Nature12kConfig(archive=str(tmp_path / "nowhere.zip")))
    assert "train/ and val/" in refused(Nature12kConfig(folder=str(tmp_path / "nowhere")))
    shutil.rmtree(folder / "inaturalist_12K" / "val" / "Fungi")
    assert "class folder Fungi" in refused(Nature12kConfig(folder=str(folder)))
    with pytest.raises(UserError, match=r"--data nature_12k: not prepared yet.*python -m workbench.data nature_12k"):
        open_source("nature_12k")


def test_another_archive_than_nature_12k(tmp_path):
    mine = tmp_path / "mine.zip"
    mine.write_bytes(zipped([("photos/cat/1.jpg", photo(0, 0))]))
    assert "train/ and val/" in refused(Nature12kConfig(archive=str(mine)))
    assert mine.exists()


def test_too_little_space_is_an_error_before_the_download(server, monkeypatch):
    monkeypatch.setattr(nature_module, "ARCHIVE_BYTES", 10**18)
    message = refused(url=server.url)
    assert "3000000000.0 GB" in message
    assert "TFDS_DATA_DIR" in message
    assert server.ranges == []


def test_the_files_of_a_killed_process_are_deleted(folder, data_dir):
    left = data_dir / "nature_12k" / "incomplete.JLIP13_1.0.0"
    left.mkdir(parents=True)
    (left / "x.tfrecord").write_bytes(b"torn")
    prepare(Nature12kConfig(folder=str(folder)))
    assert not left.exists()
    assert_prepared()


def test_the_images_root_may_be_a_folder_below(folder):
    assert find_images_root(folder) == folder / "inaturalist_12K"
