"""The command lines that are disturbed, and how they run in this process."""

import contextlib
import dataclasses
import io
import os
import shlex
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path

import keras
import numpy as np
from PIL import Image

import cnn_scratch.commands
import transfer.commands
import workbench.commands
from benchmarks.write_failures.events import leave_out_timed_writes
from workbench import cli

NETWORK = "--image-size 32 --num-filters 4 --dense-units 4"
TRAIN = f"cnn_scratch.train --data photos {NETWORK} --batch-size 8 --epochs 2 --name r"
TUNE = f"cnn_scratch.tune --data photos {NETWORK} --space space.yaml --workers 0 --keep 1 --name r"
FINE_TUNE = "transfer.run --data photos --from runs/r --batch-size 8 --epochs 2 --name t"
SPACE = """
method: grid
metric: {name: val_accuracy, goal: maximize}
parameters:
  epochs: {values: [1, 2]}
  learning_rate: {values: [0.01]}
  batch_size: {value: 8}
"""


@dataclasses.dataclass(frozen=True)
class Scenario:
    """A command line that is disturbed, and those that run before it.

    Attributes:
        command: the command line, as after `python -m`.
        before: command lines whose results are there already.
        replaces: whether the command may remove earlier results, because it was asked to.
    """

    command: str
    before: tuple[str, ...] = ()
    replaces: bool = False


SCENARIOS = {
    "train": Scenario(TRAIN),
    "train --resume": Scenario("cnn_scratch.train --resume runs/r --epochs 3", (TRAIN,)),
    "train --overwrite": Scenario(f"{TRAIN} --overwrite", (TRAIN.replace("--epochs 2", "--epochs 1"),), replaces=True),
    "tune": Scenario(TUNE),
    "tune, more trials": Scenario(TUNE, (f"{TUNE} --max-trials 1",)),
    "run": Scenario(FINE_TUNE, (TRAIN,)),
    "run --mode all": Scenario(f"{FINE_TUNE} --mode all", (TRAIN,)),
    "run --resume": Scenario("transfer.run --resume runs/t --epochs 3", (TRAIN, FINE_TUNE)),
    "evaluate": Scenario("workbench.evaluate runs/r", (TRAIN,)),
    "evaluate again": Scenario("workbench.evaluate runs/r", (TRAIN, "workbench.evaluate runs/r")),
}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit code and what it printed."""

    code: int
    output: str
    errors: str


def prepare_folder(folder: Path) -> None:
    """Write the photos and the sweep file of the command lines."""
    write_photos(folder / "photos")
    (folder / "space.yaml").write_text(SPACE)


COMMANDS = {
    "cnn_scratch.train": cnn_scratch.commands.TRAIN,
    "cnn_scratch.tune": cnn_scratch.commands.TUNE,
    "transfer.run": transfer.commands.RUN,
    "workbench.evaluate": workbench.commands.EVALUATE,
    "workbench.report": workbench.commands.REPORT,
}


def run_command(line: str, root: Path, commands: Mapping[str, cli.Command]) -> Outcome:
    """Run a command line in this process, in a working folder, as a new process would."""
    module, *words = shlex.split(line)
    keras.utils.clear_session()
    output, errors = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(root),
        _set_environment(make_environment(root)),
        leave_out_timed_writes(),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        try:
            code = cli.main(commands[module], words)
        except Exception:
            code = 1
            errors.write(traceback.format_exc())
    if code == 130:
        raise KeyboardInterrupt
    return Outcome(code, output.getvalue(), errors.getvalue())


def make_environment(root: Path) -> dict[str, str]:
    """Return the environment variables of a command whose cache is in its working folder."""
    path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    fonts = str(root.parent / "matplotlib")  # matplotlib's cache, which is no file of the command
    return {**os.environ, "XDG_CACHE_HOME": str(root / "cache"), "MPLCONFIGDIR": fonts, "PYTHONPATH": path}


@contextlib.contextmanager
def _set_environment(variables: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def write_photos(folder: Path) -> None:
    """Write a labelled folder of generated photos of two colours, 10 to train and 5 to test of each."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 10), ("test", 5)):
        for name, colour in (("red", (200, 40, 40)), ("blue", (40, 40, 200))):
            (folder / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = (np.array(colour) + rng.integers(-30, 30, (32, 32, 3))).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{index:03d}.png")
