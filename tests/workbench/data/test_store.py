"""The decode-once store: made once, checked when it is opened, resumed, shared between processes."""

import dataclasses
import errno
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests import processes
from workbench.cache import find_cache_dir
from workbench.data import resumable_array
from workbench.data.decoding import decode
from workbench.data.sources import open_source
from workbench.data.store import open_store
from workbench.errors import UserError
from workbench.files import read_json


def counted(source, reads):
    """`source`, with the name of each item that is read added to `reads`."""

    def load_items(start=0):
        def reader(item):
            def read():
                reads.append(item.name)
                return item.read()

            return read

        return [dataclasses.replace(item, read=reader(item)) for item in source.load_items(start)]

    return dataclasses.replace(source, load_items=load_items)


@pytest.fixture
def source(photo_folder):
    return open_source(str(photo_folder(train=10, test=4)))


@pytest.fixture
def store_folder(source, cache):
    """Where the 16 px store of `source` is, made just now."""
    open_store(source, 16, "crop")
    return next(path for path in (cache / "image-workbench").iterdir() if path.is_dir())


def assert_same(store, other):
    np.testing.assert_array_equal(store.images, other.images)
    np.testing.assert_array_equal(store.labels, other.labels)
    assert (store.names, store.parts, store.unreadable) == (other.names, other.parts, other.unreadable)


def test_every_image_with_its_label_part_and_name(source):
    store = open_store(source, 16, "crop")
    items = source.load_items()
    assert store.images.shape == (42, 16, 16, 3)
    assert store.images.dtype == np.uint8
    assert store.labels.dtype == np.int32
    assert store.names == [item.name for item in items]
    assert store.parts == [item.part for item in items]
    assert list(store.labels) == [item.label for item in items]
    assert store.unreadable == []
    for row in (0, 13, 41):
        np.testing.assert_array_equal(store.images[row], decode(items[row].read(), 16, "crop"))


def test_is_mapped_from_disk_and_cannot_be_written(source):
    images = open_store(source, 16, "crop").images
    assert isinstance(images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0


def test_decodes_once(source):
    reads = []
    first = open_store(counted(source, reads), 16, "crop")
    assert sorted(reads) == sorted(first.names)
    assert first.decode_seconds > 0
    again = open_store(counted(source, reads), 16, "crop")
    assert len(reads) == 42
    assert again.decode_seconds == 0
    assert_same(first, again)


def test_size_and_resize_mode_have_stores_of_their_own(source):
    reads = []
    for size, resize in ((16, "crop"), (16, "stretch"), (16, "pad"), (20, "crop"), (16, "crop")):
        assert open_store(counted(source, reads), size, resize).images.shape[1:3] == (size, size)
    assert len(reads) == 4 * 42


def test_changed_content_is_decoded_again(photo_folder):
    root = photo_folder(train=3, test=1)
    before = open_store(open_source(str(root)), 16, "crop")
    image = root / "train" / "daisy" / "daisy-00.jpg"
    stat = image.stat()
    image.write_bytes((root / "train" / "rose" / "rose-00.jpg").read_bytes())
    os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))
    after = open_store(open_source(str(root)), 16, "crop")
    assert after.decode_seconds > 0
    assert not np.array_equal(before.images[0], after.images[0])
    np.testing.assert_array_equal(before.images[1:], after.images[1:])


