"""Processes that tests start: used like `subprocess`, but forks of one that has imported TensorFlow (`fork_server.py`).

Where the start itself is tested, such as what it prints or how long it takes, use `subprocess`.
"""

import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import IO, Any

from tests.fork_server import NUMBER

ADDRESS = "TESTS_FORK_SERVER"  # environment variable: the socket of the server

TWO_DEVICES = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
"""
"""Code with which a process begins that has two logical devices."""


class Process:
    """A process like `subprocess.Popen`, with text instead of bytes except for standard input.

    Args:
        command: `[sys.executable, "-m", module, ...]`, `[sys.executable, "-c", code, ...]` or
            `[sys.executable, script, ...]`.
        env: all its environment variables; None stands for this process's.
        stdin, stdout, stderr: None for this process's, PIPE, DEVNULL, or a file.
    """

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str] | None = None,
        stdin: IO[Any] | int | None = DEVNULL,
        stdout: IO[Any] | int | None = None,
        stderr: IO[Any] | int | None = None,
    ) -> None:
        self.args, self.returncode = list(command), None
        self.stdin, read = _open_input(stdin)
        (self.stdout, out), (self.stderr, error) = _open_output(stdout, 1), _open_output(stderr, 2)
        request = {"command": self.args, "environment": dict(os.environ if env is None else env), "folder": os.getcwd()}
        message = json.dumps(request).encode()
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(os.environ[ADDRESS])
        socket.send_fds(self._connection, [NUMBER.pack(len(message))], [read, out, error])
        self._connection.sendall(message)
        for file in (read, out, error):
            os.close(file)
        self.pid = self._receive()

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *exception: object) -> None:
        for file in (self.stdin, self.stdout, self.stderr):
            if file:
                file.close()
        self.wait()

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        if self.returncode is None:
            self._connection.setblocking(False)
            try:
                self.returncode = self._receive()
            except BlockingIOError:
                return None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end, and return the exit code."""
        if self.returncode is None:
            self._connection.settimeout(timeout)
            try:
                self.returncode = self._receive()
            except TimeoutError:
                raise subprocess.TimeoutExpired(self.args, timeout or 0) from None
        return self.returncode

    def communicate(self) -> tuple[str, str]:
        """Read the two outputs, which are pipes, until they end; return what was read."""
        errors: list[str] = []
        reader = threading.Thread(target=lambda: errors.append(self.stderr.read()))
        reader.start()
        output = self.stdout.read()
        reader.join()
        self.wait()
        return output, errors[0]

    def send_signal(self, number: int) -> None:
        """Send a signal, if the process still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(9)

    def _receive(self) -> int:
        message = self._connection.recv(NUMBER.size)
        assert message, "the server of processes has ended"
        return NUMBER.unpack(message)[0]


def run(
    command: Sequence[str], env: Mapping[str, str] | None = None, check: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, and return what it printed."""
    with Process(command, env, stdout=PIPE, stderr=PIPE) as process:
        shown = process.communicate()
    done = subprocess.CompletedProcess(process.args, process.wait(), *shown)
    if check:
        assert done.returncode == 0, done.stderr
    return done


def start_worker(log: IO[str], environment: Mapping[str, str]) -> Process:
    """Start a worker as `workbench.sweep.workers.start_worker_process` does."""
    command = [sys.executable, "-m", "workbench.sweep.worker"]
    process = Process(command, {**os.environ, **environment}, stdin=PIPE, stdout=PIPE, stderr=log)
    process.stdout = process.stdout.detach()
    return process


@contextlib.contextmanager
def limit_file_size(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size` bytes: stands for a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def serve(folder: Path) -> Iterator[None]:
    """Start the server, and end it when the generator is closed."""
    address = str(folder / "server")
    command, root = [sys.executable, "-m", "tests.fork_server", address], Path(__file__).parents[1]
    with subprocess.Popen(command, stdin=PIPE, cwd=root) as server:
        while not os.path.exists(address):
            assert server.poll() is None
            time.sleep(0.01)
        os.environ[ADDRESS] = address
        yield
        server.stdin.close()


def _open_input(asked: IO[Any] | int | None) -> tuple[IO[bytes] | None, int]:
    if asked == PIPE:
        read, write = os.pipe()
        return os.fdopen(write, "wb", buffering=0), read
    return None, _duplicate(asked, 0)


def _open_output(asked: IO[Any] | int | None, default: int) -> tuple[IO[str] | None, int]:
    if asked == PIPE:
        read, write = os.pipe()
        return os.fdopen(read, encoding="utf-8"), write
    return None, _duplicate(asked, default)


def _duplicate(asked: IO[Any] | int | None, default: int) -> int:
    if asked == DEVNULL:
        return os.open(os.devnull, os.O_RDWR)
    return os.dup(default if asked is None else asked.fileno())
