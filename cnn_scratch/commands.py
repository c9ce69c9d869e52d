"""The commands of this package. Importing this module loads nothing heavy."""

from cnn_scratch.config import TRIAL, TrainConfig, TuneConfig
from workbench.cli import Command
from workbench.sweep.early_start import make_sweep_command

TRAIN = Command(TrainConfig, "cnn_scratch.train:train")
TUNE = make_sweep_command(TuneConfig, "cnn_scratch.tune:tune", TRIAL, "train")
