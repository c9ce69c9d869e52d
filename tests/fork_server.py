"""Run commands as forks of one process that has imported TensorFlow: `python -m tests.fork_server SOCKET`.

An import of TensorFlow takes seconds of CPU time, which every process that a test starts would spend again. This
process imports it at the first request, initializes no devices and runs no operation, so that its forks can do both.

A client connects, and sends the length of a JSON object (4 bytes), standard input, output and error as file
descriptors, then the object: `command` as for `subprocess.Popen` (a Python with `-m`, `-c` or a script), `environment`,
`folder` to work in. It receives the process id and, when the process has ended, the exit code; 4 bytes each.
`tests/processes.py` is the client. The server ends with its standard input.
"""

import gc
import json
import os
import runpy
import select
import signal
import socket
import struct
import sys
import types

NUMBER = struct.Struct("=i")


def main() -> None:
    """Serve until standard input ends. In a fork, return after the command that it runs."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the keepers
    server = socket.socket(socket.AF_UNIX)
    server.bind(sys.argv[1])
    server.listen(64)
    while server in select.select([server, sys.stdin], [], [])[0]:
        connection = server.accept()[0]
        message, files, _, _ = socket.recv_fds(connection, NUMBER.size, 3)
        with connection.makefile("rb") as stream:
            request = json.loads(stream.read(*NUMBER.unpack(message)))
        preload()
        if os.fork() == 0 and keep(connection):
            server.close()
            connection.close()
            run(files, **request)
            return
        connection.close()
        for file in files:
            os.close(file)


def preload() -> None:
    """Import TensorFlow and what most commands need, once."""
    if "keras_tuner" in sys.modules:
        return
    from workbench.runtime import import_tensorflow

    import_tensorflow(with_keras_tuner=True)

    from tests.processes import start_worker
    from workbench.reporting import run_page, sweep_page  # noqa: F401
    from workbench.sweep import command, tuners, workers  # noqa: F401
    from workbench.training import loop  # noqa: F401

    workers.start_worker_process = start_worker
    gc.freeze()  # a collection in a fork would copy the memory of all objects


def keep(connection: socket.socket) -> bool:
    """Fork again, and return True in the fork. Report its process id and its exit code, and end with it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    process = os.fork()
    if process == 0:
        return True
    try:
        connection.sendall(NUMBER.pack(process))
        os.closerange(0, connection.fileno())  # a pipe ends with the process that it belongs to
        os.closerange(connection.fileno() + 1, 4096)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        connection.sendall(NUMBER.pack(code))
    except OSError:
        pass  # the client has ended
    finally:
        os._exit(0)


def run(files: list[int], command: list[str], environment: dict[str, str], folder: str) -> None:
    """Become the process that was asked for, and do what Python does with the command."""
    for target, file in enumerate(files):
        os.dup2(file, target)
        os.close(file)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    _, kind, *words = command
    if kind == "-m":
        sys.path.insert(0, folder)
        sys.argv = words
        sys.modules.pop(words[0], None)
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.path.insert(0, "")
        sys.argv = ["-c", *words[1:]]
        main_module = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(words[0], "<string>", "exec"), vars(main_module))
    elif kind.startswith("-"):
        raise ValueError(f"cannot run {command}")
    else:
        sys.path.insert(0, os.path.dirname(os.path.abspath(kind)))
        sys.argv = [kind, *words]
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    main()
