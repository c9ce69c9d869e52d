"""The run folder: what a training or a sweep leaves, the lock that keeps it to one process, and resuming from it."""

import contextlib
import itertools
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import filelock
import yaml

from workbench import cli
from workbench.background import repeat_in_background
from workbench.commandline.options import list_options, takes
from workbench.config import GIVEN, RunConfig, TrainingRunConfig, flatten, option_name, replace
from workbench.data.corrections import CORRECTIONS, write_corrections
from workbench.data.dataset import Dataset
from workbench.data.splits.groups import NO_GROUPS
from workbench.data.splits.kept_split import KeptSplit, open_kept_split
from workbench.data.splits.saved_split import SPLIT, write_split
from workbench.errors import UserError
from workbench.files import is_temporary, read_json, read_yaml, write_csv, write_json, write_text
from workbench.origin import describe_resuming, find_command, find_command_of_run, is_sweep
from workbench.training.saved_state import check_saved_state

Config = TypeVar("Config")
# Options that the config.yaml of earlier versions has.
REMOVED_OPTIONS = {"xla", "steps_per_execution", "chief", "worker", "oracle_address"}
_BEFORE_CONFIG = {"split.csv", "corrections.csv", "classes.json", "unreadable.csv"}
SIGN_OF_LIFE = 20.0  # seconds between two signs of life of the process that holds a folder
_NOT_IN_NAMES = r"[^\w.+-]+"
_PATIENCE = 0.2  # seconds; others lock a folder for a moment to see whether it is held
_NOT_SAVED = {"overwrite", "resume"}  # they hold for one call
_MAY_DIFFER = {"resume", "patience", "cache_dir", "wandb"}  # if resumed
_MEASURED = (("precision", "auto"), ("feature_precision", "auto"))  # a run's config.yaml has what was chosen


