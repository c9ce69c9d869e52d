"""Start processes as forks of one that has imported TensorFlow, because each import takes seconds."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from typing import IO

_MOST_FILES = 4096  # file descriptors that a child closes


class ForkedProcess:
    """A function that runs in a fork of this process; used like a `subprocess.Popen` with pipes for input and output.

    Fork before this process has threads of TensorFlow or gRPC.

    Args:
        function: what the child does. Its exit code is that of `sys.exit`, 1 after an exception, else 0.
        errors: file for what the child writes to standard error.
        environment: variables that it gets in addition to this process's.
    """

    def __init__(self, function: Callable[[], None], errors: IO[str], environment: Mapping[str, str] = {}) -> None:
        (read, write), (answer_read, answer_write) = os.pipe(), os.pipe()
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _run(function, read, answer_write, errors, environment)
        os.close(read)
        os.close(answer_write)
        self.stdin, self.stdout = os.fdopen(write, "wb"), os.fdopen(answer_read, "rb")

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float = 60) -> int:
        """Wait for the end, and return the exit code."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                self.kill()
                raise TimeoutError(f"process {self.pid} has not ended after {timeout} s")
            time.sleep(0.005)
        return code

    def kill(self) -> None:
        """Send SIGKILL."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


def _run(function: Callable[[], None], read: int, write: int, errors: IO[str], environment: Mapping[str, str]) -> None:
    """Run the function in the child, and end the child."""
    code = 1
    try:
        for source, target in ((read, 0), (write, 1), (errors.fileno(), 2)):
            os.dup2(source, target)
        os.closerange(3, _MOST_FILES)  # also the pipes of the other children, which end when theirs is closed
        sys.stdin = open(0, closefd=False)  # noqa: SIM115
        sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115
        os.environ.update(environment)
        function()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
