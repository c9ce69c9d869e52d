"""Sweep how a pretrained network is fine-tuned, with KerasTuner; the same command again continues the sweep."""

import sys
from collections.abc import Mapping, Sequence

from transfer.config import (
    BackboneConfig,
    FeaturesConfig,
    FineTuneConfig,
    FreezingConfig,
    TransferConfig,
    TuneConfig,
)
from workbench import cli
from workbench.sweep.workers import start_workers_early, uses_gpu


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    return cli.main(
        TuneConfig,
        "transfer.tune:tune",
        description=__doc__,
        argv=argv,
        before=start_workers_early,
        use_gpu=uses_gpu,
        needs_keras_tuner=True,
    )


if __name__ == "__main__":  # parse first: the imports below load TensorFlow
    sys.exit(main())

import math
from pathlib import Path

import keras
import numpy as np

from transfer.backbone import DROPOUT, Network, build_network
from transfer.defaults import resolve
from transfer.finetune import FineTuning
from workbench.config import option_names, replace
from workbench.data.dataset import Dataset
from workbench.keras_graph import build_uncompiled
from workbench.sweep.command import open_sweep, work_for_chief
from workbench.sweep.image_hypermodel import ImageHyperModel, TrialPlan
from workbench.sweep.results import Value
from workbench.sweep.tuners import SEARCHES

_FOR_ALL_TRIALS = ("budget", "strategy", "start_size")
_SWEPT = (FineTuneConfig, FreezingConfig, BackboneConfig, FeaturesConfig)
VARIABLE = [name for section in _SWEPT for name in option_names(section) if name not in _FOR_ALL_TRIALS]
VARIABLE += ["image_size"]


class TransferHyperModel(ImageHyperModel):
    """A fine-tuning as KerasTuner sees it. The features of frozen layers are computed once for all trials."""

    def __init__(self, plan: TrialPlan) -> None:
        super().__init__(plan)
        self._current: tuple[TransferConfig, FineTuning] | None = None
        self._built: tuple[tuple, Network, list[np.ndarray]] | None = None  # what it depends on, network, first weights

    def make_config(self, values: Mapping[str, Value]) -> TransferConfig:
        """Return the resolved configuration of the trial with these swept values."""
        return resolve(super().make_config(values))

    def make_model(self, config: TransferConfig) -> keras.Model:
        """Return a compiled model as freshly built, its head trained alone first where the mode says so."""
        self._current = None  # its network has been trained
        tuning = self._get_tuning(config)
        tuning.train_head()
        return tuning.compile()

    def build_plain_model(self, config: TransferConfig, weights: list[np.ndarray]) -> keras.Model:
        """Return the whole network with the given weights of its trained part, not compiled."""
        tuning = self._get_tuning(config)
        tuning.trained.set_weights(weights)
        return build_uncompiled(tuning.network.model)

    def choose_precision(self, config: TransferConfig) -> str:
        """Return the number format in which the network is trained here."""
        return self._get_tuning(config).precision

    def make_key(self, config: TransferConfig) -> str:
        """Return what two configurations have in common if they share stored features."""
        return str((config.data.image_size, config.freezing, config.backbone.backbone, config.backbone.weights))

    def count_parameters(self, config: TransferConfig) -> int:
        """Return the number of trained parameters."""
        return sum(math.prod(weight.shape) for weight in self._get_tuning(config).trained.trainable_weights)

    def get_dataset(self, config: TransferConfig) -> Dataset:
        """Return the stored features, or the images where nothing is stored."""
        return self._get_tuning(config).examples()

    def get_training(self, config: TransferConfig) -> FineTuneConfig:
        """Return the settings with which the trained part is trained."""
        return self._get_tuning(config).settings()

    def _get_tuning(self, config: TransferConfig) -> FineTuning:
        if self._current is None or self._current[0] != config:
            dataset = self.load_dataset(config.data.resolved_size)
            network = self._build_network(config, len(dataset.class_names))
            self._current = config, FineTuning(config, dataset, network)
        return self._current[1]

    def _build_network(self, config: TransferConfig, num_classes: int) -> Network:
        """Return the network as freshly built. It is built once for the trials that share it."""
        key = (replace(config.backbone, dropout=0.0), config.data.image_size, config.training.seed)
        if self._built is None or self._built[0] != key:
            network = build_network(config, num_classes)
            self._built = key, network, network.model.get_weights()
        _, network, weights = self._built
        network.model.set_weights(weights)
        network.model.get_layer(DROPOUT).rate = config.backbone.dropout
        return network


def tune(config: TuneConfig) -> Path:
    """Run a sweep of fine-tunings, or continue it.

    Returns:
        Path of the sweep's run folder: `trials.csv`, `model.keras` and `best.yaml` of the best trial, `metrics.json`,
        `classes.json`, `config.yaml`, `report.html`, and KerasTuner's project in `tuner/`.

    Raises:
        UserError: the space, the data or the folder cannot be used, the folder holds another sweep, or no trial could
            be completed.
    """
    config = replace(config, image_size=resolve(TransferConfig(data=config.data)).data.image_size)
    if config.workers.worker:
        return work_for_chief(config, TransferHyperModel, TransferConfig, VARIABLE)
    with open_sweep(config, TransferConfig, VARIABLE, command="transfer.tune", train_command="transfer.run") as sweep:
        tuner = SEARCHES[config.search.tuner](  # a GridSearch, unless --tuner names another one
            TransferHyperModel(sweep.plan),
            objective=sweep.space.objective,
            directory=str(sweep.folder.path),
            workers=sweep.pool,
            **sweep.search_options,
        )
        with sweep.record(tuner):
            tuner.search()
        sweep.save_winner(tuner)
    return sweep.folder.path
