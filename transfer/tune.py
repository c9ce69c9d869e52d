"""Sweep how a pretrained network is fine-tuned, with KerasTuner; the same command again continues the sweep."""

import sys
from collections.abc import Sequence

from transfer.commands import TUNE
from workbench import cli


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    return cli.main(TUNE, argv)


if __name__ == "__main__":  # parse first: the imports below load TensorFlow
    sys.exit(main())

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from transfer.backbone import DROPOUT, Network, build_network, find_application
from transfer.config import BackboneConfig, TransferConfig, TuneConfig
from transfer.defaults import TRIAL, resolve
from transfer.features import compute_features
from transfer.finetune import (
    build_trained_part,
    check_augmentation,
    count_trained_parameters,
    make_unfreezing,
    train_head,
)
from transfer.freezing import find_last_frozen, freeze
from transfer.memory import check_memory
from transfer.optimizer import build_optimizer
from transfer.precision import build_in_precision, choose_model_precision
from transfer.weights import check_weights
from workbench.config import replace
from workbench.data.dataset import Dataset
from workbench.keras_graph import build_uncompiled
from workbench.sweep.command import open_sweep, read_trial_defaults
from workbench.sweep.image_hypermodel import ImageHyperModel, TrialDefaults
from workbench.sweep.results import Value
from workbench.sweep.search import find_space, list_given
from workbench.sweep.sweep_file import read_space
from workbench.sweep.tuners import SEARCHES
from workbench.training.optimizer import compile_model


@dataclasses.dataclass(frozen=True)
class _InitialNetwork:
    """A network that is built once and reset for each trial that shares it.

    Attributes:
        key: settings that it depends on: the backbone's without the dropout, the image size, the seed.
        network: the network.
        weights: its initial weights.
        momenta: name of a batch norm -> its initial momentum, which a trial with `ema` may raise.
    """

    key: tuple[BackboneConfig, int, int]
    network: Network
    weights: list[np.ndarray]
    momenta: dict[str, float]


@dataclasses.dataclass(frozen=True)
class _FrozenNetwork:
    """A network that is frozen for a trial.

    Attributes:
        trial: configuration of the trial.
        config: the same with a chosen `precision`.
        network: the network with its initial weights.
        cut: last operation whose output is stored; None if nothing is stored.
        part: the part that is trained.
    """

    trial: TransferConfig
    config: TransferConfig
    network: Network
    cut: keras.Operation | None
    part: keras.Model


