"""Sweep the five-block CNN's hyperparameters with KerasTuner; the same command again goes on with it."""

from cnn_scratch.config import NetworkConfig, TrainConfig, TuneConfig
from workbench import cli
from workbench.config import TrainingConfig, option_names
from workbench.sweep import command
from workbench.sweep.engine import Definition
from workbench.training.precision import choose_sweep_precision

VARIABLE = [*option_names(TrainingConfig), *option_names(NetworkConfig), "image_size"]
VARIABLE = [name for name in VARIABLE if name not in ("budget", "strategy", "start_size")]

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

    base, *others = command.hypermodel_arguments(folder, DEFINITION)
    return CnnHyperModel(choose_sweep_precision(base), *others)


def main(argv=None):
    """Run the command line."""
    cli.main(tune, TuneConfig, prog="python -m cnn_scratch.tune", description=__doc__, argv=argv)


if __name__ == "__main__":
    main()
