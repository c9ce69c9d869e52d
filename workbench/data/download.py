"""Download a large archive, resuming after a broken connection, and unpack it safely."""

import base64
import contextlib
import dataclasses
import email.message
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from workbench.errors import UserError
from workbench.files import FULL_DISK, file_hash, read_json, write_json

TRIES, PAUSE = 5, 1.0  # attempts without a new byte before giving up; seconds between them, growing
_CHUNK, _TIMEOUT = 1 << 20, 60
MAX_RATIO = 200  # unpacked size over packed size of an entry; images hardly shrink at all
Progress = Callable[[int, int | None], None]  # called with (bytes so far, bytes in all or None)


@dataclasses.dataclass(frozen=True)
class Checksum:
    """What a file must be.

    Attributes:
        size: in bytes.
        sha256: as hex digits.
    """

    size: int
    sha256: str


def compute_checksum(path: Path) -> Checksum:
    """Return the checksum of a file."""
    return Checksum(path.stat().st_size, file_hash(path, "sha256"))


def download(url: str, path: Path, *, checksum: Checksum | None = None, progress: Progress | None = None) -> None:
    """Download `url` to `path`, continuing what an earlier attempt left in `<path>.part`.

    Args:
        url: http or https.
        path: of the file; it exists only once it is complete and its checksum is right.
        checksum: that it must have, if it is known.
        progress: called as the bytes arrive.

    Raises:
        UserError: the server cannot be reached, the connection breaks again and again, or the file is not right.
    """
    path = Path(path)
    part, state = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.part.json")
    failures, farthest = 0, _get_size(part)
    while True:
        try:
            facts = _fetch(url, part, state, progress)
            break
        except urllib.error.HTTPError as error:
            reason = f"the server answers {error.code} {error.reason}"
            if error.code not in (408, 429) and error.code < 500:
                raise UserError(f"{url}: {reason}") from error
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.errno in FULL_DISK:
                raise UserError(
                    f"{part}: {error.strerror}; make room, the same command continues from there"
                ) from error
            cause = getattr(error, "reason", error)
            reason = getattr(cause, "strerror", None) or str(cause) or type(error).__name__
        failures = 0 if _get_size(part) > farthest else failures + 1
        farthest = max(farthest, _get_size(part))
        if failures >= TRIES:
            raise UserError(
                f"{url}: the connection broke at {_get_size(part):,} bytes ({reason}); "
                "the same command continues from there"
            )
        time.sleep(PAUSE * failures)
    problem = _find_problem(part, facts, checksum)
    if problem:
        _delete(part, state)
        raise UserError(f"{url}: {problem}; the download was deleted, try again later or use a copy (--archive)")
    os.replace(part, path)
    _delete(part, state)


def _get_size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _delete(part: Path, state: Path) -> None:
    part.unlink(missing_ok=True)
    state.unlink(missing_ok=True)


def _fetch(url: str, part: Path, state: Path, progress: Progress | None) -> dict[str, Any]:
    """Request what is missing of `part` and append it.

    Returns:
        What the server says about the whole file: `tag`, `size` and `md5`, each None if it does not say.

    Raises:
        OSError, HTTPException: the connection broke, or the answer does not continue the bytes that are there.
    """
    had, known = _get_size(part), read_json(state) or {}
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})
    if had and known.get("tag"):
        request.add_header("Range", f"bytes={had}-")
        request.add_header("If-Range", known["tag"])  # a file that has changed is sent from its start
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        if had == known.get("size"):
            return known
        _delete(part, state)
        raise ConnectionError("the server has fewer bytes than it announced") from error
    with response:
        facts = {"tag": response.headers.get("ETag") or response.headers.get("Last-Modified")}
        if response.status != 206:  # the whole file is coming
            had, known = 0, {}
            _delete(part, state)
        elif not _continues(response, had) or facts["tag"] != known["tag"]:
            _delete(part, state)
            raise ConnectionError("the server sent another part than requested, or of another file")
        length = response.headers.get("Content-Length", "")
        facts["size"] = had + int(length) if length.isdigit() else None
        facts["md5"] = _read_md5(response.headers) or known.get("md5")
        write_json(state, facts)
        with open(part, "ab" if had else "wb") as file:
            _copy(response, file, facts["size"], progress)
    return facts


