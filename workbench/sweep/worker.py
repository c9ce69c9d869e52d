"""A worker process: `python -m workbench.sweep.worker`, which `workbench.sweep.workers` starts and gives orders.

It imports TensorFlow first and then reads its orders from standard input, so that its start overlaps with the command's
own. Its calls of the oracle go to standard output, and the answers come from standard input, all of them pickled. What
a trial prints goes to standard error. When standard input ends, the command has ended, and the worker ends at once.
"""

import multiprocessing.spawn
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from workbench.errors import UserError
from workbench.failures import describe_failure
from workbench.files import FULL_DISK
from workbench.runtime import import_without_collections, load_tensorflow

REPLACE_ME = 17  # exit code that asks for a fresh process
COMMAND_ENDED = 18  # exit code after the command has ended
DISK_FULL = 19  # exit code after a full disk, which is not the trial's fault; the last line of output describes it
Ask = Callable[..., Any]  # called with the name of an oracle's method and its arguments; returns the answer


def main() -> None:
    """Run trials until there are none."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command, which ends its workers
    stdin, calls = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with import_without_collections():
        load_tensorflow(threads=int(os.environ.get("WORKBENCH_THREADS", "0")), with_keras_tuner=True)
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_read_answers, args=(stdin, answers), daemon=True).start()
    orders = answers.get()

    def ask(*call: Any) -> Any:
        pickle.dump(call, calls)
        calls.flush()
        return answers.get()

    sys.exit(_work(ask, **orders))


def run_task(tuner: Any, arguments: tuple, keywords: Mapping[str, Any], ask: Ask, worker: str) -> bool:
    """Run trials in this process.

    Args:
        tuner: a `SchedulerTuner` of another process.
        arguments, keywords: of its `run_trials`.
        ask: sends a call of the oracle to the command.
        worker: name of this worker.

    Returns:
        True when there are no more, False when this process should be replaced by a fresh one.

    Raises:
        UserError: a disk is full.
    """
    tuner.connect(ask, worker)
    try:
        return tuner.run_trials(*arguments, **keywords)
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        raise UserError(describe_failure(error, ()) or str(error)) from error


def _work(ask: Ask, path: list[str], script: dict[str, Any] | None, task: bytes, worker: str) -> int:
    """Run trials, and return the exit code.

    Args:
        ask, worker: as for `run_task`.
        task: (tuner, arguments, keyword arguments), pickled.
        path: where the command finds its modules.
        script: describes the command's script where the task needs it, for `multiprocessing`.
    """
    sys.path.extend(folder for folder in path if folder not in sys.path)
    if script:
        multiprocessing.spawn.prepare(script)  # import the user's script as `__main__` and `__mp_main__`
    try:
        tuner, arguments, keywords = pickle.loads(task)
        return 0 if run_task(tuner, arguments, keywords, ask, worker) else REPLACE_ME
    except UserError as error:
        print(error, file=sys.stderr)
        return DISK_FULL


def _read_answers(stream: BinaryIO, answers: "queue.SimpleQueue[Any]") -> None:
    code = COMMAND_ENDED
    try:
        while True:
            answers.put(pickle.load(stream))
    except EOFError:
        pass
    except Exception:
        traceback.print_exc()
        code = 1
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
