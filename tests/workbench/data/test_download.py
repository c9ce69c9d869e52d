"""Downloads from servers that break off or send wrong bytes, and archives that would write outside their folder."""

import base64
import errno
import hashlib
import io
import json
import stat
import zipfile

import numpy as np
import pytest

from tests.workbench.data.file_server import serving
from workbench.data import download as download_module
from workbench.data.download import Checksum, download, unpack
from workbench.errors import UserError
from workbench.files import file_hash

DATA = np.random.default_rng(0).bytes(100_000)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(download_module, "PAUSE", 0.0)
    monkeypatch.setattr(download_module, "_CHUNK", 4096)


@pytest.fixture
def server():
    with serving(DATA) as running:
        yield running


@pytest.fixture
def path(tmp_path):
    return tmp_path / "images.zip"


def refused(*args, **kwargs):
    with pytest.raises(UserError) as error:
        download(*args, **kwargs)
    assert "\n" not in str(error.value)
    return str(error.value)


def assert_whole(path, data=DATA):
    assert path.read_bytes() == data
    assert [entry.name for entry in path.parent.glob("images.zip*")] == ["images.zip"]


def test_a_whole_file(server, path):
    seen = []
    download(server.url, path, progress=lambda done, total: seen.append((done, total)))
    assert_whole(path)
    assert seen[-1] == (100_000, 100_000)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_continues_after_a_broken_connection(server, path):
    server.moods = ["break 30000", "break 1", "break 50000"]
    download(server.url, path)
    assert_whole(path)
    assert server.ranges == [None, "bytes=30000-", "bytes=30001-", "bytes=80001-"]
    assert server.sent == 100_000


def test_continues_after_a_silent_server(server, path, monkeypatch):
    monkeypatch.setattr(download_module, "_TIMEOUT", 0.3)
    server.moods = ["hang 30000"]
    download(server.url, path)
    assert_whole(path)
    assert server.ranges == [None, "bytes=30000-"]


def test_continues_in_another_call(server, path):
    server.moods = ["break 40000", *["break 0"] * 5]
    message = refused(server.url, path)
    assert "the connection broke at 40,000 bytes" in message
    assert "continues from there" in message
    assert not path.exists()
    server.sent = 0
    download(server.url, path)
    assert_whole(path)
    assert server.sent == 60_000


def test_a_server_that_ignores_ranges_starts_again(server, path):
    server.moods = ["break 40000", "ignore range"]
    download(server.url, path)
    assert_whole(path)


def test_gives_up_on_a_server_that_sends_nothing_new(server, path):
    server.moods = ["break 40000", *["break 0"] * 50]
    refused(server.url, path)
    assert len(server.ranges) == 1 + download_module.TRIES


def test_gives_up_on_a_connection_that_always_breaks(server, path, monkeypatch):
    sizes = [90_000, 20_000, 50_000, 30_000, 60_000, 10_000, 70_000, 20_000] * 5
    server.moods = [f"break {size}" for size in sizes]
    monkeypatch.setattr(download_module, "read_json", lambda path: None)  # no tag: no range is ever asked for
    assert "the connection broke" in refused(server.url, path)
    assert len(server.ranges) == 1 + download_module.TRIES


@pytest.mark.parametrize("mood", ["wrong part", "other file"])
def test_a_part_that_does_not_fit_is_not_appended(server, path, mood):
    server.moods = ["break 40000", mood]
    download(server.url, path)
    assert_whole(path)


def test_a_file_that_changes_midway_is_downloaded_from_its_start(server, path):
    other = DATA[::-1]
    server.moods = ["break 40000"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download_module.time, "sleep", lambda seconds: setattr(server, "data", other))
        download(server.url, path)
    assert_whole(path, other)


def test_a_file_that_shrinks_midway(server, path):
    server.moods = ["break 90000"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download_module.time, "sleep", lambda seconds: setattr(server, "data", DATA[:50_000]))
        download(server.url, path)
    assert_whole(path, DATA[:50_000])


def test_killed_after_the_last_byte(server, path):
    download(server.url, path)
    path.rename(path.with_name("images.zip.part"))
    state = {"tag": f'"{hashlib.md5(DATA).hexdigest()}"', "size": 100_000, "md5": None}
    path.with_name("images.zip.part.json").write_text(json.dumps(state))
    download(server.url, path)
    assert_whole(path)


def test_more_bytes_are_announced_than_sent(server, path):
    server.moods = ["long"] * 50
    assert "than it announced" in refused(server.url, path)
    assert not path.exists()


CHECKSUM = Checksum(len(DATA), hashlib.sha256(DATA).hexdigest())


