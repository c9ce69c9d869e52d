"""Read and write small files; a file is written whole or not at all."""

import contextlib
import csv
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from workbench.errors import UserError

Row = Mapping[str, Any]


@contextlib.contextmanager
def replace_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; it is renamed to `path` if the block ends without an error."""
    path = Path(path)
    handle, temporary = tempfile.mkstemp(prefix=".writing-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    os.chmod(temporary, 0o644)
    try:
        yield Path(temporary)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file."""
    with replace_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


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
    """Return the rows of a CSV file as dictionaries of text; an empty list if the file is missing."""
    try:
        return list(csv.DictReader(io.StringIO(Path(path).read_text(encoding="utf-8"))))
    except FileNotFoundError:
        return []


def file_hash(path: str | Path, algorithm: str) -> str:
    """Return the hash of a file as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that is given twice; YAML itself would silently take the last value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the node's keys and values."""
        keys = []
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in keys:
                raise yaml.MarkedYAMLError(problem=f"'{key}' is given twice", problem_mark=key_node.start_mark)
            keys.append(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: str | Path) -> Any:
    """Return the content of a YAML file; None where it is empty.

    Raises:
        OSError: the file cannot be read.
        UserError: it is not YAML, or has a key twice; names the file and the line.
    """
    try:
        return yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise UserError(f"{path}: {line}{error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise UserError(f"{path}: not a text file in YAML") from None
