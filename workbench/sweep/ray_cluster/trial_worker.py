"""The actor that runs trials, a worker of a sweep. It writes into a temporary folder and sends the files."""

import contextlib
import os
import pickle
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import ray

from workbench.data.dataset import Dataset
from workbench.runtime import import_without_collections, load_tensorflow
from workbench.sweep.ray_cluster.mailbox import Message
from workbench.sweep.ray_cluster.trial_files import move_folders, pack_files
from workbench.sweep.worker import run_task


class TrialWorker:
    """Runs trials in a process of a cluster's node.

    Args:
        environment: variables that it gets.
        threads: TensorFlow's, 0 for as many as there are cores.
    """

    def __init__(self, environment: Mapping[str, str], threads: int) -> None:
        os.environ.update(environment)
        with import_without_collections():
            load_tensorflow(threads=threads, with_keras_tuner=True)

    def run(self, task: bytes, mailbox: Any, name: str) -> bool:
        """Run trials until there are none, see `workbench.sweep.worker.run_task`.

        Args:
            task: (tuner, arguments, keyword arguments), pickled.
            mailbox: leads to the command.
            name: of this worker.
        """
        tuner, arguments, keywords = pickle.loads(task)
        with open_worker_folder() as root:
            folders = move_folders(tuner.list_folders(), root)

            def ask(method: str, *call_arguments: Any) -> Any:
                files = [ray.put(part) for part in pack_files(folders)] if method == "end_trial" else []
                call: Message = (pickle.dumps((method, call_arguments)), files)
                reply: Message = ray.get(mailbox.ask.remote(name, call))
                answer, large = reply
                return ray.get(large[0]) if large else pickle.loads(answer)

            def load_dataset(image_size: int) -> Dataset:
                return ask("load_dataset", image_size).open(lambda: ask("load_images", image_size))

            tuner.move_folders(folders, load_dataset)
            return run_task(tuner, arguments, keywords, ask, name)


@contextlib.contextmanager
def open_worker_folder() -> Iterator[Path]:
    """Yield a temporary folder, and remove those of workers of this machine that were killed."""
    prefix = f"sweep-{socket.gethostname()}-"
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        pid = folder.name.removeprefix(prefix).partition("-")[0]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{prefix}{os.getpid()}-", ignore_cleanup_errors=True) as name:
        yield Path(name)
