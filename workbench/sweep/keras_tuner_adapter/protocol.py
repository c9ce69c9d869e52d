"""KerasTuner's gRPC protocol: the command serves its oracle to the workers, and a worker asks it for trials."""

import os
import threading
import time
from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc
import keras_tuner
from keras_tuner.src import protos
from keras_tuner.src.distribute.oracle_chief import OracleServicer
from keras_tuner.src.distribute.oracle_client import OracleClient
from keras_tuner.src.distribute.utils import has_chief_oracle, is_chief_oracle
from keras_tuner.src.engine.trial import Trial as KerasTunerTrial

from workbench.errors import UserError
from workbench.sweep.keras_tuner_adapter.conversion import restore_floats
from workbench.sweep.keras_tuner_adapter.oracle import SchedulerOracle

_WORKER_HEADER = "worker"  # names the worker whose sign of life a request is
_HEARTBEAT = 10  # seconds between two signs of life
_PATIENCE = 120  # seconds without an answer after which the command is taken for dead


class SweepServicer(OracleServicer):
    """KerasTuner's service, with metrics as the plain dictionary that our oracle takes, and a sign of life."""

    def UpdateTrial(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Record the metrics of an epoch."""
        trial = self.oracle.update_trial(request.trial_id, dict(request.metrics), step=request.step)
        return protos.get_service().UpdateTrialResponse(trial=trial.to_proto())

    def GetBestTrials(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Return the best trials; a worker's sign of life asks for none."""
        for name, value in context.invocation_metadata():
            if name == _WORKER_HEADER:
                self.oracle.scheduler.record_heartbeat(value)
        return super().GetBestTrials(request, context)


def serve(oracle: SchedulerOracle, host: str, port: int, threads: int = 8) -> tuple[grpc.Server, int]:
    """Serve an oracle, and return (server, port); `server.stop(None)` ends it.

    Args:
        oracle: hands out the trials.
        host: address to listen at.
        port: 0 takes any free one.
        threads: number of requests that are answered at a time.

    Raises:
        UserError: the address cannot be bound.
    """
    options = [("grpc.so_reuseport", 0)]  # or two commands could share a port without an error
    server = grpc.server(futures.ThreadPoolExecutor(threads), options=options)
    protos.get_service_grpc().add_OracleServicer_to_server(SweepServicer(oracle), server)
    try:
        bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError:
        bound = 0
    if not bound:
        raise UserError(f"--oracle-address {host}:{port}: cannot listen there; is it this machine's, and free?")
    server.start()
    return server, bound


class RemoteOracle(OracleClient):
    """The oracle of a command in another process, as a worker sees it.

    Args:
        objective: what the trials are ranked by.
        host, port: where the command listens.
        worker: name of the worker.
    """

    def __init__(self, objective: keras_tuner.Objective, host: str, port: int, worker: str) -> None:
        os.environ.update(KERASTUNER_TUNER_ID=worker, KERASTUNER_ORACLE_IP=host, KERASTUNER_ORACLE_PORT=str(port))
        super().__init__(keras_tuner.Oracle(objective))

    def create_trial(self, tuner_id: str) -> KerasTunerTrial:
        """Return the next trial, its numbers as they were before the protocol rounded them."""
        trial = super().create_trial(tuner_id)
        trial.hyperparameters = restore_floats(trial.hyperparameters)
        return trial

    def send_heartbeats(self, on_lost: Callable[[], None]) -> None:
        """Start a thread that gives signs of life, and calls `on_lost` when the command does not answer any more."""
        threading.Thread(target=self._send_heartbeats, args=(on_lost,), daemon=True).start()

    def _send_heartbeats(self, on_lost: Callable[[], None]) -> None:
        request = protos.get_service().GetBestTrialsRequest(num_trials=0)
        answered = time.monotonic()
        while True:
            time.sleep(_HEARTBEAT)
            try:
                metadata = ((_WORKER_HEADER, self.tuner_id),)
                self.stub.GetBestTrials(request, timeout=_HEARTBEAT, metadata=metadata)
                answered = time.monotonic()
            except grpc.RpcError:
                if time.monotonic() - answered > _PATIENCE:
                    on_lost()


def find_chief_address() -> tuple[str, int] | None:
    """Return (host, port) where KerasTuner's environment variables make this process the chief, else None."""
    if not (has_chief_oracle() and is_chief_oracle()):
        return None
    return os.environ["KERASTUNER_ORACLE_IP"], int(os.environ["KERASTUNER_ORACLE_PORT"])
