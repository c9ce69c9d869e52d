"""A sweep whose trials do nothing but wait: `python -m tests.workbench.sweep.noop`, like any tune command."""

import dataclasses
import os
import sys
import time
from typing import Any

from workbench import cli
from workbench.commandline.options import make_unset_section
from workbench.config import DataConfig, RunConfig, TrainingConfig, TrainingRunConfig, check_training
from workbench.sweep.config import SearchConfig, WorkersConfig
from workbench.sweep.early_start import make_sweep_command
from workbench.sweep.sweep_file import TrialOptions


@dataclasses.dataclass(frozen=True)
class NoopConfig:
    """A trial."""

    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()
    run: TrainingRunConfig = TrainingRunConfig()
    given: frozenset[str] = dataclasses.field(default=frozenset(), compare=False, repr=False)


TUNABLE_OPTIONS = ("seed", "batch_size", "learning_rate", "epochs", "data_aug", "shift")
TRIAL = TrialOptions(NoopConfig, TUNABLE_OPTIONS, lambda config: check_training(config.training))


@dataclasses.dataclass(frozen=True)
class NoopTuneConfig:
    """A sweep of them."""

    data: DataConfig = DataConfig()
    search: SearchConfig = SearchConfig()
    workers: WorkersConfig = WorkersConfig()
    fixed: Any = make_unset_section(NoopConfig, ["batch_size", "learning_rate", "epochs"])
    run: RunConfig = RunConfig()


COMMAND = make_sweep_command(NoopTuneConfig, "tests.workbench.sweep.noop:tune", TRIAL, "none")


def main(argv=None):
    return cli.main(COMMAND, argv)


if __name__ == "__main__":
    sys.exit(main())

import keras

from workbench.sweep.command import open_sweep
from workbench.sweep.image_hypermodel import ImageHyperModel, get_weights_path, save_weights
from workbench.sweep.tuners import SEARCHES

OUT_OF_MEMORY, MISBEHAVE = 0.5, 0.25  # learning rates that make a trial fail, or kill its worker
KILLER = 666  # seed that kills the worker, too


class NoopHyperModel(ImageHyperModel):
    def build(self, hp):
        return None

    def fit(self, hp, model, *, trial):
        """Wait as many milliseconds as the batch size says."""
        training = self.read_config(hp).training
        if (trial.folder / "trial.json").exists():
            (self._defaults.folder.path / "repeated.log").write_text(trial.id)
        time.sleep(training.batch_size / 1000)
        score = (training.seed * 37 % 101) / 101
        for epoch in range(1, training.epochs + 1):
            log = {"epoch": epoch, "loss": 1.0, "accuracy": score, "val_loss": 1 - score, "val_accuracy": score}
            if trial.report(log):
                break
        if training.learning_rate == MISBEHAVE or training.seed == KILLER:
            os._exit(9)
        if training.learning_rate == OUT_OF_MEMORY:
            raise MemoryError("cannot allocate 9 TB [/device:CPU:0]")
        save_weights(get_weights_path(trial.folder), [])
        status = "completed" if epoch == training.epochs else "pruned"
        names = ("val_accuracy", "val_loss", "accuracy", "loss")
        fixed = {"best_epoch": 1, "epochs": epoch, "parameters": 1, "max_epochs": training.epochs}
        return {"status": status, **{name: log[name] for name in names}, **fixed, "history": []}

    def build_best_model(self, hp, folder):
        image = keras.Input((32, 32, 3), dtype="uint8")
        return keras.Model(image, keras.layers.Dense(10, kernel_initializer="zeros")(keras.layers.Flatten()(image)))


def tune(config):
    module = "tests.workbench.sweep.noop"
    with open_sweep(config, TRIAL, command=module, train_command=module) as sweep:
        tuner = SEARCHES[sweep.tuner](
            NoopHyperModel(sweep.trial_defaults),
            directory=str(sweep.folder.path),
            workers=sweep.executor,
            **sweep.search_options,
        )
        with sweep.track(tuner):
            tuner.search()
        sweep.save_winner(tuner)
        sweep.repeat_finalists(tuner)
        sweep.print_summary()
    return sweep.folder.path


def find_expected(shown):
    """Return the lines of a command's output that say what a sweep will cost."""
    return [line for line in shown.splitlines() if line.startswith("expected: ")]
