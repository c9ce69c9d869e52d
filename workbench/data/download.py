"""Fetching a large archive so that a broken connection costs nothing, and unpacking it safely."""

import base64
import contextlib
import errno
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

from workbench.errors import UserError
from workbench.files import file_hash, read_json, write_json

TRIES, PAUSE = 5, 1.0  # tries without a single new byte before giving up; seconds between them, growing
_CHUNK, _TIMEOUT = 1 << 20, 60
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
MAX_RATIO = 200  # unpacked size over packed size of an entry; images hardly shrink at all


def download(url, path, *, checksum=None, progress=None):
    """Fetch `url` into `path`, going on with what an earlier try left in `<path>.part`.

    Args:
        url: http or https.
        path: where the file stands once it is whole and its checksum holds.
        checksum: (bytes, SHA-256 as hex digits) that it must have, if they are known.
        progress: called with (bytes so far, bytes in all or None) as they come in.

    Raises:
        UserError: it cannot be reached, breaks off again and again, or is not what it should be.
    """
    path = Path(path)
    part, state = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.part.json")
    failures, farthest = 0, _size(part)
    while True:
        try:
            facts = _fetch(url, part, state, progress)
            break
        except urllib.error.HTTPError as error:
            reason = f"the server answers {error.code} {error.reason}"
            if error.code not in (408, 429) and error.code < 500:
                raise UserError(f"{url}: {reason}") from error
        except (OSError, http.client.HTTPException) as error:
            if getattr(error, "errno", None) in _DISK_ERRORS:
                raise UserError(f"{part}: {error.strerror}; make room, the same command goes on from there") from error
            cause = getattr(error, "reason", error)
            reason = getattr(cause, "strerror", None) or str(cause) or type(error).__name__
        failures = 0 if _size(part) > farthest else failures + 1
        farthest = max(farthest, _size(part))
        if failures >= TRIES:
            raise UserError(
                f"{url}: broke off at {_size(part):,} bytes ({reason}); the same command goes on from there"
            )
        time.sleep(PAUSE * failures)
    reason = _wrong(part, facts, checksum)
    if reason:
        _forget(part, state)
        raise UserError(f"{url}: {reason}; what came was thrown away, try again later or use a copy (--archive)")
    os.replace(part, path)
    _forget(part, state)


def _size(path):
    return path.stat().st_size if path.exists() else 0


def _forget(part, state):
    part.unlink(missing_ok=True)
    state.unlink(missing_ok=True)


def _fetch(url, part, state, progress):
    """Ask for what is missing of `part` and append it; what the server said about the whole file.

    Raises:
        OSError, HTTPException: the connection broke off, or what came does not go on from what stands.
    """
    had, known = _size(part), read_json(state) or {}
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})
    if had and known.get("tag"):
        request.add_header("Range", f"bytes={had}-")
        request.add_header("If-Range", known["tag"])  # a file changed meanwhile is sent from its start
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        if had == known.get("size"):
            return known
        _forget(part, state)
        raise ConnectionError("the server has fewer bytes than it promised") from error
    with response:
        facts = {"tag": response.headers.get("ETag") or response.headers.get("Last-Modified")}
        if response.status != 206:  # the whole file is coming
            had, known = 0, {}
            _forget(part, state)
        elif not _goes_on(response, had) or facts["tag"] != known["tag"]:
            _forget(part, state)
            raise ConnectionError("the server sent another part than was asked for, or of another file")
        length = response.headers.get("Content-Length", "")
        facts["size"] = had + int(length) if length.isdigit() else None
        facts["md5"] = _md5(response.headers) or known.get("md5")
        write_json(state, facts)
        with open(part, "ab" if had else "wb") as file:
            _copy(response, file, facts["size"], progress)
    return facts


def _copy(response, file, size, progress):
    """Append what comes until the file has `size` bytes, or to the end where that is not known."""
    while size is None or file.tell() < size:
        chunk = response.read1(_CHUNK if size is None else min(_CHUNK, size - file.tell()))
        if not chunk:
            break
        file.write(chunk)
        if progress:
            progress(file.tell(), size)
    if size is not None and file.tell() < size:
        raise ConnectionError(f"{size:,} bytes were promised")


def _goes_on(response, had):
    return response.headers.get("Content-Range", "").startswith(f"bytes {had}-")


def _md5(headers):
    """The MD5 that Google Cloud Storage tells of a file, as hex digits, or None."""
    match = re.search(r"md5=([\w+/]+=*)", " ".join(headers.get_all("x-goog-hash", [])))
    return base64.b64decode(match[1]).hex() if match else None


def _wrong(part, facts, checksum):
    """Why the fetched file is not the right one, or None."""
    size = _size(part)
    expected = checksum[0] if checksum else facts["size"]
    if expected is not None and size != expected:
        return f"sent {size:,} bytes where {expected:,} are right"
    if checksum and file_hash(part, "sha256") != checksum[1]:
        return f"its SHA-256 is not the registered {checksum[1][:12]}..."
    if facts["md5"] and file_hash(part, "md5") != facts["md5"]:
        return "its bytes do not have the checksum that the server tells"
    return None


def unpack(archive, folder, progress=None):
    """Unpack a zip archive into a new folder, whole or not at all; an existing one is replaced.

    Args:
        archive: path of the zip file.
        folder: the folder that will hold its entries.
        progress: called with (bytes so far, bytes in all).

    Raises:
        UserError: not a zip archive, damaged, or an entry would leave the folder, is a link, or swells beyond
            reason.
    """
    folder = Path(folder)
    temporary = folder.with_name(f"{folder.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        with zipfile.ZipFile(archive) as zipped:
            entries = [entry for entry in zipped.infolist() if not entry.is_dir()]
            total = sum(entry.file_size for entry in entries)
            targets = [_target(temporary, entry, archive) for entry in entries]
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
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, zipfile.zlib.error) as error:
        raise UserError(f"{archive}: not a whole zip archive ({error}); fetch it anew") from error
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(temporary)


def _target(folder, entry, archive):
    """Where an entry goes, checked before anything is written."""
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
            f"{archive}: entry '{entry.filename}' swells to {entry.file_size:,} bytes; nothing was unpacked"
        )
    return target
