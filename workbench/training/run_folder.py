"""The run folder: what a training or a sweep leaves behind, and the lock that keeps it to one process."""

import contextlib
import dataclasses
import itertools
import os
import re
import shutil
import time
from pathlib import Path

import filelock
import yaml

from workbench import cli
from workbench.errors import UserError
from workbench.files import read_json, write_csv, write_json, write_text


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Run.

    Args:
        name: Name of the run folder; made from the data and the image size by default.
        runs_dir: Folder of all run folders.
        logs_dir: Folder of the TensorBoard logs.
        seed: Fixes the split, the initial weights, shuffling, dropout and augmentation.
        wandb: Log to Weights & Biases as well (offline where there is no key or no network).
        overwrite: Replace a run folder of the same name.
    """

    name: str | None = None
    runs_dir: str = "runs"
    logs_dir: str = "logs"
    seed: int = 0
    wandb: bool = False
    overwrite: bool = False


class RunFolder:
    """One run's folder and its TensorBoard logs.

    Attributes:
        path: the folder, `runs/<name>`.
        logs: the folder of its event files, `logs/<name>`.
    """

    def __init__(self, config):
        """`config` is any configuration with the fields of `RunConfig`, its name set."""
        if not re.fullmatch(r"[\w.+-]+", config.name) or config.name.startswith("."):
            raise UserError(f"--name {config.name}: use letters, digits, dots, dashes and underscores")
        self.path = Path(config.runs_dir) / config.name
        self.logs = Path(config.logs_dir) / config.name
        self._new_logs = False

    def remove(self):
        """Remove the run, and its logs unless they stood before `locked` and may be another's."""
        for folder in (self.path, self.logs) if self._new_logs else (self.path,):
            shutil.rmtree(folder, ignore_errors=True)

    def clear(self):
        """Remove what the run and its logs hold, which are this run's alone from now on."""
        for folder in (self.path, self.logs):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        self._new_logs = True

    @contextlib.contextmanager
    def locked(self):
        """Hold the folder for this process; made if it does not stand, and gone if it is empty after an error.

        Raises:
            UserError: another process holds it, or it cannot be written.
        """
        lock_path = self.path.parent / f".{self.path.name}.lock"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._new_logs = not self.logs.exists()
            self.logs.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(lock_path, timeout=0)
            lock.acquire()
        except filelock.Timeout:
            holder = read_json(lock_path.with_suffix(".json")) or {"pid": "?", "since": "?"}
            raise UserError(
                f"{self.path}: in use by process {holder['pid']} since {holder['since']}; "
                "wait for it, stop it, or choose another --name"
            ) from None
        except OSError as error:
            raise UserError(
                f"{error.filename or self.path}: {error.strerror}; choose other folders with --runs-dir and --logs-dir"
            ) from error
        try:
            holder = {"pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
            write_json(lock_path.with_suffix(".json"), holder)
            yield self
        except BaseException:
            for folder in (self.path, self.logs):
                with contextlib.suppress(OSError):
                    folder.rmdir()
            raise
        finally:
            with contextlib.suppress(OSError):
                lock_path.with_suffix(".json").unlink()
            lock.release()

    def write_config(self, config):
        """Save the resolved configuration, every value, as config.yaml."""
        write_text(self.path / "config.yaml", config_yaml(config))

    def write_dataset(self, dataset):
        """Save the class names, and the list of unreadable images where there are any."""
        write_json(self.path / "classes.json", dataset.class_names)
        if dataset.unreadable:
            rows = [{"image": name, "reason": reason} for name, reason in dataset.unreadable]
            write_csv(self.path / "unreadable.csv", rows)


def config_yaml(config):
    """A configuration as YAML that `--config` reads, without the switches that hold for one call alone."""
    once = {"overwrite", "resume"}
    values = {key: value for key, value in dataclasses.asdict(config).items() if key not in once}
    return yaml.safe_dump(values, sort_keys=False)


def read_config(folder, config_class):
    """The configuration of a finished or interrupted run, from its config.yaml.

    Raises:
        UserError: `folder` holds no such file, or another command's.
    """
    path = Path(folder) / "config.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{folder}: not a run folder (no config.yaml in it)") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not a YAML file ({error})") from error
    return cli.from_values(config_class, values, where=path)


def claim_name(base, runs_dir):
    """Make the folder `base`, or `base-2`, `base-3`, ... where such runs stand already, and return its name.

    Two processes that ask at once get two names.
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
    raise AssertionError("numbers do not end")