class RunFolder:
    """A run's folder and the folder of its TensorBoard logs.

    Args:
        run: its name must be set.

    Attributes:
        path: the folder, `runs/<name>`.
        logs: the folder of its event files, `logs/<name>`.

    Raises:
        UserError: the name would lead out of the folder of all runs.
    """

    def __init__(self, run: RunConfig) -> None:
        name = run.name or ""
        check_name(name)
        self.path = Path(run.runs_dir) / name
        self.logs = Path(run.logs_dir) / name
        self._has_new_logs = False
        self._will_be_cleared = run.overwrite
        self._holder: dict[str, Any] = {}

    @property
    def holds_old_run(self) -> bool:
        """Whether the folder still holds a run that is to be overwritten."""
        return self._will_be_cleared and self.path.exists() and any(self.path.iterdir())

    @contextlib.contextmanager
    def lock(self) -> Iterator["RunFolder"]:
        """Hold the folder for this process. Create it if needed; remove it after an error if it is empty.

        Raises:
            UserError: another process holds it, or it cannot be written.
        """
        lock_path, holder_path = find_lock_file(self.path), find_holder_file(self.path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._has_new_logs = not self.logs.exists()
            self.logs.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(lock_path, timeout=_PATIENCE)
            lock.acquire()
        except filelock.Timeout:
            holder = read_json(holder_path) or {"pid": "?", "since": "?"}
            raise UserError(
                f"{self.path}: in use by process {holder['pid']} since {holder['since']}; "
                "wait for it, stop it, or choose another --name"
            ) from None
        except OSError as error:
            is_known = error.filename and not Path(error.filename).name.startswith(".")
            raise UserError(
                f"{error.filename if is_known else self.path}: {error.strerror}; "
                "choose other folders with --runs-dir and --logs-dir"
            ) from error
        try:
            self.describe_holder(pid=os.getpid(), host=socket.gethostname(), since=time.strftime("%Y-%m-%d %H:%M:%S"))
            with repeat_in_background(SIGN_OF_LIFE, _give_sign_of_life, holder_path):
                yield self
        except BaseException:
            for folder in (self.path, self.logs):
                with contextlib.suppress(OSError):
                    folder.rmdir()
            raise
        finally:
            with contextlib.suppress(OSError):
                holder_path.unlink()
            lock.release()

    def describe_holder(self, **facts: Any) -> None:
        """Add facts on the process that holds the folder, such as its `device`, for those who look at the run."""
        self._holder |= facts
        with contextlib.suppress(OSError):  # the run does not need it
            write_json(find_holder_file(self.path), self._holder)

    def clear(self) -> None:
        """Remove what the run and its logs hold; from now on they are this run's alone."""
        for folder in (self.path, self.logs):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        self._has_new_logs, self._will_be_cleared = True, False

    def remove(self) -> None:
        """Remove the run. Keep its logs if they existed before `lock`, because they may be another run's."""
        for folder in (self.path, self.logs) if self._has_new_logs else (self.path,):
            shutil.rmtree(folder, ignore_errors=True)

    def write_config(self, config: Any) -> None:
        """Save the resolved configuration, every value, as config.yaml."""
        write_text(self.path / "config.yaml", dump_config(config))

    def write_dataset(self, dataset: Dataset, *, is_new: bool) -> None:
        """Save the class names, the split, corrected labels, and the list of unreadable images where there are any.

        Args:
            dataset: what is trained on.
            is_new: whether the training begins. A resumed training keeps its split. A run of an earlier version has
                none, and gets none: it is not known which images it was trained on.
        """
        if is_new:
            write_split(self.path, dataset.split)
            if dataset.corrections:
                write_corrections(self.path / CORRECTIONS, dataset.corrections)
        write_json(self.path / "classes.json", dataset.class_names)
        rows = [{"image": name, "reason": reason} for name, reason in dataset.unreadable]
        write_csv(self.path / "unreadable.csv", rows)


def _give_sign_of_life(path: Path) -> None:
    """Change the time of a file, for those who look at it from other machines."""
    with contextlib.suppress(OSError):
        os.utime(path)


def find_lock_file(folder: Path) -> Path:
    """Return the file that is locked by the process which trains or sweeps in a run folder."""
    return folder.parent / f".{folder.name}.lock"


def find_holder_file(folder: Path) -> Path:
    """Return the JSON file that describes the process which holds a run folder: `pid`, `host`, `since`, `device`."""
    return folder.parent / f".{folder.name}.json"


def check_name(name: str) -> None:
    """Refuse a name of a run folder that would lead out of the folder of all runs, or that a command would not take.

    Raises:
        UserError: names it.
    """
    if re.search(_NOT_IN_NAMES, name) or not name or name.startswith("."):
        raise UserError(f"--name {name}: use letters, digits, dots, dashes and underscores")


def make_name(text: str) -> str:
    """Return a default name of a run folder: the text, with a dash for each space and other sign it cannot have."""
    return re.sub(_NOT_IN_NAMES, "-", text)


def choose_run_folder(run: TrainingRunConfig, default: str) -> RunFolder:
    """Return the folder of the resumed run, the named one, or a new one.

    The name of a new one is made from `default`; if there is such a run, -2, -3, ... is appended. With `overwrite` the
    one that is there is used.

    Raises:
        UserError: the folder exists and is neither to be resumed nor to be overwritten.
    """
    if not run.resume and run.name is None:
        base_name = make_name(default)
        return RunFolder(replace(run, name=base_name if run.overwrite else claim_name(base_name, run.runs_dir)))
    folder = RunFolder(run)
    if folder.path.exists() and not (run.resume or run.overwrite or _has_not_begun(folder.path)):
        raise UserError(f"{folder.path} exists: resume it with --resume, replace it with --overwrite, or change --name")
    return folder


def _has_not_begun(folder: Path) -> bool:
    """Return whether a run folder holds at most the files that are written before config.yaml: it was killed there."""
    return folder.is_dir() and all(path.name in _BEFORE_CONFIG or is_temporary(path) for path in folder.iterdir())


def find_resumed_split(run: TrainingRunConfig) -> KeptSplit | None:
    """Return the split of the run that is resumed; None if none is, or if it keeps none.

    Raises:
        UserError: its split.csv is damaged.
    """
    return open_kept_split(run.resume, "resume") if run.resume else None


def claim_name(base: str, runs_dir: str) -> str:
    """Create the folder `base`, or `base-2`, `base-3`, ... where such runs exist already, and return its name.

    Two processes that ask at the same time get two names.
    """
    for number in itertools.count(1):
        name = base if number == 1 else f"{base}-{number}"
        try:
            (Path(runs_dir) / name).mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(f"{runs_dir}: {error.strerror}; choose another folder with --runs-dir") from error
        return name
    raise AssertionError("unreachable")


def dump_config(config: Any) -> str:
    """Return a configuration as YAML that `--config` reads, without the options that hold for one call."""
    config_class: type = type(config)
    unset = {option.name for option in list_options(config_class) if not takes(option.type, type(None))}
    values = {
        name: value
        for name, value in flatten(config).items()
        if name not in _NOT_SAVED and not (value is None and name in unset)  # options of a sweep that were not given
    }
    return yaml.safe_dump(values, sort_keys=False)


def read_config(folder: str | Path, config_class: type[Config]) -> Config:
    """Read the configuration of a finished or interrupted run from its config.yaml.

    Raises:
        UserError: `folder` has no such file, or another command's.
    """
    path = Path(folder) / "config.yaml"
    values = _read_values(folder)
    return cli.from_values(config_class, values, where=str(path))


def _read_values(folder: str | Path) -> dict[str, Any]:
    """Return the content of a run's config.yaml, without the options of earlier versions.

    Raises:
        UserError: there is no such file, or it is damaged.
    """
    path = Path(folder) / "config.yaml"
    try:
        values = read_yaml(path)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{folder}: not a run folder (no config.yaml in it)") from None
    if not isinstance(values, dict):
        problem = "empty" if values is None else "not a list of options"
        raise UserError(f"{path}: {problem}; restore the file, or begin again under another --name")
    if "data" in values and not (path.parent / SPLIT).exists():
        values.setdefault("groups", NO_GROUPS)  # earlier versions drew the split without groups
    return {name: value for name, value in values.items() if name not in REMOVED_OPTIONS}


def resume_config(config: Config) -> Config:
    """Return the configuration of the run that `--resume` names, with the epochs and patience that are asked for now.

    Args:
        config: has a section `run` with `resume`; `epochs`, `patience`, `cache_dir` and `wandb`; and a field `given`.

    Raises:
        UserError: there is no such run, it is another command's, one of its files is damaged, or an option was given
            that a resumed run cannot have.
    """
    asked = flatten(config)
    names = [name for name in getattr(config, GIVEN) if asked[name] is not None]  # None lets the command choose
    given = {name: asked[name] for name in sorted(names) if (name, asked[name]) not in _MEASURED}
    path, command = Path(asked["resume"]), find_command(asked)
    values = _read_values(path)
    if command and (is_sweep(values) or find_command_of_run(path, values) not in (None, command)):
        raise UserError(f"--resume {path}: {describe_resuming(path, values)}")
    saved = read_config(path, type(config))
    check_saved_state(path, command)
    had = flatten(saved)
    for name, value in given.items():
        if name not in _MAY_DIFFER and value != had[name]:
            _check_given(name, value, had[name], path)
    return replace(
        saved,
        resume=asked["resume"],
        name=path.resolve().name,
        runs_dir=str(path.resolve().parent),
        epochs=given.get("epochs", had["epochs"]),
        patience=given.get("patience", had["patience"]),
        cache_dir=asked["cache_dir"] or had["cache_dir"],
        wandb=asked["wandb"],
    )


def _check_given(name: str, value: Any, had: Any, path: Path) -> None:
    """Refuse an option that the run in `path` cannot have if it is resumed.

    Args:
        name: of the option.
        value: that was given.
        had: the run's value, which is another one.
        path: of the run.

    Raises:
        UserError: names the option, the run, and what to do.
    """
    option = f"{option_name(name)} {value}"
    if name == "overwrite":
        raise UserError(f"--overwrite: {path} is continued by --resume; leave one of them out")
    own = {"name": path.resolve().name, "runs_dir": path.resolve().parent}
    if name in own:
        if own[name] != (Path(value).resolve() if name == "runs_dir" else value):
            raise UserError(f"{option}: {path} is continued in its own folder; leave it out")
    elif name != "epochs":
        raise UserError(f"{option}: {path} was made with {had}, and a resumed run keeps its configuration")
    elif value < had:
        raise UserError(f"{option}: {path} was made with {had}, and a resumed run can only have more; leave it out")
