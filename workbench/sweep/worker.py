"""A worker process: `python -m workbench.sweep.worker`, which `workbench.sweep.workers` starts and gives orders.

It imports TensorFlow first and then reads its orders, one line of JSON, from standard input, so that its start overlaps
with the command's own. When standard input ends, the command has ended, and the worker ends at once.
"""

import json
import multiprocessing.spawn
import os
import pickle
import signal
import sys
import threading

from workbench.failures import describe_failure
from workbench.files import FULL_DISK
from workbench.runtime import load_tensorflow

REPLACE_ME = 17  # exit code that asks for a fresh process
CHIEF_LOST = 18  # exit code after the command has ended, or has not answered for two minutes
DISK_FULL = 19  # exit code after a full disk, which is not the trial's fault; the last line of output describes it


def main() -> None:
    """Run trials until there are none."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command, which ends its workers
    load_tensorflow(threads=int(os.environ.get("WORKBENCH_THREADS", "0")), with_keras_tuner=True)
    line = sys.stdin.readline()
    if not line:
        return
    threading.Thread(target=_exit_when_orphaned, daemon=True).start()
    sys.exit(_work(**json.loads(line)))


def _work(task: str, host: str, port: int, worker: str) -> int:
    """Run trials, and return the exit code.

    Args:
        task: path of the pickled task, see `WorkerPool.send_orders`.
        host, port: where the command listens.
        worker: name of this worker.
    """
    with open(task, "rb") as file:
        path, script = pickle.load(file)
        sys.path.extend(folder for folder in path if folder not in sys.path)
        if script:
            multiprocessing.spawn.prepare(script)  # import the user's script as `__main__` and `__mp_main__`
        tuner, arguments, keywords = pickle.load(file)
    tuner.connect(host, port, worker).send_heartbeats(lambda: os._exit(CHIEF_LOST))
    try:
        return 0 if tuner.run_trials(*arguments, **keywords) else REPLACE_ME
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        print(describe_failure(error, ()), file=sys.stderr)
        return DISK_FULL


def _exit_when_orphaned() -> None:
    sys.stdin.read()
    os._exit(CHIEF_LOST)


if __name__ == "__main__":
    main()
