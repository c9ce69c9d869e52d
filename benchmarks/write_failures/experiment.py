"""One command, stopped at each change of a file and run again."""

import dataclasses
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.write_failures.commands import (
    COMMANDS,
    Outcome,
    Scenario,
    make_environment,
    prepare_folder,
    run_command,
)
from benchmarks.write_failures.events import WriteEvent, fill_disk, watch_writes
from benchmarks.write_failures.states import State, drop_temporary, find_temporary, read_state
from workbench import cli
from workbench.files import is_temporary

NO_PROCESS = 1 << 22  # a process id that Linux does not give
DONE = re.compile(r"(epoch is|epochs are) done; ask for more with --epochs")  # how a finished training is refused


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """The files before an event.

    Attributes:
        event: the event; None at the end.
        folder: holds a copy of them.
        state: what they hold.
    """

    event: WriteEvent | None
    folder: Path
    state: State


class Experiment:
    """One command, disturbed at each of its writes, in a working folder of its own.

    Args:
        scenario: the command.
        root: the working folder; made empty.
        store: folder for copies of it.
        commands: module -> command.

    Attributes:
        snapshots: the files before each event, and at the end.
        problems: what went wrong so far, a line each.
        reruns: number of states from which the command ran again.
    """

    def __init__(
        self, scenario: Scenario, root: Path, store: Path, commands: Mapping[str, cli.Command] = COMMANDS
    ) -> None:
        self.scenario, self.root, self._store = scenario, root, store
        self._commands = commands
        self.snapshots: list[Snapshot] = []
        self.problems: list[str] = []
        self.reruns = 0
        self._recovered: set[str] = set()  # states from which the command has reached its end

    def record(self) -> None:
        """Run the command without a failure, and keep the files before each change of one."""
        clear(self.root)
        prepare_folder(self.root)
        for line in self.scenario.before:
            outcome = self._run(line)
            if outcome.code:
                raise RuntimeError(f"{line}: {outcome.errors}")
        with watch_writes(self.root, self._keep):
            outcome = self._run(self.scenario.command)
        if outcome.code:
            raise RuntimeError(f"{self.scenario.command}: {outcome.errors}")
        self._keep(None)

    def list_events(self) -> list[WriteEvent]:
        """Return the changes of files."""
        return [snapshot.event for snapshot in self.snapshots if snapshot.event]

    def check_killed(self, number: int) -> None:
        """Run the command again from the files that SIGKILL leaves before an event, or in the write after it."""
        before, after = self.snapshots[number : number + 2]
        where = f"killed before {_describe(before.event)}"
        restore(before.folder, self.root)
        self._check_rerun(where)
        torn = _find_torn(before, after)
        if torn:
            restore(after.folder, self.root)
            for path, size in torn.items():
                os.truncate(self.root / path, size)
            self._check_rerun(f"killed while it wrote {', '.join(map(str, torn))}")

    def check_full_disk(self, number: int) -> None:
        """Run the command on a disk that is full from an event on, then again on one with room."""
        before, after = self.snapshots[number : number + 2]
        assert before.event is not None
        if before.event.kind in ("remove", "rmdir"):
            return  # needs no room
        where = f"disk full at {_describe(before.event)}"
        start = self.snapshots[0]
        restore(start.folder, self.root)
        old, new = (_list_sizes(each.folder).get(before.event.path, 0) for each in (before, after))
        with fill_disk(self.root, number, room=(old + max(old, new)) // 2):
            outcome = self._run(self.scenario.command)
        self._check_message(where, outcome)
        self._check_kept(where, start.state, read_state(self.root))
        self._check_rerun(where, outcome.output)

    def check_process(self, number: int) -> None:
        """Kill a real process of the command before an event, and run the command again."""
        restore(self.snapshots[0].folder, self.root)
        module, *words = shlex.split(self.scenario.command)
        command = [sys.executable, "-m", "benchmarks.write_failures.killed_process", str(number), module, *words]
        done = subprocess.run(command, cwd=self.root, env=make_environment(self.root), capture_output=True, text=True)
        where = f"process killed before {_describe(self.snapshots[number].event)}"
        if done.returncode != -signal.SIGKILL:
            self.problems.append(f"{where}: exit code {done.returncode}: {done.stderr[-300:]}")
        self._check_rerun(where)

    def _keep(self, event: WriteEvent | None) -> None:
        folder = self._store / f"{len(self.snapshots):04d}"
        shutil.copytree(self.root, folder)
        self.snapshots.append(Snapshot(event, folder, read_state(folder)))

    def _run(self, line: str) -> Outcome:
        return run_command(line, self.root, self._commands)

    def _check_message(self, where: str, outcome: Outcome) -> None:
        """A full disk is one line with a file and what to do; only a report that cannot be written is not an error."""
        if outcome.code == 0 and "report:" in outcome.output and "none (" in outcome.output:
            return
        line = outcome.errors
        is_helpful = re.search(r"(runs|logs|cache)(/|:)", line) and re.search(
            r"delete what|make room|other folder", line
        )
        if outcome.code != 2 or not line.startswith("error: ") or line.count("\n") != 1 or not is_helpful:
            self.problems.append(f"{where}: exit code {outcome.code}: {line[-600:]}")

    def _check_kept(self, where: str, start: State, now: State) -> None:
        """Each file that was there is as it was, or as the undisturbed command left it at some time."""
        if self.scenario.replaces:
            return
        for name in start.keys() & self.snapshots[-1].state.keys():
            seen = {snapshot.state.get(name) for snapshot in self.snapshots}
            if now.get(name) not in seen - {None}:
                self.problems.append(f"{where}: {name} was lost ({now.get(name)})")

    def _check_rerun(self, where: str, printed: str = "") -> None:
        """The command runs again as its messages say, and leaves what the undisturbed one does."""
        state = read_state(self.root)
        temporary = sorted({str(Path(name).parent) for name in find_temporary(state)})
        plain = json.dumps(drop_temporary(state), sort_keys=True)
        key = f"{temporary} {plain}"
        if key in self._recovered:
            return
        self._recovered |= {key, f"[] {plain}"}  # what it reaches with temporary files there, it reaches without them
        self.reruns += 1
        trials = {path: path.read_bytes() for path in self.root.glob("runs/*/tuner/trial_*/trial.json")}
        outcome = self._run(self.scenario.command)
        module = self.scenario.command.split()[0]
        resume = re.search(r"(\S+) exists: resume it with --resume", outcome.errors)
        if outcome.code and resume:
            outcome = self._run(f"{module} --resume {resume[1]}")
        report = re.search(r"try again with python -m (workbench\.report \S+)", printed)
        if report:
            outcome = self._run(report[1])
        is_done = outcome.code == 2 and DONE.search(outcome.errors)
        if outcome.code and not is_done:
            self.problems.append(f"{where}: cannot be run again: {outcome.errors[-600:]}")
            return
        lost = [str(path) for path, content in trials.items() if not path.exists() or path.read_bytes() != content]
        self.problems += [f"{where}: repeated {path}" for path in lost]
        end, now = self.snapshots[-1].state, read_state(self.root)
        for name in find_temporary(now):
            self.problems.append(f"{where}: left {name}")
        end, now = drop_temporary(end), drop_temporary(now)
        for name in sorted({name for name in end.keys() | now.keys() if end.get(name) != now.get(name)}):
            self.problems.append(f"{where}: {name} differs: {_shorten(now.get(name))} not {_shorten(end.get(name))}")


def clear(folder: Path) -> None:
    """Remove what a folder holds; the folder may be the root of a disk."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def restore(copy: Path, folder: Path) -> None:
    """Let a folder hold what a copy of it holds."""
    clear(folder)
    shutil.copytree(copy, folder, dirs_exist_ok=True)
    for path in folder.rglob(".writing-*"):  # their process is this one, and is to count as killed
        path.rename(path.with_name(path.name.replace(f"-{os.getpid()}-", f"-{NO_PROCESS}-")))


def _find_torn(before: Snapshot, after: Snapshot) -> dict[Path, int]:
    """Return half the growth of each file that is written in place between two snapshots: path -> bytes."""
    sizes, event = _list_sizes(before.folder), before.event
    torn = {}
    for path, size in _list_sizes(after.folder).items():
        is_renamed = event is not None and event.kind == "rename" and path.is_relative_to(event.path)
        had = sizes.get(path, 0)
        if size > had + 1 and not is_renamed and not is_temporary(path):
            torn[path] = (had + size) // 2
    return torn


def _list_sizes(folder: Path) -> dict[Path, int]:
    return {path.relative_to(folder): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def _describe(event: WriteEvent | None) -> str:
    return "the end" if event is None else f"{event.number} {event.kind} {event.path}"


def _shorten(text: str | None) -> str:
    return "missing" if text is None else text[:160]
