"""Refuse a fine-tuning that cannot fit into the machine's memory, before it begins."""

import math

import keras

from transfer.backbone import Network
from transfer.config import TransferConfig
from transfer.frozen_part import BATCH
from workbench.data.dataset import Dataset
from workbench.errors import UserError
from workbench.files import format_bytes
from workbench.keras_graph import list_inputs
from workbench.runtime import list_gpus, measure_memory

_BYTES_OF_TRAINED = 3 * 4  # beyond the weight: its gradient, and Adam's two averages, all float32
_BYTES_OF_KEPT = 2  # of one number that is kept for the gradient; bfloat16 is the smallest format


def estimate_memory(model: keras.Model, part: keras.Model, batch_size: int, frozen_batch: int) -> int:
    """Return a lower bound of the memory that a fine-tuning takes, in bytes.

    It counts the weights; of those that are trained, the gradients and Adam's averages; and the larger one of two: the
    inputs of the trained kernels for one batch, in the smallest number format, and the largest output of a frozen
    kernel for the images whose features are computed at a time, in float32. A real fine-tuning takes more.

    Args:
        model: the whole network.
        part: its part that is trained.
        batch_size: images of a training step.
        frozen_batch: images whose features are computed at a time; 0 if none are.
    """
    weights = 4 * sum(_count(weight.shape) for weight in model.weights)
    trained = _BYTES_OF_TRAINED * sum(_count(weight.shape) for weight in part.trainable_weights)
    sources = {source for operation in part.operations if _has_kernel(operation) for source in list_inputs(operation)}
    kept = _BYTES_OF_KEPT * batch_size * sum(_count(source.output.shape[1:]) for source in sources)
    frozen = set(model.operations) - set(part.operations)
    outputs = [_count(operation.output.shape[1:]) for operation in frozen if getattr(operation, "weights", [])]
    return weights + trained + max(kept, 4 * frozen_batch * max(outputs, default=0))


def _has_kernel(operation: keras.Operation) -> bool:
    """Return whether the gradient of an operation needs its input."""
    return any(len(weight.shape) > 1 for weight in getattr(operation, "trainable_weights", []))


def _count(shape: tuple[int | None, ...]) -> int:
    return math.prod(side or 1 for side in shape)


def check_memory(network: Network, part: keras.Model, dataset: Dataset, config: TransferConfig) -> None:
    """Refuse a fine-tuning that needs more memory than the machine has.

    With a GPU nothing is refused, because its memory is not known here.

    Args:
        network: frozen as the configuration says.
        part: its part that is trained.
        dataset: images.
        config: a resolved configuration.

    Raises:
        UserError: says how much is needed, and which options need less.
    """
    batch_size, available = min(config.training.batch_size, len(dataset.train)), measure_memory()
    needed = estimate_memory(network.model, part, batch_size, min(BATCH, len(dataset.validation)))
    if needed <= available or list_gpus():
        return
    parameters = network.model.count_params()
    raise UserError(
        f"--image-size {dataset.image_size}, --batch-size {batch_size}: {network.name} has {parameters:,} parameters, "
        f"and to fine-tune it takes at least {format_bytes(needed)} of memory; this machine has "
        f"{format_bytes(available)}. "
        "Lower one of these options, freeze more layers, or choose a smaller --backbone"
    )