def test_unreadable_images_are_listed_and_left_out(photo_folder):
    root = photo_folder(train=3, test=1)
    (root / "train" / "iris" / "iris-01.jpg").write_bytes(b"\xff\xd8\xff\xe0 torn")
    (root / "train" / "rose" / "empty.png").write_bytes(b"")
    (root / "train" / "rose" / "gone.png").symlink_to(root / "nowhere")
    (root / "train" / "rose" / "notes.txt").write_text("no image, not listed")
    store = open_store(open_source(str(root)), 16, "crop")
    reasons = {os.path.basename(name): reason for name, reason in store.unreadable}
    assert set(reasons) == {"iris-01.jpg", "empty.png", "gone.png"}
    assert reasons["empty.png"] == "the file is empty"
    assert reasons["gone.png"] == "No such file or directory"
    assert len(store.names) == len(store.labels) == len(store.images) == 3 * 4 - 1
    assert not any("iris-01" in name or "notes" in name for name in store.names)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "Input/output error"),
        PermissionError(errno.EACCES, "Permission denied"),
        FileNotFoundError(errno.ENOENT, "No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_read_now_ends_the_decoding_and_is_read_again(source, cache, error):
    failing = source.load_items()[20].name

    def load_items(start=0):
        def read():
            raise error

        items = source.load_items(start)
        return [dataclasses.replace(item, read=read) if item.name == failing else item for item in items]

    with pytest.raises(UserError) as raised:
        open_store(dataclasses.replace(source, load_items=load_items), 16, "crop")
    assert str(raised.value) == (
        f"photos: {failing} cannot be read: {error.strerror}; remove the cause and repeat the command, "
        "which keeps what is decoded already; or remove the image from the data"
    )
    assert not list(cache.glob("*/*/index.json"))
    reads = []
    store = open_store(counted(source, reads), 16, "crop")
    assert len(reads) == 22
    assert store.unreadable == []
    assert_same(store, open_store(source, 16, "crop", cache_dir=cache / "fresh"))


def test_a_lack_of_memory_ends_the_decoding(source, cache, monkeypatch):
    def allocate(*_):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("workbench.data.decoding._resize", allocate)
        with pytest.raises(UserError, match="cannot be read: there is not enough memory to decode it; "):
            open_store(source, 16, "crop")
    assert not list(cache.glob("*/*/index.json"))
    assert open_store(source, 16, "crop").unreadable == []


def test_nothing_readable_is_an_empty_store(photo_folder):
    root = photo_folder(train=2, test=None)
    for image in root.rglob("*.jpg"):
        image.write_bytes(b"\xff\xd8\xff")
    store = open_store(open_source(str(root)), 16, "crop")
    assert store.images.shape == (0, 16, 16, 3)
    assert len(store.unreadable) == 6


def flip(path, at):
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def cut(path, length):
    os.truncate(path, length)


def relabel(path):
    """A valid index that says something else."""
    index = json.loads(path.read_text())
    index["content"]["labels"][0] = 2
    path.write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("images.bin", lambda path: flip(path, 5000)),
        ("images.bin", lambda path: cut(path, 42 * 16 * 16 * 3 - 1)),
        ("images.bin", lambda path: cut(path, 0)),
        ("images.bin", Path.unlink),
        ("index.json", lambda path: cut(path, 300)),
        ("index.json", lambda path: cut(path, 0)),
        ("index.json", relabel),
        ("index.json", lambda path: path.write_text("[]")),
        ("index.json", lambda path: path.write_text("{}")),
        ("index.json", lambda path: path.write_bytes(b"\xff\xfe")),
        ("index.json", Path.unlink),
    ],
)
def test_a_damaged_store_is_made_again(source, store_folder, name, damage):
    whole = (store_folder / "images.bin").read_bytes()
    damage(store_folder / name)
    reads = []
    store = open_store(counted(source, reads), 16, "crop")
    assert len(reads) == 42
    assert store.images.tobytes() == whole
    assert open_store(counted(source, reads), 16, "crop").decode_seconds == 0
    assert len(reads) == 42


def test_progress_sees_every_image(source):
    seen = []

    def progress(images, total):
        seen.append(total)
        for image in images:
            seen.append(image)
            yield image

    open_store(source, 16, "crop", progress=progress)
    assert seen[0] == 42
    assert len(seen) == 43


SCRIPT = """
import dataclasses, json, os, sys, time
from pathlib import Path
from workbench.cache import find_cache_dir
from workbench.data import resumable_array
from workbench.data.sources import open_source
from workbench.data.store import open_store
root, reads, seconds, partners = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
resumable_array.SEGMENT_ITEMS = 8
source = open_source(root)

def load_items(start=0):
    def reader(item):
        def read():
            with open(reads, "a") as file:
                file.write(item.name + "\\n")
            time.sleep(seconds)
            return item.read()
        return read
    return [dataclasses.replace(item, read=reader(item)) for item in source.load_items(start)]

Path(f"{reads}.ready-{os.getpid()}").touch()
for _ in range(6000):
    if len(list(Path(reads).parent.glob("*.ready-*"))) >= partners:
        break
    time.sleep(0.01)
else:
    sys.exit("no other process has started")
store = open_store(dataclasses.replace(source, load_items=load_items), 16, "crop")
print(json.dumps([store.decode_seconds > 0, int(store.images.sum())]))
"""


def start(root, reads, seconds, partners=1):
    command = [sys.executable, "-c", SCRIPT, str(root), str(reads), str(seconds), str(partners)]
    return processes.Process(command, stdout=processes.PIPE)


def test_two_processes_at_once_do_the_work_once(photo_folder, tmp_path):
    root, reads = photo_folder(train=10, test=4), tmp_path / "reads"
    started = [start(root, reads, 0.01, partners=2) for _ in range(2)]
    results = []
    for process in started:
        with process:
            results.append(json.loads(process.stdout.read()))
    assert sorted(made for made, _ in results) == [False, True]
    assert results[0][1] == results[1][1]
    assert len(reads.read_text().splitlines()) == 42


