"""Sweep how a pretrained network is fine-tuned, with KerasTuner; the same command again goes on with it."""

from transfer.config import (
    BackboneConfig,
    FeaturesConfig,
    FineTuneConfig,
    FreezingConfig,
    TransferConfig,
    TuneConfig,
)
from transfer.defaults import resolve
from workbench import cli
from workbench.config import option_names, replace
from workbench.sweep import command
from workbench.sweep.engine import Definition
from workbench.training.precision import choose_sweep_precision

_SWEPT = (FineTuneConfig, FreezingConfig, BackboneConfig, FeaturesConfig)
VARIABLE = [name for section in _SWEPT for name in option_names(section)] + ["image_size"]
VARIABLE = [name for name in VARIABLE if name not in ("budget", "strategy", "start_size")]


DEFINITION = Definition(
    tune_module="transfer.tune",
    train_module="transfer.run",
    factory="transfer.tune:make_hypermodel",
    config_class=TuneConfig,
    trial_class=TransferConfig,
    variable=VARIABLE,
)


def tune(config):
    """Run a sweep of fine-tunings; arguments, result and errors are those of `workbench.sweep.command.tune`."""
    size = resolve(TransferConfig(data=config.data)).data.image_size
    return command.tune(replace(config, image_size=size), DEFINITION)


def make_hypermodel(folder):
    """The hypermodel of the sweep in a run folder."""
    from transfer.trial import TransferHyperModel

    base, *others = command.hypermodel_arguments(folder, DEFINITION)
    return TransferHyperModel(choose_sweep_precision(base), *others)


def main(argv=None):
    """Run the command line."""
    cli.main(tune, TuneConfig, prog="python -m transfer.tune", description=__doc__, argv=argv)


if __name__ == "__main__":
    main()
