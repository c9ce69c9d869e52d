"""The command's side of the mailbox: it answers the calls of the workers in threads."""

import concurrent.futures
import contextlib
import functools
import json
import pickle
from collections.abc import Container
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, ObjectLostError, RayError

from workbench.sweep.executor import TICK, ServedOracle, WantsWeights
from workbench.sweep.ray_cluster.mailbox import Message
from workbench.sweep.ray_cluster.shared_dataset import share_dataset, share_images
from workbench.sweep.ray_cluster.trial_files import RESULT, Files, unpack_files

_THREADS = 64  # calls that are answered at the same time
_PATIENCE = 600  # seconds that the files of a trial may take
_FAREWELL = 3  # seconds for the answers that are being given when the sweep ends


class CallServer:
    """Answers the calls of workers.

    Args:
        mailbox: has the calls, and passes the answers on.
        tuner: whose trials run; says where their files belong, and loads the data sets.
        oracle: hands out the trials.
        wants_weights: whether the weights of a trial with this id and result are wanted; others are not sent.
    """

    def __init__(self, mailbox: Any, tuner: Any, oracle: ServedOracle, wants_weights: WantsWeights) -> None:
        self._mailbox, self._oracle, self._wants_weights = mailbox, oracle, wants_weights
        self._folders, self._hypermodel = tuner.list_folders(), tuner.hypermodel
        self._threads, self._loader = ThreadPoolExecutor(_THREADS), ThreadPoolExecutor(1)
        self._data: dict[tuple[str, int], Future[Message]] = {}  # by the name of the method and the image size
        self._running: set[Future[Message]] = set()
        self._coming: ray.ObjectRef | None = None  # calls that were asked for and not yet looked at

    def serve(self, workers: Container[str]) -> None:
        """Begin to answer the calls that have come, or that come within a moment. Answers are sent when they are ready.

        Args:
            workers: names of those that are answered.

        Raises:
            BaseException: that of a call which could not be answered, such as of a full disk.
        """
        self._coming = self._coming or self._mailbox.collect.remote(TICK)
        for number, name, (call, large) in ray.get(self._coming):
            if name in workers:
                method, arguments = pickle.loads(call)
                answer = self._begin(method, arguments, large)
                self._running.add(answer)
                answer.add_done_callback(functools.partial(self._send, number))
        self._coming = None  # only now: after Ctrl-C, `finish` looks at them again
        self._forget_answered()

    def finish(self, workers: Container[str]) -> None:
        """Record the trials whose results have come by now, and answer no further calls.

        Raises:
            BaseException: see `serve`.
        """
        try:
            with contextlib.suppress(RayError):
                self.serve(workers)
        finally:
            concurrent.futures.wait(self._running, _FAREWELL)
            for threads in (self._loader, self._threads):
                threads.shutdown(wait=False, cancel_futures=True)
        self._forget_answered()

    def _forget_answered(self) -> None:
        """Forget the calls that are answered; raise the error of one that could not be."""
        answered = {answer for answer in self._running if answer.done() and not answer.cancelled()}
        self._running -= answered
        for answer in answered:
            if error := answer.exception():
                raise error

    def _begin(self, method: str, arguments: tuple, large: list["ray.ObjectRef"]) -> "Future[Message]":
        if method not in ("load_dataset", "load_images"):
            return self._threads.submit(self._answer, method, arguments, large)
        key = (method, *arguments)
        if key not in self._data:  # loaded in a thread of its own, so that other workers are answered meanwhile
            self._data[key] = self._loader.submit(self._load, *key)
        return self._data[key]

    def _send(self, number: int, answer: "Future[Message]") -> None:
        if answer.cancelled() or answer.exception():
            return
        with contextlib.suppress(RayError):  # the mailbox has ended
            self._mailbox.answer.remote(number, answer.result())

    def _answer(self, method: str, arguments: tuple, large: list["ray.ObjectRef"]) -> Message:
        """Answer a call. The files of a trial may take a while: those of a machine that is gone never come.

        Those of a trial that another worker has finished are not needed.
        """
        try:
            if method == "end_trial":
                trial = self._oracle.scheduler.trials.get(arguments[0].trial_id)
                if trial is not None and not trial.is_finished:
                    self._receive_files(trial.id, *large)
        except (ObjectLostError, GetTimeoutError):  # a worker that still lives will run the trial again
            return pickle.dumps(None), []
        return pickle.dumps(self._oracle.answer(method, *arguments)), []

    def _receive_files(self, trial_id: str, small: "ray.ObjectRef", weights: "ray.ObjectRef") -> None:
        """Write the files of a trial into the folders of the sweep. Weights that are not wanted stay where they are."""
        files: Files = ray.get(small, timeout=_PATIENCE)
        results = [content for (_, inner), content in files.items() if PurePosixPath(inner).name == RESULT]
        if not results or self._wants_weights(trial_id, json.loads(results[0].tobytes())):
            files = {**ray.get(weights, timeout=_PATIENCE), **files}
        unpack_files(files, self._folders, trial_id)

    def _load(self, method: str, image_size: int) -> Message:
        """Load a data set, or put its images into the object store, which a worker asks for that cannot map them."""
        dataset = self._hypermodel.load_dataset(image_size)
        if method == "load_dataset":
            return pickle.dumps(share_dataset(dataset)), []
        return b"", [share_images(dataset)]
