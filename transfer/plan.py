"""The plan for a fine-tuning: the options that were not given, from the number of images, the speed and the time."""

from collections.abc import Collection

import keras
import tensorflow as tf

from transfer.backbone import Network
from transfer.config import TransferConfig
from transfer.defaults import Plan
from transfer.freezing import find_last_frozen
from transfer.frozen_part import BATCH, FrozenPart
from workbench.clock import count_seconds_left
from workbench.config import parse_duration
from workbench.data.dataset import Dataset
from workbench.runtime import count_devices
from workbench.training.plan import apply_plan, choose_batch_size, share_batch
from workbench.training.precision import measure_call

_BACKWARD = 2.0  # seconds of the gradients of layers, as a multiple of those of their forward pass
_MOST_WARMUP = 0.1  # share of a training in which the learning rate may rise


def plan_options(
    config: TransferConfig, given: Collection[str], dataset: Dataset, network: Network, cut: keras.Operation | None
) -> TransferConfig:
    """Return the configuration with the options that were not given, and print what was chosen.

    Where images are trained on, the epochs are those that the time allows. The clock decides when the training ends,
    but the warm-up and the unfreezing are counted in epochs.

    Args:
        config: resolved.
        given: names of the options that were given.
        dataset: images.
        network: frozen as it is to be trained.
        cut: the operation whose output is stored; None if images are trained on.
    """
    training, num_images, budget = config.training, len(dataset.train), parse_duration(config.training.budget)
    shared = share_batch(
        choose_batch_size(num_images, training.optimizer), num_images, count_devices(training.strategy)
    )
    plan, epochs = Plan(batch_size=shared), training.epochs
    assert epochs is not None  # `resolve` has set it
    if budget and cut is None and "epochs" not in given:
        plan["epochs"] = epochs = _count_epochs(config, dataset, network, count_seconds_left(budget))
    plan["warmup_epochs"] = round(min(training.warmup_epochs, _MOST_WARMUP * epochs), 2)
    return apply_plan(config, plan, given)


def _count_epochs(config: TransferConfig, dataset: Dataset, network: Network, seconds: float) -> int:
    """Return how many epochs of all training images the time allows, at least one."""
    dtype, operations = config.training.precision, network.model.operations
    dtype = dtype if dtype in ("float32", "bfloat16") else "float32"
    end, frozen = network.layers[-1], find_last_frozen(network)
    forward = measure_forward(end, dataset, dtype)
    if frozen is None:
        backward = _BACKWARD * forward
    elif operations.index(frozen) >= operations.index(end):
        backward = 0.0
    else:
        backward = _BACKWARD * max(0.0, forward - measure_forward(frozen, dataset, dtype))
    head_epochs = config.training.head_epochs or 0
    head = min(1, head_epochs) if config.features.views else head_epochs  # on stored features, the first one counts
    return max(1, round((seconds / len(dataset.train) - head * forward) / (forward + backward)))


def measure_forward(end: keras.Operation, dataset: Dataset, dtype: str) -> float:
    """Return the seconds of the forward pass of an image.

    Args:
        end: the last operation that is computed.
        dataset: images.
        dtype: `float32` or `bfloat16`.
    """
    part = FrozenPart(end)
    images = tf.constant(dataset.images[dataset.train[:BATCH]])
    return measure_call(lambda: part.compute(images, dtype).numpy(), 1) / len(images)
