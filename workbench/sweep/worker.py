"""A worker process: python -m workbench.sweep.worker, started and told what to do by `workbench.sweep.pool`.

It brings TensorFlow up first and then reads its orders, one line of JSON, from standard input, so that
start-up overlaps with the command's own. When standard input ends, whoever gave the orders is gone, and the
worker leaves at once.
"""

import importlib
import json
import os
import signal
import sys
import threading
import time

REPLACE_ME = 17  # exit code that asks for a fresh process
CHIEF_LOST = 18
_HEARTBEAT = 10  # seconds between two signs of life
_PATIENCE = 120  # seconds without an answer after which the chief is taken for dead


def main():
    """Run trials until the oracle has none."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command, which ends its workers
    from workbench.runtime import load_tensorflow, skip_optional_imports

    load_tensorflow(threads=int(os.environ.get("WORKBENCH_THREADS", "0")))
    with skip_optional_imports():
        import keras_tuner  # noqa: F401  (slow: before the orders come)
    line = sys.stdin.readline()
    if not line:
        return
    threading.Thread(target=_leave_when_orphaned, daemon=True).start()
    sys.exit(_work(**json.loads(line)))


def _work(factory, folder, objective, host, port, worker_id):
    """Run trials; the exit code."""
    import keras_tuner

    from workbench.sweep.tuner import SweepTuner

    os.environ.update(KERASTUNER_TUNER_ID=worker_id, KERASTUNER_ORACLE_IP=host, KERASTUNER_ORACLE_PORT=str(port))
    module, _, name = factory.partition(":")
    hypermodel = getattr(importlib.import_module(module), name)(folder)
    tuner = SweepTuner(hypermodel, keras_tuner.Oracle(keras_tuner.Objective(*objective)), folder)
    threading.Thread(target=_heartbeat, args=(tuner.oracle,), daemon=True).start()
    return 0 if tuner.search() else REPLACE_ME


def _leave_when_orphaned():
    sys.stdin.read()
    os._exit(CHIEF_LOST)


def _heartbeat(oracle):
    """Tell the chief every few seconds that this worker is alive; leave when it does not answer any more."""
    import grpc
    from keras_tuner.src import protos

    from workbench.sweep.server import WORKER_HEADER

    request = protos.get_service().GetBestTrialsRequest(num_trials=0)
    answered = time.monotonic()
    while True:
        time.sleep(_HEARTBEAT)
        try:
            metadata = ((WORKER_HEADER, oracle.tuner_id),)
            oracle.stub.GetBestTrials(request, timeout=_HEARTBEAT, metadata=metadata)
            answered = time.monotonic()
        except grpc.RpcError:
            if time.monotonic() - answered > _PATIENCE:
                os._exit(CHIEF_LOST)


if __name__ == "__main__":
    main()
