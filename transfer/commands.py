"""The commands of this package. Importing this module loads nothing heavy."""

from transfer.config import CompareConfig, TransferConfig, TuneConfig
from transfer.defaults import TRIAL
from workbench.cli import Command
from workbench.sweep.early_start import make_sweep_command

RUN = Command(TransferConfig, "transfer.run:run")
COMPARE = Command(CompareConfig, "transfer.compare:compare", needs_tensorflow=False)
TUNE = make_sweep_command(TuneConfig, "transfer.tune:tune", TRIAL, "finetune")
