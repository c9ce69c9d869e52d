"""Read and write small files; a file is written whole or not at all."""

import contextlib
import csv
import errno
import hashlib
import io
import json
import os
import re
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import yaml

from workbench.errors import UserError

Row = Mapping[str, Any]
FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})  # error numbers
_TEMPORARY = ".writing-"


@contextlib.contextmanager
def replace_file(path: str | Path, size: int | None = None) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; it is renamed to `path` if the block ends without an error.

    Temporary files that killed processes of this machine have left in the folder are removed.

    Args:
        path: of the file.
        size: bytes that will be written, about; the message of a full disk says it.

    Raises:
        OSError: the file cannot be written; names `path`, never the temporary file.
    """
    path, temporary = Path(path), ""
    try:
        _remove_abandoned(path.parent)
        prefix = f"{_TEMPORARY}{socket.gethostname()}-{os.getpid()}-"
        handle, temporary = tempfile.mkstemp(prefix=prefix, suffix=path.suffix, dir=path.parent)
        os.close(handle)
        os.chmod(temporary, 0o644)
        yield Path(temporary)
        os.replace(temporary, path)
    except BaseException as error:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        if isinstance(error, OSError):
            _raise_for(path, error, size)
        raise


def is_temporary(path: Path) -> bool:
    """Return whether a path is one that `replace_file` has yielded."""
    return path.name.startswith(_TEMPORARY)


def _remove_abandoned(folder: Path) -> None:
    """Remove the temporary files of processes of this machine that have ended."""
    own = re.compile(rf"{re.escape(_TEMPORARY + socket.gethostname())}-(\d+)-")
    with os.scandir(folder) as entries:
        found = [(entry.path, int(match[1])) for entry in entries if (match := own.match(entry.name))]
    for path, pid in found:
        if not psutil.pid_exists(pid):
            with contextlib.suppress(OSError):
                os.unlink(path)


def _raise_for(path: Path, error: OSError, size: int | None) -> None:
    """Raise an error in writing the temporary file again, as one of `path`. Return if it is about another file."""
    number = error.errno
    if number is None:  # the HDF5 library hides the number in its message
        found = re.search(r"errno = (\d+)", str(error))
        number = int(found[1]) if found else None
    is_other = error.filename is not None and not is_temporary(Path(os.fsdecode(error.filename)))
    if number is None or is_other:
        return
    reason = os.strerror(number)
    if number in FULL_DISK and size:
        reason += f" ({format_bytes(size)} needed)"
    raise OSError(number, reason, str(path)) from error


def format_bytes(count: float) -> str:
    """Return a number of bytes in a readable form: `12.3 MB`, `1,200.0 GB`."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file."""
    data = text.encode()
    with replace_file(path, len(data)) as temporary:
        temporary.write_bytes(data)


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON file."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: str | Path) -> Any:
    """Return the content of a JSON file, or None if the file is missing or incomplete."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None


def write_csv(path: str | Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV, with the keys of the first row as the header. Without rows, remove the file."""
    if not rows:
        Path(path).unlink(missing_ok=True)
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def append_csv(path: str | Path, row: Row) -> None:
    """Append one row to a CSV file in a single write. A new file starts with the header."""
    if not Path(path).exists():
        write_csv(path, [row])
        return
    text = io.StringIO()
    csv.DictWriter(text, list(row), lineterminator="\n").writerow(row)
    with open(path, "a", encoding="utf-8") as file:
        file.write(text.getvalue())


def read_csv(path: str | Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file as dictionaries of text; an empty list if the file is missing.

    Raises:
        UserError: it is not a text file in CSV.
    """
    try:
        return list(csv.DictReader(io.StringIO(Path(path).read_text(encoding="utf-8"))))
    except FileNotFoundError:
        return []
    except (UnicodeDecodeError, csv.Error):
        raise UserError(f"{path}: damaged, not a text file in CSV") from None


def file_hash(path: str | Path, algorithm: str) -> str:
    """Return the hash of a file as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def read_yaml(path: str | Path) -> Any:
    """Return the content of a YAML file; None where it is empty. Anchors and merge keys (`<<`) are allowed.

    Raises:
        OSError: the file cannot be read.
        UserError: it is not YAML in UTF-8, has a key twice, or contains itself; names the file and the line.
    """
    try:
        loader = yaml.SafeLoader(Path(path).read_text(encoding="utf-8"))
        node = loader.get_single_node()
        if node is None:
            return None
        _check_keys(node, set(), set())
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise UserError(f"{path}: {line}{error.problem}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not text in UTF-8 ({error.reason}, byte {error.start}); save it as UTF-8") from None
    except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: no date, such as 2024-13-01
        raise UserError(f"{path}: not a text file in YAML") from None


def _check_keys(node: yaml.Node, parents: set[int], checked: set[int]) -> None:
    """Refuse keys that are given twice, of which YAML would silently take the last, and nodes that contain themselves.

    It looks at the text alone: a merge key (`<<`) may bring a key that the mapping then overrides.

    Raises:
        MarkedYAMLError: says where.
    """
    if id(node) in parents:
        raise yaml.MarkedYAMLError(problem="an anchor contains itself", problem_mark=node.start_mark)
    if id(node) in checked or not isinstance(node, yaml.CollectionNode):
        return
    checked.add(id(node))
    children = node.value
    if isinstance(node, yaml.MappingNode):
        lines: dict[tuple[str, str], int] = {}  # (tag, text) of a key -> where it is
        for key in [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]:
            first, line = lines.get((key.tag, key.value)), key.start_mark.line + 1
            if first is not None:
                problem = f"'{key.value}' is given twice, first in line {first}"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            lines[key.tag, key.value] = line
        children = [child for pair in node.value for child in pair]
    for child in children:
        _check_keys(child, {*parents, id(node)}, checked)
