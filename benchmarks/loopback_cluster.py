"""A Ray cluster of nodes on this machine, each a raylet with an address of its own on the loopback."""

import os
import signal
from types import TracebackType
from typing import Any

import psutil
from ray.cluster_utils import Cluster

_STORE = 80 << 20  # bytes of a node's object store
_SETTINGS = {
    "RAY_worker_niceness": "0",  # by default, Ray's workers yield to other programs, unlike local ones
    "RAY_raylet_start_wait_time_s": "300",  # a busy machine needs longer than 30 s
}
_ATTEMPTS = 5  # to start a node on a busy machine


class LoopbackCluster:
    """Nodes of Ray, at first of one core each, the first of which is the head. Used in a `with` statement."""

    def __init__(self, num_nodes: int) -> None:
        self._num_nodes, self._number = num_nodes, 1

    def __enter__(self) -> "LoopbackCluster":
        os.environ.update(_SETTINGS)
        self._cluster = Cluster()
        for _ in range(self._num_nodes):
            self.add_node()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cluster.shutdown()

    @property
    def address(self) -> str:
        """The address of the cluster."""
        return self._cluster.address

    @property
    def options(self) -> list[str]:
        """The options of a sweep on this cluster."""
        return ["--executor=ray", f"--ray-address={self.address}"]

    def add_node(self, **options: Any) -> None:
        """Start a node, the first of which is the head.

        Args:
            **options: of `ray.cluster_utils.Cluster.add_node`; by default a node has one core.
        """
        for attempt in range(_ATTEMPTS):
            try:
                self._last = self._cluster.add_node(**self._describe_node(**options))
                return
            except Exception as error:
                if attempt == _ATTEMPTS - 1 or "timed out" not in str(error):
                    raise

    def runs_trials(self) -> bool:
        """Return whether a worker of a sweep runs on the last node."""
        for process in self._find_raylet().children():
            try:
                if process.cmdline()[0].startswith("ray::TrialWorker.run"):
                    return True
            except (psutil.Error, IndexError):  # it has just ended
                continue
        return False

    def kill_node(self) -> None:
        """Send SIGKILL to the raylet of the last node, and then to the processes that it leaves behind."""
        self._find_raylet().send_signal(signal.SIGKILL)
        self._cluster.remove_node(self._last, allow_graceful=False)

    def _find_raylet(self) -> psutil.Process:
        return psutil.Process(self._last.all_processes["raylet"][0].process.pid)

    def _describe_node(self, **options: Any) -> dict[str, Any]:
        self._number += 1
        address = f"127.0.0.{self._number}"
        head_options = {} if self._cluster.head_node else {"include_dashboard": False}
        return {"node_ip_address": address, "object_store_memory": _STORE, "num_cpus": 1, **head_options, **options}
