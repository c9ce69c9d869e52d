"""The plan for a fine-tuning: the options that were not given, from the number of images, the speed and the time."""

from collections.abc import Collection
from time import perf_counter
from typing import Any

import keras
import tensorflow as tf

from transfer.backbone import Network
from transfer.config import TransferConfig
from transfer.frozen_part import BATCH, FrozenPart
from workbench.clock import get_command_start
from workbench.config import parse_duration
from workbench.data.dataset import Dataset
from workbench.runtime import count_devices
from workbench.training.plan import apply_plan, choose_batch_size, share_batch
from workbench.training.precision import measure_call

_TRAINING = 3.0  # seconds of a training step, as a multiple of those of the forward pass


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
    num_images, budget = len(dataset.train), parse_duration(config.training.budget)
    batch_size = choose_batch_size(num_images, config.training.optimizer)
    values: dict[str, Any] = {
        "batch_size": share_batch(batch_size, num_images, count_devices(config.training.strategy))
    }
    if budget and cut is None:
        left = budget - (perf_counter() - get_command_start())
        passes = left / (measure_forward(network, dataset) * num_images)  # forward, of all training images
        if config.training.head_epochs:
            passes -= 1  # the head is trained on features first
        values["epochs"] = max(1, round(passes / _TRAINING))
    return apply_plan(config, values, given)


def measure_forward(network: Network, dataset: Dataset) -> float:
    """Return the seconds of the backbone's forward pass for one image, in float32."""
    backbone = FrozenPart(network.layers[-1])
    images = tf.constant(dataset.images[dataset.train[:BATCH]])
    return measure_call(lambda: backbone.compute(images, "float32").numpy(), 1) / len(images)
