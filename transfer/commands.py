"""The commands of this package. Importing this module loads nothing heavy."""

from transfer.config import CompareConfig, TransferConfig, TuneConfig
from transfer.defaults import TRIAL
from workbench.cli import Command
from workbench.sweep.workers import start_workers_early, uses_gpu

RUN = Command(TransferConfig, "transfer.run:run")
COMPARE = Command(CompareConfig, "transfer.compare:compare", needs_tensorflow=False)
TUNE = Command(
    TuneConfig,
    "transfer.tune:tune",
    details="Options of finetune that the sweep file does not vary can be given too, for all trials: --epochs 3.",
    before=lambda config: start_workers_early(config, TRIAL),
    use_gpu=uses_gpu,
    needs_keras_tuner=True,
)