def _copy(response: http.client.HTTPResponse, file: BinaryIO, size: int | None, progress: Progress | None) -> None:
    """Append the answer's bytes until the file has `size` bytes, or to the end where that is not known."""
    while size is None or file.tell() < size:
        chunk = response.read1(_CHUNK if size is None else min(_CHUNK, size - file.tell()))
        if not chunk:
            break
        file.write(chunk)
        if progress:
            progress(file.tell(), size)
    if size is not None and file.tell() < size:
        raise ConnectionError(f"{size:,} bytes were announced")


def _continues(response: http.client.HTTPResponse, had: int) -> bool:
    return response.headers.get("Content-Range", "").startswith(f"bytes {had}-")


def _read_md5(headers: email.message.Message) -> str | None:
    """Return the MD5 that Google Cloud Storage sends with a file, as hex digits, or None."""
    match = re.search(r"md5=([\w+/]+=*)", " ".join(headers.get_all("x-goog-hash", [])))
    return base64.b64decode(match[1]).hex() if match else None


def _find_problem(part: Path, facts: dict[str, Any], checksum: Checksum | None) -> str | None:
    """Return why the downloaded file is not the right one, or None."""
    size = _get_size(part)
    expected = checksum.size if checksum else facts["size"]
    if expected is not None and size != expected:
        return f"it sent {size:,} bytes; {expected:,} are right"
    if checksum and file_hash(part, "sha256") != checksum.sha256:
        return f"the file's SHA-256 is not the known one, {checksum.sha256[:12]}..."
    if facts["md5"] and file_hash(part, "md5") != facts["md5"]:
        return "the file does not have the checksum that the server sends with it"
    return None


def unpack(archive: Path, folder: Path, progress: Progress | None = None) -> None:
    """Unpack a zip archive into a new folder, completely or not at all; an existing folder is replaced.

    Args:
        archive: path of the zip file.
        folder: the folder that will hold its entries.
        progress: called as files are written.

    Raises:
        UserError: the file is not a zip archive or is damaged; or an entry would be written outside the folder, is a
            link, or is more than `MAX_RATIO` times as large as its packed bytes.
    """
    folder = Path(folder)
    temporary = folder.with_name(f"{folder.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        with zipfile.ZipFile(archive) as zipped:
            entries = [entry for entry in zipped.infolist() if not entry.is_dir()]
            total = sum(entry.file_size for entry in entries)
            targets = [_check_target(temporary, entry, archive) for entry in entries]
            done = 0
            for entry, target in zip(entries, targets, strict=True):
                target.parent.mkdir(parents=True, exist_ok=True)
                with zipped.open(entry) as source, open(target, "wb") as file:
                    shutil.copyfileobj(source, file, _CHUNK)
                done += entry.file_size
                if progress:
                    progress(done, total)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(temporary, folder)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, zlib.error) as error:
        raise UserError(f"{archive}: not a complete zip archive ({error}); download it again") from error
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(temporary)


def _check_target(folder: Path, entry: zipfile.ZipInfo, archive: Path) -> Path:
    """Return the path that an entry is written to, checked before anything is written."""
    name = entry.filename.replace("\\", "/")
    target = (folder / name).resolve()
    if not target.is_relative_to(folder.resolve()) or target == folder.resolve() or re.match(r"[A-Za-z]:", name):
        raise UserError(
            f"{archive}: entry '{entry.filename}' would be written outside the folder; nothing was unpacked"
        )
    if (entry.external_attr >> 16) & 0o170000 == 0o120000:
        raise UserError(f"{archive}: entry '{entry.filename}' is a link; nothing was unpacked")
    if entry.file_size > MAX_RATIO * max(entry.compress_size, 1024):
        raise UserError(
            f"{archive}: entry '{entry.filename}' unpacks to {entry.file_size:,} bytes, which is too many; "
            "nothing was unpacked"
        )
    return target
