"""Run a command, and send SIGKILL to it before it changes a file.

    python -m benchmarks.write_failures.killed_process NUMBER MODULE WORDS

NUMBER is that of the change among those of the working folder, MODULE and WORDS are the command line.
"""

import os
import runpy
import signal
import sys
from pathlib import Path

from benchmarks.write_failures.events import WriteEvent, leave_out_timed_writes, watch_writes


def main() -> None:
    """Run the command line."""
    number, module, *words = sys.argv[1:]

    def act(event: WriteEvent) -> None:
        if event.number == int(number):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.argv = [module, *words]
    with watch_writes(Path.cwd(), act), leave_out_timed_writes():
        runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
