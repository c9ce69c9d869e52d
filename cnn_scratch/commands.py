"""The commands of this package. Importing this module loads nothing heavy."""

from cnn_scratch.config import TRIAL, TrainConfig, TuneConfig
from workbench.cli import Command
from workbench.sweep.workers import start_workers_early, uses_gpu

TRAIN = Command(TrainConfig, "cnn_scratch.train:train")
TUNE = Command(
    TuneConfig,
    "cnn_scratch.tune:tune",
    details="Options of train that the sweep file does not vary can be given too, for all trials: --epochs 3.",
    before=lambda config: start_workers_early(config, TRIAL),
    use_gpu=uses_gpu,
    needs_keras_tuner=True,
)
