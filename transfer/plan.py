"""The plan for a fine-tuning: the options that were not given, from the number of images, the speed and the time."""

import math
from collections.abc import Collection
from time import perf_counter
from typing import Any

import keras
import tensorflow as tf

from transfer.backbone import Network
from transfer.config import TransferConfig
from transfer.feature_store import count_bytes
from transfer.frozen_part import BATCH, FrozenPart
from workbench.clock import get_command_start
from workbench.config import parse_duration
from workbench.data.dataset import Dataset
from workbench.runtime import count_devices
from workbench.training.plan import apply_plan, choose_batch_size, share_batch
from workbench.training.precision import measure_call

_LABEL_SMOOTHING = 0.1
_VIEWS_SHARE, _MOST_VIEWS = 0.5, 8  # of the time that is left, for computing stored views; and most views
_MOST_BYTES = 2e9  # of all stored views
_TRAINING = 3.0  # seconds of a training step, as a multiple of those of the forward pass


def plan_options(
    config: TransferConfig, given: Collection[str], dataset: Dataset, network: Network, cut: keras.Operation | None
) -> TransferConfig:
    """Return the configuration with the options that were not given, and print what was chosen.

    With stored features the views of each image are as many as fit into half of the time and into 2 GB. Where images
    are trained on, the epochs are those that the time allows.

    Args:
        config: resolved.
        given: names of the options that were given.
        dataset: images.
        network: frozen as it is to be trained.
        cut: the operation whose output is stored; None if images are trained on.
    """
    num_images, budget = len(dataset.train), parse_duration(config.training.budget)
    batch_size = choose_batch_size(num_images, config.training.optimizer)
    devices = count_devices(config.training.strategy)
    values: dict[str, Any] = {
        "batch_size": batch_size if devices == 1 else share_batch(batch_size, num_images, devices),
        "label_smoothing": _LABEL_SMOOTHING,
        "data_aug": True,
    }
    most = math.inf  # passes of all training images through the network in the time that is left
    if budget:
        most = (budget - (perf_counter() - get_command_start())) / (measure_forward(network, dataset) * num_images)
    if cut is not None and "views" not in given:
        most_bytes = _MOST_BYTES / count_bytes((num_images, *cut.output.shape[1:]), "float16")
        views = int(min(_MOST_VIEWS if budget else config.features.views, _VIEWS_SHARE * most, most_bytes))
        values |= {"views": views} if views > 1 else {"data_aug": False}
    elif cut is None and budget:
        passes = most - 1 if config.training.head_epochs else most  # the head is trained on features first
        values["epochs"] = max(1, round(passes / _TRAINING))
    return apply_plan(config, values, given)


def measure_forward(network: Network, dataset: Dataset) -> float:
    """Return the seconds of the backbone's forward pass for one image, in float32."""
    backbone = FrozenPart(network.layers[-1])
    images = tf.constant(dataset.images[dataset.train[:BATCH]])
    return measure_call(lambda: backbone.compute(images, "float32").numpy(), 1) / len(images)
