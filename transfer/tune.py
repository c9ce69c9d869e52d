"""Sweep how a pretrained network is fine-tuned, with KerasTuner; the same command again goes on with it."""

import dataclasses

from transfer.config import BackboneConfig, FeaturesConfig, FineTuneConfig, FreezingConfig, TransferConfig, resolve
from workbench import cli
from workbench.config import DataConfig
from workbench.sweep import command
from workbench.sweep.config import SearchConfig, WorkersConfig
from workbench.sweep.engine import Definition
from workbench.training.config import PrecisionConfig
from workbench.training.run_folder import RunConfig

_SWEPT = (FineTuneConfig, FreezingConfig, BackboneConfig, FeaturesConfig, PrecisionConfig)
VARIABLE = [field.name for base in _SWEPT for field in dataclasses.fields(base)] + ["image_size", "seed"]


@dataclasses.dataclass(frozen=True)
class TuneConfig(RunConfig, WorkersConfig, SearchConfig, DataConfig):
    """Configuration of `python -m transfer.tune`."""

    space: str = "configs/transfer_sweep.yaml"


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
    size = resolve(TransferConfig(data=config.data, image_size=config.image_size)).image_size
    return command.tune(dataclasses.replace(config, image_size=size), DEFINITION)


def make_hypermodel(folder):
    """The hypermodel of the sweep in a run folder."""
    from transfer.trial import TransferHyperModel
    from workbench.training.precision import choose_sweep_precision

    base, *others = command.hypermodel_arguments(folder, DEFINITION)
    return TransferHyperModel(choose_sweep_precision(base), *others)


def main(argv=None):
    """Run the command line."""
    cli.main(tune, TuneConfig, prog="python -m transfer.tune", description=__doc__, argv=argv)


if __name__ == "__main__":
    main()
