"""How many worker processes a sweep starts on this machine, and which GPU or CPU threads each of them gets."""

import dataclasses
import sys
from collections.abc import Sequence
from typing import Literal

import psutil

from workbench.devices.nvidia import VISIBLE, Gpu, list_visible_gpus
from workbench.runtime import count_cores, make_python_path, read_gpu_names

_BYTES_PER_WORKER = 3 << 29  # 1.5 GiB


@dataclasses.dataclass(frozen=True)
class WorkerAllocation:
    """The workers of one machine.

    Attributes:
        count: number of processes.
        gpus: each worker sees one of them; without GPUs the workers share the CPU cores.
    """

    count: int
    gpus: Sequence[Gpu] = ()

    def make_environment(self, number: int) -> dict[str, str]:
        """Return the environment variables that give worker `number` its share: one GPU, or some CPU threads."""
        threads = max(1, count_cores() // self.count)
        environment = {
            "PYTHONPATH": make_python_path(),
            "OMP_NUM_THREADS": str(threads),
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        if self.gpus:
            return {**environment, VISIBLE: self.gpus[number % len(self.gpus)].id}
        return {**environment, VISIBLE: "-1", "WORKBENCH_THREADS": str(threads)}


def allocate_workers(workers: int | Literal["auto"]) -> WorkerAllocation:
    """Return what each worker gets; `auto` is one worker per GPU, or else one per CPU core as memory allows."""
    gpus = list_usable_gpus()
    if workers != "auto":
        return WorkerAllocation(workers, gpus)
    if gpus:
        return WorkerAllocation(len(gpus), gpus)
    return WorkerAllocation(max(1, min(count_cores(), psutil.virtual_memory().total // _BYTES_PER_WORKER)))


def list_usable_gpus() -> list[Gpu]:
    """Return the GPUs that workers can use. Whether TensorFlow sees them is known only if it is loaded."""
    gpus = list_visible_gpus()
    return [] if gpus and "tensorflow" in sys.modules and not read_gpu_names() else gpus
