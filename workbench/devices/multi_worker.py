"""One training in several processes, such as one on each machine of a cluster: `--strategy multi_worker`.

The same command runs in each process, and tf.distribute.MultiWorkerMirroredStrategy lets them share each batch. To make
a variable, or to read one that belongs to all, it needs every process. So all of them do the same in the same order,
and none of their decisions may depend on what only one of them knows, such as its speed or its cache. Only the first
process shows the training and leaves a run folder; the others print errors only, and write into temporary folders.

Further code for it: `load_tensorflow` in runtime.py connects the processes, `_share_out` in data/pipeline.py gives each
one its part of a batch, and `DistributedModel` in keras_graph.py is what Keras lacks.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from workbench.config import flatten, replace
from workbench.console import console
from workbench.errors import UserError
from workbench.files import read_yaml, write_text
from workbench.runtime import count_devices, gather_numbers, load_tensorflow
from workbench.signals import end_at_once_on_signals

Config = TypeVar("Config")
MULTI_WORKER = "multi_worker"
_EXAMPLE = '{"cluster": {"worker": ["host1:12345", "host2:12345"]}, "task": {"type": "worker", "index": 0}}'
_MEASURED = ("precision", "feature_precision")  # options whose `auto` is measured, in each process differently
# Names of TensorFlow's errors if another process cannot be reached.
_LOST = {"UnavailableError", "AbortedError", "CancelledError", "DeadlineExceededError"}
_MAY_DIFFER = {  # in the processes: paths of a machine, and what concerns only the first one
    *("data", "labels", "groups", "cache_dir", "weights", "from_"),
    *("name", "runs_dir", "logs_dir", "overwrite", "resume", "wandb"),
}


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The processes that train together.

    Attributes:
        count: how many there are.
        index: which one this is, counted from 0.
    """

    count: int
    index: int

    @property
    def is_first(self) -> bool:
        """Whether this process shows the training and leaves the run folder."""
        return self.index == 0

    def __str__(self) -> str:
        return f"process {self.index + 1} of {self.count}"


