"""Sweep the five-block CNN's hyperparameters with KerasTuner; the same command again goes on with it."""

import dataclasses

from cnn_scratch.model import NetworkConfig
from cnn_scratch.train import TrainConfig
from workbench import cli
from workbench.config import DataConfig
from workbench.sweep import command
from workbench.sweep.config import SearchConfig, WorkersConfig
from workbench.sweep.engine import Definition
from workbench.training.config import PrecisionConfig, RecipeConfig, TrainingConfig
from workbench.training.run_folder import RunConfig

BASES = (TrainingConfig, RecipeConfig, PrecisionConfig, NetworkConfig)
VARIABLE = [field.name for base in BASES for field in dataclasses.fields(base)]
VARIABLE += ["image_size", "seed"]


@dataclasses.dataclass(frozen=True)
class TuneConfig(RunConfig, WorkersConfig, SearchConfig, DataConfig):
    """Configuration of `python -m cnn_scratch.tune`."""


DEFINITION = Definition(
    tune_module="cnn_scratch.tune",
    train_module="cnn_scratch.train",
    factory="cnn_scratch.tune:make_hypermodel",
    config_class=TuneConfig,
    trial_class=TrainConfig,
    variable=VARIABLE,
)


def tune(config):
    """Run a sweep of the network; arguments, result and errors are those of `workbench.sweep.command.tune`."""
    return command.tune(config, DEFINITION)


def make_hypermodel(folder):
    """The hypermodel of the sweep in a run folder."""
    from cnn_scratch.trial import CnnHyperModel
    from workbench.training.precision import choose_sweep_precision

    base, *others = command.hypermodel_arguments(folder, DEFINITION)
    return CnnHyperModel(choose_sweep_precision(base), *others)


def main(argv=None):
    """Run the command line."""
    cli.main(tune, TuneConfig, prog="python -m cnn_scratch.tune", description=__doc__, argv=argv)


if __name__ == "__main__":
    main()
