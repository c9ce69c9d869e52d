"""Call commands as new processes do, and see what they import: each in a fork of one process without any command.

A new Python takes most of a second to import what all commands need, so one does that for all calls.
"""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Sequence

HEAVY = ("tensorflow", "keras", "matplotlib", "scipy", "sklearn", "nicegui")
_CODE = f"""
import json, os, runpy, sys, tempfile
import workbench.cli

def call(words, files):
    for number, file in enumerate(files, 1):
        os.dup2(file.fileno(), number)
    sys.argv = words
    code = 0
    try:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    except SystemExit as left:
        code = left.code or 0
    sys.stdout.flush()
    sys.stderr.flush()
    imported = [name for name in {HEAVY} if name in sys.modules]
    json.dump([code, imported], files[2])
    files[2].flush()
    os._exit(0)

calls = []
for words in json.load(sys.stdin):
    files = [tempfile.TemporaryFile("w+") for _ in range(3)]
    child = os.fork()
    if child == 0:
        call(words, files)
    os.waitpid(child, 0)
    for file in files:
        file.seek(0)
    calls.append([files[0].read(), files[1].read(), *json.load(files[2])])
print(json.dumps(calls))
"""


@dataclasses.dataclass(frozen=True)
class FreshCall:
    """What a command has printed and imported.

    Attributes:
        output, errors: what it wrote to standard output and standard error.
        code: exit code.
        imported: the modules of `HEAVY` that it has imported.
    """

    output: str
    errors: str
    code: int
    imported: list[str]


def call_fresh(commands: Sequence[Sequence[str]]) -> list[FreshCall]:
    """Call `python -m COMMAND` for each command, and return what each has done."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    options = {"env": environment, "input": json.dumps(commands), "text": True, "check": True}
    ended = subprocess.run([sys.executable, "-c", _CODE], stdout=subprocess.PIPE, **options)
    return [FreshCall(*call) for call in json.loads(ended.stdout)]
