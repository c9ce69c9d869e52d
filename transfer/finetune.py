"""One fine-tuning: a network frozen as configured, the part of it that trains, and the data this part trains on."""

import dataclasses
import functools
import math

import keras

from transfer.backbone import build_network
from transfer.features import stored_features
from transfer.freezing import freeze, last_frozen
from transfer.optimizer import build_optimizer
from transfer.precision import build_in_precision, choose_model_precision
from workbench.training.callbacks import best_row
from workbench.training.loop import fit
from workbench.training.optimizer import compile_model


class FineTuning:
    """A network that is fine-tuned.

    Attributes:
        network: the whole `transfer.backbone.Network`, frozen as the mode says.
        frozen: how many of the backbone's layers are frozen.
        trained: the Keras model that is trained, in another format by a copy: the layers of the network after the cut,
            shared with it, or the whole network where nothing is stored.
        facts: name -> what is worth knowing of it: parameters, and what computing features took so far (0 where they
            were stored).
    """

    def __init__(self, config, dataset, network=None):
        """Freeze a network.

        Args:
            config: a resolved `transfer.config.TransferConfig`.
            dataset: a `workbench.data.dataset.Dataset`.
            network: as `build_network` returns it for `config`; built if None.
        """
        self._config, self._dataset = config, dataset
        self.network = network or build_network(config, len(dataset.class_names))
        self.frozen = freeze(self.network, config)
        self._cut = last_frozen(self.network) if config.views else None
        self.trained = self._after(self._cut)
        weights, trained = self.network.model.count_params(), self.trained.trainable_weights
        self.facts = {
            "mode": config.mode,
            "frozen_layers": self.frozen,
            "parameters": weights,
            "trained_parameters": sum(math.prod(weight.shape) for weight in trained),
            "feature_seconds": 0.0,
            "feature_images": 0,
        }

    @functools.cached_property
    def precision(self):
        """The format in which `trained` is trained."""
        return choose_model_precision(self.trained, self._config.training)

    @property
    def stores(self):
        """Whether a frozen part is computed once."""
        return self._cut is not None

    def examples(self):
        """The data set that `trained` is fitted on: of images, or of stored features."""
        return self._features(self._cut, self._config) if self.stores else self._dataset

    def compile(self):
        """`trained`, or a copy of it in another format, compiled with the learning rates of head and backbone."""
        self.facts["precision"] = self.precision
        return self._build_compiled(self.trained, self._config)

    def settings(self):
        """The configuration that `trained` is fitted with: stored features are augmented already."""
        return dataclasses.replace(self._config, data_aug=self._config.data_aug and not self.stores)

    def train_head(self):
        """Train the head with the whole backbone frozen, for `head_epochs`; the best epoch's row, None for none."""
        if not self._config.head_epochs:
            return None
        config = dataclasses.replace(self._config, mode="last_layer", k=None, until=None, train_bn=False)
        config = dataclasses.replace(config, epochs=config.head_epochs, schedule="constant", warmup_epochs=0)
        freeze(self.network, config)
        cut = last_frozen(self.network) if config.views else None
        head, dataset = self._after(cut), self._dataset
        if cut is not None:
            config = dataclasses.replace(config, data_aug=False)
            dataset = self._features(cut, config)
        rows, weights = fit(self._build_compiled(head, config), config, dataset)
        head.set_weights(weights)
        freeze(self.network, self._config)
        return best_row(rows)

    def _build_compiled(self, model, config):
        copy = build_in_precision(model, self.precision)
        compile_model(copy, config.training, build_optimizer(self.network, config.training, copy))
        return copy

    def _after(self, operation):
        """The model from an operation's output to the logits; the whole one for None."""
        model = self.network.model
        return model if operation is None else keras.Model(operation.output, model.output, name=f"{model.name}_rest")

    def _features(self, operation, config):
        features = stored_features(self._dataset, operation, config)
        self.facts["feature_seconds"] += features.seconds
        self.facts["feature_images"] += features.images
        return features.dataset
