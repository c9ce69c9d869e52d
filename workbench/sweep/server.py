"""The chief's side of KerasTuner's protocol: the oracle, served to workers in other processes."""

from concurrent import futures

import grpc
from keras_tuner.src import protos
from keras_tuner.src.distribute.oracle_chief import OracleServicer

from workbench.errors import UserError

WORKER_HEADER = "worker"  # names the worker whose sign of life a request is


class SweepServicer(OracleServicer):
    """KerasTuner's service, with metrics as the plain dictionary that our oracles take, and a sign of life."""

    def UpdateTrial(self, request, context):
        trial = self.oracle.update_trial(request.trial_id, dict(request.metrics), step=request.step)
        return protos.get_service().UpdateTrialResponse(trial=trial.to_proto())

    def GetBestTrials(self, request, context):
        for name, value in context.invocation_metadata():
            if name == WORKER_HEADER:
                self.oracle.heard_of(value)
        return super().GetBestTrials(request, context)


def serve(oracle, host, port, workers=8):
    """Serve an oracle.

    Args:
        oracle: a `workbench.sweep.oracle.TrialKeeper`.
        host, port: where to listen; port 0 takes any free one.
        workers: requests answered at a time.

    Returns:
        (server, port): `server.stop(None)` ends it.

    Raises:
        UserError: the address cannot be bound.
    """
    options = [("grpc.so_reuseport", 0)]  # or two chiefs could share a port without a word
    server = grpc.server(futures.ThreadPoolExecutor(workers), options=options)
    protos.get_service_grpc().add_OracleServicer_to_server(SweepServicer(oracle), server)
    try:
        bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError:
        bound = 0
    if not bound:
        raise UserError(f"--oracle-address {host}:{port}: cannot listen there; is it this machine's, and free?")
    server.start()
    return server, bound
