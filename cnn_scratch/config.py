"""The configurations of the commands that train and sweep the five-block network."""

import dataclasses
from typing import Any, Literal

from workbench.commandline.options import make_unset_section
from workbench.config import (
    DataConfig,
    FinderConfig,
    RunConfig,
    TrainingConfig,
    TrainingRunConfig,
    check_count,
    check_training,
    option_names,
)
from workbench.errors import UserError
from workbench.sweep.config import SearchConfig, WorkersConfig
from workbench.sweep.sweep_file import TrialOptions

NUM_BLOCKS = 5
SMALLEST_IMAGE = 2**NUM_BLOCKS  # side in pixels; the five poolings reduce it to one
_NOT_SWEPT = ("budget", "recipe", "strategy", "start_size")


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Network.

    Args:
        num_filters: Filters of the first block.
        filter_size: Side of the square filters in pixels, one number or one for each of the five blocks.
        filter_org: Filters of block i=0..4: `same` n, `double` n*2^i, `half` n//2^i.
        activation: Activation function of the blocks and of the dense layer.
        batch_norm: Batch normalisation between each convolution and its activation.
        dropout: Share of the dense layer's outputs that is dropped in training.
        dense_units: Units of the dense layer before the last one; 0 leaves it out.
        head: How the last maps become a vector: `flatten` keeps positions, `gap` averages over them.
        initializer: Initial kernels: Keras' `glorot`, or PyTorch's `fan_in`, uniform within 1/sqrt(inputs of a unit):
            smaller, so that with batch norm a low learning rate has more effect.
    """

    num_filters: int = 32
    filter_size: int | list[int] = 3
    filter_org: Literal["same", "double", "half"] = "same"
    activation: Literal["mish", "gelu", "relu", "silu"] = "relu"
    batch_norm: bool = True
    dropout: float = 0.2
    dense_units: int = 512
    head: Literal["flatten", "gap"] = "flatten"
    initializer: Literal["glorot", "fan_in"] = "glorot"


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Configuration of `python -m cnn_scratch.train`.

    `given` has the names of the options that were given, by the command line, a file or a caller; a plan keeps them.
    """

    data: DataConfig = DataConfig()
    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    finder: FinderConfig = FinderConfig()
    run: TrainingRunConfig = TrainingRunConfig()
    given: frozenset[str] = dataclasses.field(default=frozenset(), compare=False, repr=False)


def check_trial(config: TrainConfig) -> None:
    """Refuse numbers that no trial can be trained with.

    Raises:
        UserError: names the option and its range.
    """
    check_training(config.training)
    check_network(config.network, SMALLEST_IMAGE if config.data.image_size is None else config.data.image_size)


TUNABLE_OPTIONS = [*option_names(TrainingConfig), *option_names(NetworkConfig), "image_size"]
TUNABLE_OPTIONS = [name for name in TUNABLE_OPTIONS if name not in _NOT_SWEPT]
TRIAL = TrialOptions(TrainConfig, tuple(TUNABLE_OPTIONS), check_trial)


@dataclasses.dataclass(frozen=True)
class TuneConfig:
    """Configuration of `python -m cnn_scratch.tune`.

    `fixed` has the options of a trial that are the same in all of them; None where one is not given.
    """

    data: DataConfig = DataConfig()
    search: SearchConfig = SearchConfig()
    workers: WorkersConfig = WorkersConfig()
    fixed: Any = make_unset_section(
        TrainConfig, [name for name in TUNABLE_OPTIONS if name not in ("image_size", "seed")]
    )
    run: RunConfig = RunConfig()


def list_block_filters(config: NetworkConfig) -> list[int]:
    """Return the number of filters of each of the five blocks."""
    powers = [2**block for block in range(NUM_BLOCKS)]
    if config.filter_org == "double":
        return [config.num_filters * power for power in powers]
    if config.filter_org == "half":
        return [config.num_filters // power for power in powers]
    return [config.num_filters] * NUM_BLOCKS


def list_block_filter_sizes(config: NetworkConfig) -> list[int]:
    """Return the side of the filters of each of the five blocks, in pixels."""
    size = config.filter_size
    return [size] * NUM_BLOCKS if isinstance(size, int) else list(size)


def check_network(config: NetworkConfig, image_size: int) -> None:
    """Refuse a configuration that cannot be built.

    Raises:
        UserError: the image is too small for five poolings, a block would have no filter, or a number is out of
            its range.
    """
    if image_size < SMALLEST_IMAGE:
        raise UserError(f"--image-size {image_size}: five 2x2 poolings need at least {SMALLEST_IMAGE} pixels")
    if config.num_filters < 1:
        raise UserError("--num-filters must be at least 1")
    if config.dense_units < 0:
        raise UserError("--dense-units must be at least 0")
    for name in ("num_filters", "dense_units"):
        check_count(name, getattr(config, name))
    if list_block_filters(config)[-1] < 1:
        raise UserError(
            f"--num-filters {config.num_filters} --filter-org half: the fifth block would have no filter; "
            f"start with at least {2 ** (NUM_BLOCKS - 1)}"
        )
    sizes = list_block_filter_sizes(config)
    if len(sizes) != NUM_BLOCKS or min(sizes) < 1:
        raise UserError(f"--filter-size {sizes}: give one positive number, or one for each of the {NUM_BLOCKS} blocks")
    check_count("filter_size", max(sizes))
    if not 0 <= config.dropout < 1:
        raise UserError(f"--dropout {config.dropout}: must be at least 0 and below 1")