def test_fewer_bytes_than_known(server, path):
    server.moods = ["short"]
    assert "it sent 99,000 bytes; 100,000 are right" in refused(server.url, path, checksum=CHECKSUM)
    download(server.url, path, checksum=CHECKSUM)
    assert_whole(path)


def test_wrong_bytes_against_the_known_checksum(server, path):
    server.data = DATA[:-1] + b"?"
    assert f"SHA-256 is not the known one, {CHECKSUM.sha256[:12]}" in refused(server.url, path, checksum=CHECKSUM)
    assert not list(path.parent.glob("images.zip*"))


def test_wrong_bytes_against_the_servers_own_checksum(server, path):
    server.headers = {"x-goog-hash": "crc32c=AAAAAA==,md5=" + base64.b64encode(hashlib.md5(b"other").digest()).decode()}
    assert "does not have the checksum that the server sends" in refused(server.url, path)
    server.headers = {"x-goog-hash": "md5=" + base64.b64encode(hashlib.md5(DATA).digest()).decode()}
    server.moods = ["break 100"]
    download(server.url, path)
    assert_whole(path)


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (403, 1), (503, 5), (429, 5)])
def test_the_server_refuses(server, path, status, tries):
    server.moods = [f"status {status}"] * 50
    assert f"the server answers {status}" in refused(server.url, path)
    assert len(server.ranges) == tries


def test_a_server_that_recovers(server, path):
    server.moods = ["status 503", "garbage", "break 10", "status 500"]
    download(server.url, path)
    assert_whole(path)


def test_no_server_at_all(path):
    with serving(b"") as server:
        url = server.url
    assert "refused" in refused(url, path)


def test_a_full_disk_is_not_a_broken_connection(server, path):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    message = refused(server.url, path, progress=full)
    assert "No space left on device; make room" in message
    assert len(server.ranges) == 1
    download(server.url, path)
    assert_whole(path)


def zipped(entries, path):
    """A zip archive of (name or ZipInfo, bytes) pairs."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return path


def test_unpacks_into_a_new_folder_and_replaces_an_old_one(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "old").touch()
    seen = []
    archive = zipped([("a/one.txt", b"1"), ("a/b/two.txt", b"22"), ("a/empty/", b"")], tmp_path / "x.zip")
    unpack(archive, folder, lambda done, total: seen.append((done, total)))
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {
        "a/one.txt",
        "a/b/two.txt",
    }
    assert seen[-1] == (3, 3)


def link(name):
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


@pytest.mark.parametrize(
    ("entry", "data", "reason"),
    [
        ("../evil.txt", b"!", "outside the folder"),
        ("a/../../evil.txt", b"!", "outside the folder"),
        ("/tmp/evil.txt", b"!", "outside the folder"),
        ("..\\evil.txt", b"!", "outside the folder"),
        ("C:\\evil.txt", b"!", "outside the folder"),
        ("C:evil.txt", b"!", "outside the folder"),
        (".", b"!", "outside the folder"),
        (link("a/link"), b"/etc/passwd", "is a link"),
        ("bomb.jpg", bytes(50_000_000), "unpacks to 50,000,000 bytes"),
    ],
)
def test_entries_that_are_refused_before_anything_is_written(tmp_path, entry, data, reason):
    inside = tmp_path / "inside"
    folder = inside / "images"
    inside.mkdir()
    archive = zipped([("good.txt", b"1"), (entry, data)], tmp_path / "x.zip")
    with pytest.raises(UserError, match="nothing was unpacked") as error:
        unpack(archive, folder)
    assert reason in str(error.value)
    assert list(inside.iterdir()) == []
    assert not list(tmp_path.glob("evil*"))


def cut(data):
    return data[: len(data) // 2]


def flip(data):
    return data[:60] + bytes([data[60] ^ 0xFF]) + data[61:]


@pytest.mark.parametrize("damage", [cut, flip, lambda data: b"", lambda data: b"<html>sign in</html>"])
def test_damaged_archives_leave_the_old_folder(tmp_path, damage):
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "old").touch()
    whole = io.BytesIO()
    zipped([("a.bin", DATA)], whole)
    archive = tmp_path / "x.zip"
    archive.write_bytes(damage(whole.getvalue()))
    with pytest.raises(UserError, match="not a complete zip archive"):
        unpack(archive, folder)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name not in ("cache",)) == ["images", "x.zip"]
    assert (folder / "old").exists()


def test_file_hash(tmp_path):
    (tmp_path / "a").write_bytes(DATA)
    assert file_hash(tmp_path / "a", "sha256") == CHECKSUM.sha256
