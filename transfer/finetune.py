"""Split a frozen network into the layers that are computed once and the part that is trained, and train its head."""

import dataclasses
import math

import keras

from transfer.backbone import Network
from transfer.config import FineTuneConfig, FreezingConfig, TransferConfig
from transfer.features import Features, compute_features
from transfer.freezing import find_last_frozen, find_stages, freeze
from transfer.optimizer import build_optimizer
from transfer.precision import build_in_precision
from workbench.config import replace
from workbench.console import console
from workbench.data.dataset import Dataset
from workbench.errors import UserError
from workbench.training.history import EpochLog, find_best_epoch
from workbench.training.loop import fit
from workbench.training.optimizer import compile_model
from workbench.training.training_model import Unfreezing


@dataclasses.dataclass(frozen=True)
class HeadTraining:
    """The training of a head.

    Attributes:
        best: its best epoch; its validation accuracy is that of the network as it is after the training.
        features: the stored features that it was trained on; None if it was trained on images.
    """

    best: EpochLog
    features: Features | None


def build_trained_part(network: Network, cut: keras.Operation | None) -> keras.Model:
    """Build the model from the output of `cut` to the logits, with the network's layers; the whole model for None."""
    model = network.model
    return model if cut is None else keras.Model(cut.output, model.output, name=f"{model.name}_rest")


def count_trained_parameters(part: keras.Model) -> int:
    """Return the number of parameters that are trained."""
    return sum(math.prod(weight.shape) for weight in part.trainable_weights)


def check_augmentation(training: FineTuneConfig, cut: keras.Operation | None) -> None:
    """Refuse augmentation that stored features cannot have.

    Raises:
        UserError: names the option.
    """
    for name in ("mixup", "cutmix", "erasing"):
        value = getattr(training, name)
        if value and cut is not None:
            raise UserError(f"--{name} {value:g}: changes images, but features are stored; give --views 0 as well")


def make_unfreezing(network: Network, training: FineTuneConfig, model: keras.Model) -> Unfreezing | None:
    """Return how the backbone's stages are unfrozen, the last one first; None if all are trained from the start.

    The head is trained together with the first stage, and so is what does not belong to a stage.

    Args:
        network: frozen as it is to be trained at the end.
        training: settings of the training.
        model: what is fitted: a part of the network, or a copy of it whose layers have the same names.
    """
    trained = {layer.name: layer for layer in model.layers if layer.trainable_weights}
    names = [[layer.name for layer in stage.layers if layer.name in trained] for stage in find_stages(network)]
    stages = [[trained[name] for name in stage] for stage in reversed(names) if stage]
    return Unfreezing(stages, training.unfreeze_epochs) if training.unfreeze_epochs and len(stages) > 1 else None


def train_head(network: Network, dataset: Dataset, config: TransferConfig) -> HeadTraining:
    """Train the head with the whole backbone frozen, for `head_epochs` at a constant learning rate.

    The head gets the weights of its best epoch. Afterwards the network is frozen as `config` says.

    Args:
        network: its weights are initial.
        dataset: images.
        config: a resolved configuration with a chosen `precision`.
    """
    head = dataclasses.replace(config, freezing=FreezingConfig(mode="last_layer"))
    head = replace(head, epochs=config.training.head_epochs, schedule="constant", warmup_epochs=0.0, budget=None)
    head = replace(head, mixup=0.0, cutmix=0.0, erasing=0.0, ema=0.0)
    freeze(network, head.freezing)
    cut = find_last_frozen(network) if config.features.views else None
    part = build_trained_part(network, cut)
    features = compute_features(dataset, network, cut, head, views=0) if cut is not None else None
    model = build_in_precision(part, config.training.precision)
    compile_model(model, head.training, build_optimizer(network, head.training, model))
    result = fit(model, features.dataset if features else dataset, head.training)
    part.set_weights(result.best_weights)
    freeze(network, config.freezing)
    return HeadTraining(find_best_epoch(result.history), features)


def prepare_features(
    network: Network, dataset: Dataset, config: TransferConfig, cut: keras.Operation | None, needs_head: bool
) -> list[Features]:
    """Train the head alone, if the mode says so, and compute the stored features.

    Args:
        network: frozen as it is to be trained.
        dataset: images.
        config: resolved, with a chosen `precision`.
        cut: the operation whose output is stored; None if images are trained on.
        needs_head: whether a head that is to be trained alone has not been trained yet.

    Returns:
        The features that were used, those of `cut` last.
    """
    computed: list[Features] = []
    if config.training.head_epochs and needs_head:
        head = train_head(network, dataset, config)
        accuracy, epoch = head.best["val_accuracy"], head.best["epoch"]
        console.print(f"head alone: validation accuracy {accuracy:.1%} in epoch {epoch}")
        computed += [head.features] if head.features else []
    if cut is not None:
        views = config.features.views if config.training.data_aug else 0
        computed.append(compute_features(dataset, network, cut, config, views))
    for features in computed:
        console.print(features.describe())
    return computed
