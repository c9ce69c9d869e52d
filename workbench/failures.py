"""What the machine refuses: memory, room on a disk, access to a folder. Each becomes one line that says what to do."""

import errno
import re
import shlex
import shutil
from collections.abc import Collection
from pathlib import Path

from workbench.cache import find_cache_dir
from workbench.files import FULL_DISK, format_bytes

_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_SMALLER = ("batch_size", "image_size", "num_filters", "dense_units", "workers")  # options that need less memory


def describe_failure(error: Exception, options: Collection[str]) -> str | None:
    """Return one line about an error of the machine; None for any other error, which is a mistake in the code.

    Args:
        error: what was raised.
        options: names of the command's options; the line advises only what the command has.
    """
    reason = " ".join(str(error).split())
    is_exhausted = type(error).__name__ == "ResourceExhaustedError"  # TensorFlow's; it is not imported for its name
    if is_exhausted and "No space left on device" in reason:
        return f"{reason.split(';')[0][:200]}; {describe_full_disk(Path.cwd())}"
    if is_exhausted or isinstance(error, MemoryError):
        return describe_lack_of_memory(reason, options)
    if not isinstance(error, OSError) or (error.filename is None and error.strerror is None):
        return None
    where = error.filename or "input/output"
    line = f"{where}: {error.strerror}"
    if error.errno in FULL_DISK:
        return f"{line}; {describe_full_disk(Path(str(where)))}"
    if error.errno in _FORBIDDEN:
        return line + _advise_other_folder(options)
    return line


def describe_lack_of_memory(reason: str, options: Collection[str]) -> str:
    """Return one line that says what did not fit into memory, and which options need less."""
    tensor = re.search(r"allocating tensor with shape ?\[([\d,]+)\]", reason)
    array = re.search(r"Unable to allocate (.+?) for an array", reason)
    what = f" (a tensor of {tensor[1].replace(',', 'x')} numbers)" if tensor else f" ({array[1]})" if array else ""
    smaller = [f"--{name.replace('_', '-')}" for name in _SMALLER if name in options]
    advice = f"lower {' or '.join(smaller)}, or close other programs" if smaller else "close other programs"
    return f"out of memory{what}: {advice}"


def describe_full_disk(path: Path) -> str:
    """Return what is free on the disk of `path`, and what can be deleted."""
    folder = next((folder for folder in (path, *path.absolute().parents) if folder.is_dir()), Path.cwd())
    free, cache = shutil.disk_usage(folder).free, find_cache_dir()
    return (
        f"{format_bytes(free)} are free there: delete what is no longer needed, such as old folders in runs/ and logs/ "
        f"or decoded images that can be made again in {shlex.quote(str(cache))}, and repeat the command"
    )


def _advise_other_folder(options: Collection[str]) -> str:
    """Return the option that names another folder to write to; nothing where the command has none."""
    if "out" in options:
        return "; write to another folder with --out DIR"
    if "output" in options:
        return "; write to another folder with --output DIR"
    if "runs_dir" in options:
        return "; choose other folders with --runs-dir and --logs-dir"
    return ""
