"""Call a command in this process as `python -m` does, and check what every command must keep to."""

import contextlib
import dataclasses
import hashlib
import io
import os
import re
import runpy
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

Contents = dict[str, str]  # path -> hash of a file, target of a link, or "folder"
TREATED_AS_ERROR = re.compile(r"traceback \(most recent call last\)|^error\b", re.IGNORECASE | re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a command has done.

    Attributes:
        words: the command line, from the module on.
        code: exit code; None if it ended with an exception.
        output, errors: what it wrote to standard output and standard error.
        exception: with which it ended, if it did.
    """

    words: list[str]
    code: int | None
    output: str
    errors: str
    exception: Exception | None = None

    @property
    def error(self) -> str:
        """The line of the error; empty without one."""
        return next((line for line in self.errors.splitlines() if line.startswith("error: ")), "")

    def __str__(self) -> str:
        return f"{self.words}\nexit code {self.code}\n--- output\n{self.output}\n--- errors\n{self.errors}"


@contextlib.contextmanager
def open_workspace() -> Iterator[Path]:
    """Change to an empty folder, and remove it in the end."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="generated-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        os.chdir(folder)
        try:
            yield folder
        finally:
            os.chdir(before)


def run_command(module: str, *words: str, refused: bool | None = None, allowed: Sequence[int] = (0, 2)) -> Outcome:
    """Run `python -m MODULE WORDS` in this process, and check its exit code and what it says.

    Args:
        module, words: the command line.
        refused: whether the command must be refused; None if that is not known.
        allowed: exit codes that the command may have.
    """
    outcome = _run([module, *words])
    if outcome.exception:
        raise AssertionError(str(outcome)) from outcome.exception  # so hypothesis sees which failures are the same
    assert outcome.code in allowed, outcome
    errors = TREATED_AS_ERROR.findall(outcome.errors)
    assert len(errors) == (outcome.code == 2), f"expected one line of error with exit code 2, and no other: {outcome}"
    assert not TREATED_AS_ERROR.search(outcome.output), outcome
    assert "Traceback" not in outcome.output + outcome.errors, outcome
    assert len(outcome.error) < 2_000, f"the error is too long to be read: {outcome}"
    if refused is not None:
        assert (outcome.code == 2) == refused, f"expected {'a refusal' if refused else 'no error'}: {outcome}"
    return outcome


def _run(words: list[str]) -> Outcome:
    output = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    code: int | None = None
    exception: Exception | None = None
    argv, sys.argv = sys.argv, list(words)
    with _capture_errors() as errors:
        try:
            with contextlib.redirect_stdout(output), warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=r".*found in sys\.modules")  # of runpy
                runpy.run_module(words[0], run_name="__main__")
            code = 0
        except SystemExit as left:
            code = 0 if left.code is None else left.code if isinstance(left.code, int) else 1
        except Exception as error:
            traceback.print_exc()
            exception = error
        finally:
            sys.argv = argv
    text = output.buffer.getvalue().decode()  # type: ignore[attr-defined]
    return Outcome(words, code, text, errors[0], exception)


@contextlib.contextmanager
def _capture_errors() -> Iterator[list[str]]:
    """Capture standard error, also what native code writes to it. The list gets the text at the end of the block."""
    captured: list[str] = []
    saved, python_stderr = os.dup(2), sys.stderr
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
        try:
            yield captured
        finally:
            sys.stderr.flush()
            sys.stderr = python_stderr
            os.dup2(saved, 2)
            os.close(saved)
            file.seek(0)
            captured.append(file.read().decode("utf-8", "replace"))


def read_contents(*folders: Path) -> Contents:
    """Return what folders hold. Hidden files next to run folders, such as locks, are left out."""
    contents: Contents = {}
    for top in folders:
        for folder, names, files in os.walk(top):
            for name in [*names, *files]:
                path = os.path.join(folder, name)
                if os.path.islink(path):
                    contents[path] = os.readlink(path)
                elif name in names:
                    contents[path] = "folder"
                elif not (folder == str(top) and name.startswith(".") and name.endswith((".lock", ".json"))):
                    contents[path] = _hash_file(path)
    return contents


def _hash_file(path: str) -> str:
    if not os.path.isfile(path):
        return "neither a file nor a folder"
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_kept(before: Contents, after: Contents, written: str = "") -> None:
    """Check that everything is there as before, except for paths that match the regular expression `written`."""
    worse = [
        f"{path}: {'removed' if path not in after else 'changed'}"
        for path, content in before.items()
        if after.get(path) != content and not (written and re.search(written, path))
    ]
    assert not worse, worse


def check_unchanged(before: Contents, after: Contents) -> None:
    """Check that nothing was changed, removed or added."""
    check_kept(before, after)
    assert not after.keys() - before.keys(), f"left behind: {sorted(after.keys() - before.keys())}"


def write_taken_run(place: Path) -> None:
    """Write a run called `taken`, so that a training of that name is refused before it computes anything."""
    folder = place / "runs" / "taken"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("data: photos\n")
    (folder / "history.csv").write_text("epoch\n1\n")