def killed(root, reads):
    """Kill a process that has completed two segments of its store; return the path of its journal."""
    with start(root, reads, 0.02) as process:
        try:
            journal = wait_for(find_cache_dir(), "*.partial/journal.jsonl", lines=2)
        finally:
            process.kill()
    assert not list(find_cache_dir().glob("*/index.json"))
    return journal


def wait_for(folder, pattern, lines):
    for _ in range(3000):
        for path in folder.glob(pattern):
            if path.read_bytes().count(b"\n") >= lines:
                return path
        time.sleep(0.01)
    raise AssertionError(f"no {pattern} with {lines} lines came")


def no_damage(partial):
    pass


def torn_journal(partial):
    path = partial / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:20])


def flipped_second_segment(partial):
    flip(partial / "images.bin", 8 * 16 * 16 * 3 + 7)


def flipped_first_segment(partial):
    flip(partial / "images.bin", 7)


def lost_images(partial):
    (partial / "images.bin").unlink()


@pytest.mark.parametrize(
    ("damage", "least", "most"),
    [
        (no_damage, 16, 41),
        (torn_journal, 8, 8),
        (flipped_second_segment, 8, 8),
        (flipped_first_segment, 0, 0),
        (lost_images, 0, 0),
    ],
)
def test_a_killed_process_is_continued_from_its_complete_segments(photo_folder, tmp_path, damage, least, most):
    root = photo_folder(train=10, test=4)
    (root / "train" / "daisy" / "daisy-03.jpg").write_bytes(b"\xff\xd8\xff torn")
    (root / "train" / "daisy" / "daisy-04.jpg").rename(root / "train" / "daisy" / "notes.txt")
    (root / "train" / "daisy" / "notes.txt").write_text("no image")
    partial = killed(root, tmp_path / "reads").parent
    damage(partial)
    reads = []
    source = open_source(str(root))
    store = open_store(counted(source, reads), 16, "crop")
    assert least <= 42 - len(reads) <= most
    assert not partial.exists()
    assert_same(store, open_store(source, 16, "crop", cache_dir=tmp_path / "fresh"))
    assert len(store.unreadable) == 1
    assert open_store(source, 16, "crop").decode_seconds == 0


def test_a_failure_while_decoding_leaves_no_store(source, cache):
    def breaks_off(images, total):
        for count, image in enumerate(images):
            if count == 20:
                raise KeyboardInterrupt
            yield image

    with pytest.raises(KeyboardInterrupt):
        open_store(source, 16, "crop", progress=breaks_off)
    assert not list(cache.glob("*/*/index.json"))
    assert len(open_store(source, 16, "crop").names) == 42


def test_segments_end_by_bytes_too(source, monkeypatch):
    whole = open_store(source, 16, "crop")
    monkeypatch.setattr(resumable_array, "SEGMENT_BYTES", 1)
    monkeypatch.setattr(resumable_array, "BLOCK", 1000)
    other = open_store(dataclasses.replace(source, key="another"), 16, "crop")
    assert_same(whole, other)


def test_cache_that_cannot_be_written(source, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("a regular file")
    for cache_dir in (blocked, blocked / "below"):
        with pytest.raises(UserError) as error:
            open_store(source, 16, "crop", cache_dir=cache_dir)
        assert "\n" not in str(error.value)
        assert str(cache_dir) in str(error.value)
        assert "--cache-dir" in str(error.value)


def test_a_full_disk_loses_no_complete_segment(source, monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resumable_array, "SEGMENT_ITEMS", 8)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20 * 16 * 16 * 3, limits[1]))
    try:
        with pytest.raises(UserError, match="File too large; make room"):
            open_store(source, 16, "crop")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    reads = []
    assert len(open_store(counted(source, reads), 16, "crop").names) == 42
    assert len(reads) == 42 - 16


def test_the_default_cache_follows_the_environment(cache, monkeypatch):
    assert find_cache_dir() == cache / "image-workbench"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert find_cache_dir() == Path.home() / ".cache" / "image-workbench"


def test_a_tilde_in_the_cache_folder_is_the_home_folder(source, workdir, monkeypatch):
    monkeypatch.setenv("HOME", str(workdir))
    assert open_store(source, 16, "crop", cache_dir="~/big/cache").folder.parent == workdir / "big" / "cache"


def test_index_says_what_the_images_are(store_folder):
    content = read_json(store_folder / "index.json")["content"]
    assert len(content["labels"]) == 42
    assert (store_folder / "images.bin").stat().st_size == 42 * 16 * 16 * 3
    assert not (store_folder / "journal.jsonl").exists()
