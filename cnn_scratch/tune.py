"""Sweep the five-block CNN's hyperparameters with KerasTuner; the same command again continues the sweep."""

import sys
from collections.abc import Sequence

from cnn_scratch.commands import TUNE
from workbench import cli


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    return cli.main(TUNE, argv)


if __name__ == "__main__":  # parse first: the imports below load TensorFlow
    sys.exit(main())

from pathlib import Path

import keras
import numpy as np

from cnn_scratch.config import TRIAL, TrainConfig, TuneConfig
from cnn_scratch.fast_model import choose_cnn_precision
from cnn_scratch.graph_cache import GraphCache, build_plain_model
from cnn_scratch.model import Cost, check_memory, compute_network_cost
from workbench.sweep.command import open_sweep, read_trial_defaults
from workbench.sweep.image_hypermodel import ImageHyperModel, TrialDefaults
from workbench.sweep.tuners import SEARCHES

_OVERHEAD = 5e6  # fixed cost of an image (decoding, overhead) in multiply-adds


class CnnHyperModel(ImageHyperModel):
    """The five-block CNN as KerasTuner sees it. Trials with the same graph share a compiled network."""

    can_estimate_work = True

    def __init__(self, defaults: TrialDefaults) -> None:
        super().__init__(defaults)
        self._graphs = GraphCache()

    def make_model(self, config: TrainConfig) -> keras.Model:
        """Return a compiled network, reset to its initial weights; it may come from a cache."""
        image_size = config.data.resolved_size
        check_memory(config.network, image_size, self.count_classes(config))
        return self._graphs.take(config.network, config.training, image_size, self.count_classes(config))

    def build_plain_model(self, config: TrainConfig, weights: list[np.ndarray]) -> keras.Model:
        """Return the network with the given weights as a plain Keras model."""
        return build_plain_model(config.network, config.data.resolved_size, self.count_classes(config), weights)

    def choose_precision(self, config: TrainConfig) -> str:
        """Return the number format in which the network is trained on this machine."""
        return choose_cnn_precision(config.network, config.training, config.data.resolved_size)

    def make_key(self, config: TrainConfig) -> tuple:
        """Return a key; configurations with equal keys share a traced graph."""
        return GraphCache.make_key(config.network, config.training, config.data.resolved_size)

    def estimate_work(self, config: TrainConfig) -> float:
        """Return the multiply-adds of an image in all epochs, with an allowance for all other work on it."""
        return config.training.epochs * (self._compute_cost(config).multiply_adds + _OVERHEAD)

    def count_parameters(self, config: TrainConfig) -> int:
        """Return the number of trainable parameters."""
        return self._compute_cost(config).parameters

    def _compute_cost(self, config: TrainConfig) -> Cost:
        return compute_network_cost(config.network, config.data.resolved_size, self.count_classes(config))


def open_hypermodel(sweep: Path, data: str | None) -> CnnHyperModel:
    """Return the hypermodel of a finished sweep, which builds its trials' networks; see `read_trial_defaults`."""
    return CnnHyperModel(read_trial_defaults(sweep, TuneConfig, TRIAL, data))


def tune(config: TuneConfig) -> Path:
    """Run a sweep of the network, or continue it.

    Returns:
        Path of the sweep's run folder: `trials.csv`, `model.keras` and `best.yaml` of the best trial, `metrics.json`,
        `classes.json`, `config.yaml`, `report.html`, and KerasTuner's project in `tuner/`.

    Raises:
        UserError: the space, the data or the folder cannot be used, the folder holds another sweep, or no trial could
            be completed.
    """
    with open_sweep(config, TRIAL, command="cnn_scratch.tune", train_command="cnn_scratch.train") as sweep:
        tuner = SEARCHES[sweep.tuner](  # a GridSearch, unless the sweep file or --tuner names another one
            CnnHyperModel(sweep.trial_defaults),
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
