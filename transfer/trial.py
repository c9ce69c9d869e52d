"""One trial of a sweep of fine-tunings: KerasTuner's hypermodel of it."""

import math

from transfer.backbone import DROPOUT, build_network
from transfer.defaults import resolve
from transfer.finetune import FineTuning
from workbench.config import replace
from workbench.keras_graph import build_uncompiled
from workbench.sweep.hypermodel import TrialHyperModel


class TransferHyperModel(TrialHyperModel):
    """KerasTuner's view of a fine-tuning: what is frozen is computed once for all trials that share it."""

    def __init__(self, *args):
        super().__init__(*args)
        self._current = None  # (configuration, its FineTuning)
        self._built = None  # (what it hangs on, network, its initial weights)

    def with_values(self, values):
        """The resolved configuration of the trial with these swept values."""
        return resolve(replace(self._base, **values))

    def graph_key(self, values):
        """What the trials of two points have in common if they share stored features."""
        config = self.with_values(values)
        return str((config.data.image_size, config.freezing, config.backbone.backbone, config.backbone.weights))

    def make(self, config):
        """A compiled model as freshly built for `config`, its head trained alone first where the mode says so."""
        self._current = None  # whose network was trained
        tuning = self._tuning(config)
        tuning.train_head()
        return tuning.compile()

    def settings(self, config):
        """What the part that trains is fitted with."""
        return self._tuning(config).settings()

    def examples(self, config):
        """The stored features, or the images where nothing is stored."""
        return self._tuning(config).examples()

    def plain(self, config, weights):
        """The whole network with the given weights of its trained part, not compiled."""
        tuning = self._tuning(config)
        tuning.trained.set_weights(weights)
        return build_uncompiled(tuning.network.model)

    def parameters(self, config):
        """Number of trained parameters."""
        return sum(math.prod(weight.shape) for weight in self._tuning(config).trained.trainable_weights)

    def _tuning(self, config):
        if self._current is None or self._current[0] != config:
            dataset = self.dataset(config.data.image_size)
            network = self._network(config, len(dataset.class_names))
            self._current = config, FineTuning(config, dataset, network)
        return self._current[1]

    def _network(self, config, num_classes):
        """The network as freshly built; built once for the trials that share it."""
        key = (replace(config.backbone, dropout=0.0), config.data.image_size, config.training.seed)
        if self._built is None or self._built[0] != key:
            network = build_network(config, num_classes)
            self._built = key, network, network.model.get_weights()
        _, network, weights = self._built
        network.model.set_weights(weights)
        network.model.get_layer(DROPOUT).rate = config.backbone.dropout
        return network
