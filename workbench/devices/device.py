"""Describe what a command computes on, and warn where a GPU is not used."""

import importlib.metadata
import platform
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from workbench.console import console
from workbench.devices.nvidia import Gpu, list_visible_gpus, read_driver_version
from workbench.runtime import count_cores, read_gpu_names
from workbench.wording import format_count

_INSTRUCTIONS = {  # flag in /proc/cpuinfo -> what it is called, the fastest first
    "amx_bf16": "AMX bf16",
    "avx512_bf16": "AVX-512 bf16",
    "avx512f": "AVX-512",
    "avx2": "AVX2",
}
_INSTALL = "pip install 'tensorflow[and-cuda]'"


def announce_device(strategy: str = "single", *, to_stderr: bool = False) -> None:
    """Print what TensorFlow, which is loaded, computes on, and a warning on stderr if it does not use the GPU.

    Args:
        strategy: see `describe_device`.
        to_stderr: whether the command's own output must hold nothing else.
    """
    print_device(describe_device(strategy), to_stderr=to_stderr)


def print_device(device: str, *, to_stderr: bool = False) -> None:
    """Print what a command computes on, and a warning on stderr if TensorFlow does not use the machine's GPU."""
    line = f"device: {device}"
    if to_stderr:
        print(line, file=sys.stderr)
    else:
        console.print(line)
    warning = find_unused_gpus()
    if warning:
        print(f"warning: {warning}", file=sys.stderr)


def describe_device(strategy: str = "single") -> str:
    """Return what TensorFlow computes on, such as `2 CPU cores, AVX2` or `NVIDIA H100 80GB HBM3, 80 GB`.

    Args:
        strategy: `single` uses the first GPU, the others use all of this machine.
    """
    names = read_gpu_names()
    if not names:
        return describe_cpu()
    known = {gpu.name: gpu.memory for gpu in list_visible_gpus()}
    gpus = [Gpu("", name, known.get(name)) for name in names]
    return describe_gpus(gpus[:1] if strategy == "single" else gpus)


def describe_gpus(gpus: Sequence[Gpu]) -> str:
    """Return the names and the memory of GPUs; equal ones are counted: `2 x Tesla T4, 15 GB`."""
    words = [gpu.name + (f", {gpu.memory / 2**30:.0f} GB" if gpu.memory else "") for gpu in gpus]
    counts = {word: words.count(word) for word in words}
    return " and ".join(word if count == 1 else f"{count} x {word}" for word, count in counts.items())


def describe_cpu() -> str:
    """Return the number of cores that this process may use, and their fastest instructions for networks."""
    return f"{format_count(count_cores(), 'CPU core')}, {_read_instructions()}"


def _read_instructions() -> str:
    try:
        found = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.M)
    except OSError:  # not Linux
        found = None
    flags = set(found[1].split()) if found else set()
    return next((name for flag, name in _INSTRUCTIONS.items() if flag in flags), platform.machine())


def find_unused_gpus() -> str | None:
    """Return a warning if the machine has GPUs that TensorFlow, which is loaded, cannot use; else None."""
    gpus = list_visible_gpus()
    return None if not gpus or read_gpu_names() else explain_unused_gpus(gpus)


def explain_unused_gpus(gpus: Sequence[Gpu]) -> str:
    """Return why TensorFlow may not see these GPUs, and what to do."""
    if sys.platform == "win32":
        advice = "it uses GPUs under Linux only, also in WSL2: install the project there"
    elif missing := _find_missing_library():
        advice = f"{missing} is not installed; to use the GPU: {_INSTALL}"
    else:
        advice = f"its CUDA libraries are installed, so update the NVIDIA driver (now {read_driver_version()})"
    return f"this machine has {describe_gpus(gpus)}, but TensorFlow computes on the CPU: {advice}"


def _find_missing_library() -> str | None:
    """Return the first package of `tensorflow[and-cuda]` that is not installed; None if all are."""
    try:
        needed = importlib.metadata.requires("tensorflow") or []
    except importlib.metadata.PackageNotFoundError:  # a build for the CPU, which has another name
        return "tensorflow[and-cuda]"
    for line in needed:
        requirement, _, condition = line.partition(";")
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        if "and-cuda" in condition and not _is_installed(name):
            return name
    return None


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
