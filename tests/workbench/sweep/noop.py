"""A sweep whose trials do nothing but wait: python -m tests.workbench.sweep.noop, as any tune command."""

import dataclasses
import os
import time
from pathlib import Path

from workbench import cli
from workbench.config import DataConfig
from workbench.sweep import command
from workbench.sweep.config import SearchConfig, WorkersConfig
from workbench.sweep.engine import Definition
from workbench.training.config import RecipeConfig, TrainingConfig
from workbench.training.run_folder import RunConfig


@dataclasses.dataclass(frozen=True)
class NoopConfig(RunConfig, RecipeConfig, TrainingConfig, DataConfig):
    """A trial."""


@dataclasses.dataclass(frozen=True)
class NoopTuneConfig(RunConfig, WorkersConfig, SearchConfig, DataConfig):
    """A sweep of them."""


VARIABLE = ["seed", "batch_size", "learning_rate", "epochs"]
DEFINITION = Definition(
    tune_module="tests.workbench.sweep.noop",
    train_module="tests.workbench.sweep.noop",
    factory="tests.workbench.sweep.noop:make_hypermodel",
    config_class=NoopTuneConfig,
    trial_class=NoopConfig,
    variable=VARIABLE,
)


def make_hypermodel(folder):
    from workbench.sweep.hypermodel import TrialHyperModel, save_weights, weights_path

    class NoopHyperModel(TrialHyperModel):
        def build(self, hp):
            return None

        def fit(self, hp, model, trial_id, trial_dir, report):
            """Waits as many milliseconds as the batch size says."""
            config = self.config(hp)
            if (Path(trial_dir) / "trial.json").exists():
                (Path(folder) / "repeated.log").write_text(trial_id)
            time.sleep(config.batch_size / 1000)
            score = (config.seed * 37 % 101) / 101
            for epoch in range(1, config.epochs + 1):
                row = {"epoch": epoch, "loss": 1.0, "accuracy": score, "val_loss": 1 - score, "val_accuracy": score}
                if report(row):
                    break
            if config.learning_rate == MISBEHAVE:
                os._exit(9)
            if config.learning_rate == OUT_OF_MEMORY:
                raise MemoryError("cannot allocate 9 TB [/device:CPU:0]")
            save_weights(weights_path(trial_dir), [])
            status = "completed" if epoch == config.epochs else "pruned"
            names = ("val_accuracy", "val_loss", "accuracy", "loss")
            fixed = {"best_epoch": 1, "epochs": epoch, "parameters": 1, "max_epochs": config.epochs}
            return {"status": status, **{name: row[name] for name in names}, **fixed, "history": []}

        def graph_key(self, values):
            return ""

        def best_model(self, hp, trial_dir):
            import keras

            image = keras.Input((32, 32, 3), dtype="uint8")
            return keras.Model(image, keras.layers.Dense(10)(keras.layers.Flatten()(image)))

    return NoopHyperModel(*command.hypermodel_arguments(folder, DEFINITION))


OUT_OF_MEMORY, MISBEHAVE = 0.5, 0.25  # learning rates that make a trial fail, or kill its worker


def tune(config):
    return command.tune(config, DEFINITION)


if __name__ == "__main__":
    cli.main(tune, NoopTuneConfig, prog="python -m tests.workbench.sweep.noop", description=__doc__)