class TransferHyperModel(ImageHyperModel):
    """A fine-tuning as KerasTuner sees it. Trials share the network, and the stored features of the same layers."""

    def __init__(self, defaults: TrialDefaults) -> None:
        super().__init__(defaults)
        self._initial: _InitialNetwork | None = None
        self._frozen: _FrozenNetwork | None = None

    def make_config(self, values: Mapping[str, Value]) -> TransferConfig:
        """Return the resolved configuration of the trial with these swept values."""
        return resolve(super().make_config(values))

    def make_model(self, config: TransferConfig) -> keras.Model:
        """Return a compiled model with its initial weights. Its head is trained alone first if the mode says so."""
        self._frozen = None  # its network has been trained
        frozen = self._freeze(config)
        network, training = frozen.network, frozen.config.training
        if training.head_epochs:
            train_head(network, super().get_dataset(config), frozen.config)
        model = build_in_precision(frozen.part, training.precision)
        model.unfreezing = make_unfreezing(network, training, model)
        compile_model(model, training, build_optimizer(network, training, model))
        return model

    def build_plain_model(self, config: TransferConfig, weights: list[np.ndarray]) -> keras.Model:
        """Return the whole network with the given weights in its trained part, not compiled."""
        frozen = self._freeze(replace(config, precision="float32"))  # the weights are; float16 would need a GPU
        frozen.part.set_weights(weights)
        return build_uncompiled(frozen.network.model)

    def choose_precision(self, config: TransferConfig) -> str:
        """Return the number format in which the network is trained on this machine."""
        return self._freeze(config).config.training.precision

    def make_key(self, config: TransferConfig) -> str:
        """Return a key; configurations with equal keys share stored features."""
        return str((config.data.image_size, config.freezing, config.backbone.backbone, config.backbone.weights))

    def count_parameters(self, config: TransferConfig) -> int:
        """Return the number of trained parameters."""
        return count_trained_parameters(self._freeze(config).part)

    def get_dataset(self, config: TransferConfig) -> Dataset:
        """Return the stored features; the images if nothing is stored."""
        frozen, dataset = self._freeze(config), super().get_dataset(config)
        if frozen.cut is None:
            return dataset
        views = config.features.views if config.training.data_aug else 0
        return compute_features(dataset, frozen.network, frozen.cut, frozen.config, views).dataset

    def _freeze(self, config: TransferConfig) -> _FrozenNetwork:
        """Return the network frozen for a trial; it is kept until the next trial."""
        if self._frozen is None or self._frozen.trial != config:
            network = self._reset_network(config)
            freeze(network, config.freezing)
            cut = find_last_frozen(network) if config.features.views else None
            check_augmentation(config.training, cut)
            part = build_trained_part(network, cut)
            check_memory(network, part, super().get_dataset(config), config)
            chosen = replace(config, precision=choose_model_precision(part, config.training))
            self._frozen = _FrozenNetwork(config, chosen, network, cut, part)
        return self._frozen

    def _reset_network(self, config: TransferConfig) -> Network:
        """Return a network with its initial weights. It is built once for the trials that share it."""
        dataset, seed = super().get_dataset(config), config.training.seed
        key = (dataclasses.replace(config.backbone, dropout=0.0), dataset.image_size, seed)
        if self._initial is None or self._initial.key != key:
            network = build_network(config.backbone, dataset.image_size, len(dataset.class_names), seed)
            norms = (layer for layer in network.model.layers if isinstance(layer, keras.layers.BatchNormalization))
            momenta = {layer.name: layer.momentum for layer in norms}
            self._initial = _InitialNetwork(key, network, network.model.get_weights(), momenta)
        network = self._initial.network
        network.model.set_weights(self._initial.weights)
        for name, momentum in self._initial.momenta.items():
            network.model.get_layer(name).momentum = momentum
        network.model.get_layer(DROPOUT).rate = config.backbone.dropout
        return network


def open_hypermodel(sweep: Path, data: str | None) -> TransferHyperModel:
    """Return the hypermodel of a finished sweep, which builds its trials' networks; see `read_trial_defaults`."""
    return TransferHyperModel(read_trial_defaults(sweep, TuneConfig, TRIAL, data))


def tune(config: TuneConfig) -> Path:
    """Run a sweep of fine-tunings, or continue it.

    Returns:
        Path of the sweep's run folder: `trials.csv`, `model.keras` and `best.yaml` of the best trial, `metrics.json`,
        `classes.json`, `config.yaml`, `report.html`, and KerasTuner's project in `tuner/`.

    Raises:
        UserError: the space, the data or the folder cannot be used, the folder holds another sweep, or no trial could
            be completed.
    """
    space = read_space(find_space(config), TRIAL, list_given(config))
    for name in space.list_values("backbone"):
        find_application(str(name))
    for weights in space.list_values("weights"):
        check_weights(str(weights))
    for base in space.list_values("from_") or [None]:  # networks of different image sizes are refused
        backbone = BackboneConfig(from_=base if isinstance(base, str) else None)
        config = replace(config, image_size=resolve(TransferConfig(config.data, backbone)).data.image_size)
    with open_sweep(config, TRIAL, command="transfer.tune", train_command="transfer.run") as sweep:
        tuner = SEARCHES[sweep.tuner](  # a GridSearch, unless the sweep file or --tuner names another one
            TransferHyperModel(sweep.trial_defaults),
            directory=str(sweep.folder.path),
            workers=sweep.executor,
            **sweep.search_options,
        )
        with sweep.track(tuner):
            tuner.search()
        sweep.save_winner(tuner)
        sweep.repeat_finalists(tuner)
        sweep.print_summary()
    return sweep.folder.path