def read_cluster() -> Cluster:
    """Read the environment variable TF_CONFIG, which lists the processes and says which one this is.

    The list has workers and, as some operators of Kubernetes write it, a chief, which is the first process.

    Raises:
        UserError: it is missing or malformed; shows an example.

    Source: https://www.tensorflow.org/guide/distributed_training#TF_CONFIG
    """
    text = os.environ.get("TF_CONFIG")
    if not text:
        raise UserError(f"--strategy multi_worker: set TF_CONFIG in each process, such as TF_CONFIG='{_EXAMPLE}'")
    try:
        content = json.loads(text)
        jobs, task = content["cluster"], content["task"]
        chiefs, workers = jobs.get("chief", []), jobs.get("worker", [])
        index = {"chief": 0, "worker": len(chiefs)}[task["type"]] + int(task["index"])
        addresses = [*chiefs, *workers]
        is_valid = (
            set(jobs) <= {"chief", "worker"}
            and len(chiefs) <= 1
            and 0 <= int(task["index"]) < len(jobs[task["type"]])
            and all(isinstance(address, str) and ":" in address for address in addresses)
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        is_valid = False
    if not is_valid:
        raise UserError(f"TF_CONFIG: expected the address of each process and which one this is, such as '{_EXAMPLE}'")
    if len(addresses) == 1:
        raise UserError("TF_CONFIG: lists one process only; add the others, or leave out --strategy multi_worker")
    return Cluster(len(addresses), index)


@contextlib.contextmanager
def join_processes(config: Config) -> Iterator[Config]:
    """Wait for the other processes of a training, and give the configuration with which this one trains.

    Does nothing unless `config`, or the run that it resumes, says `strategy: multi_worker`. No process leaves the block
    before all are at its end.

    Raises:
        UserError: TF_CONFIG or an option cannot be used, or another process has ended early.
        KeyboardInterrupt: Ctrl-C; without the advice to resume, except in the first process.
    """
    if _find_strategy(config) != MULTI_WORKER:
        yield config
        return
    config = _settle(config)
    cluster = read_cluster()
    was_quiet, console.quiet = console.quiet, not cluster.is_first
    try:
        console.print(f"{cluster}: waiting for the others")
        with end_at_once_on_signals(), _explain_connecting(cluster):
            load_tensorflow(strategy=MULTI_WORKER)
        if count_devices(MULTI_WORKER) != cluster.count:
            raise UserError(
                f"{cluster}: sees several GPUs; start one process for each GPU, with another CUDA_VISIBLE_DEVICES"
            )
        with _explain_end(cluster), _write_run_once(config, cluster) as config:
            gather_numbers(0)  # waits, before the first one changes a run that the others copy
            yield config
            gather_numbers(0)
    finally:
        console.quiet = was_quiet


def compare_processes(config: Any, images: Sequence[tuple]) -> None:
    """Refuse processes of one training that do not have the same options and images. Does nothing in other trainings.

    Args:
        config: of a training, with the section `training`.
        images: begin with name, class, part and content of each image that this process has read; more is ignored.

    Raises:
        UserError: says which process differs from the first one.
    """
    if config.training.strategy != MULTI_WORKER:
        return
    options = {name: value for name, value in flatten(config).items() if name not in _MAY_DIFFER}
    history = Path(config.run.resume or "", "history.csv")
    done = history.read_text(encoding="utf-8") if config.run.resume and history.exists() else ""
    facts = repr((options, [image[:4] for image in images], done))
    digest = int.from_bytes(hashlib.sha256(facts.encode(errors="surrogateescape")).digest()[:7])
    first, *others = gather_numbers(digest)
    for number, other in enumerate(others, 2):
        if other != first:
            raise UserError(f"process {number} has other options, images or labels than process 1; all need the same")


def _find_strategy(config: Any) -> str | None:
    """Return the strategy that a configuration asks for, or the one of the run that it resumes; None for none."""
    values = flatten(config)
    strategy, resumed = values.get("strategy"), None
    if strategy != MULTI_WORKER and values.get("resume"):
        with contextlib.suppress(OSError, UserError):  # reported where the run is opened
            resumed = read_yaml(Path(values["resume"]) / "config.yaml")
    return resumed.get("strategy") if isinstance(resumed, dict) else strategy


def _settle(config: Config) -> Config:
    """Return a configuration with which each process does the same: nothing depends on its clock or its speed.

    Raises:
        UserError: an option has no meaning for several processes.
    """
    values = flatten(config)
    if "resume" not in values:
        raise UserError("--strategy multi_worker: trains one network, but this command trains several of them")
    if values["budget"]:
        raise UserError(f"--budget {values['budget']}: several processes have several clocks; give --epochs instead")
    for name in ("lr_find", "folds"):
        if values[name]:
            raise UserError(f"--{name.replace('_', '-')}: uses one machine; leave out --strategy multi_worker")
    if values["resume"]:
        return config  # the saved configuration is settled
    return replace(config, **{name: "float32" for name in _MEASURED if values.get(name) == "auto"})


@contextlib.contextmanager
def _explain_connecting(cluster: Cluster) -> Iterator[None]:
    """Say in one line why a process cannot be connected with the others, such as a port that is in use."""
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith("tensorflow."):
            raise
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{cluster}: cannot be connected ({reason}); are the addresses in TF_CONFIG right, and the ports free?"
        ) from error


@contextlib.contextmanager
def _explain_end(cluster: Cluster) -> Iterator[None]:
    """Say in one line why a process ends early, and which one it is."""
    try:
        yield
    except KeyboardInterrupt:
        if cluster.is_first:
            raise
        raise KeyboardInterrupt(f"{cluster}: stopped") from None
    except UserError as error:
        if cluster.is_first:
            raise
        raise UserError(f"{cluster}: {error}") from error
    except Exception as error:
        if type(error).__name__ not in _LOST:
            raise
        raise UserError(
            f"{cluster}: another one has ended or cannot be reached; see its last line, and continue with --resume if "
            "an epoch was finished"
        ) from error


@contextlib.contextmanager
def _write_run_once(config: Config, cluster: Cluster) -> Iterator[Config]:
    """Let each process but the first write its run, or a copy of the run that is resumed, into a temporary folder."""
    if cluster.is_first:
        yield config
        return
    with tempfile.TemporaryDirectory() as folder:
        runs, logs = Path(folder, "runs"), Path(folder, "logs")
        resumed = flatten(config)["resume"]
        if not resumed:
            yield replace(config, runs_dir=str(runs), logs_dir=str(logs), wandb=False)
            return
        copy = runs / Path(resumed).resolve().name
        shutil.copytree(resumed, copy)
        saved = read_yaml(copy / "config.yaml")
        write_text(copy / "config.yaml", yaml.safe_dump({**saved, "logs_dir": str(logs)}, sort_keys=False))
        yield replace(config, resume=str(copy), runs_dir=str(runs), logs_dir=str(logs), wandb=False)
