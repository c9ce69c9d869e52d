"""The configurations of the commands that train and sweep the five-block network."""

import dataclasses
from typing import Literal

from workbench.config import DataConfig, RunConfig, TrainingConfig, TrainingRunConfig
from workbench.sweep.config import SearchConfig, WorkersConfig


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
        dense_units: Units of the dense layer.
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
class FinderConfig:
    """Learning-rate finder.

    Args:
        lr_find: Do not train; try learning rates and suggest one.
    """

    lr_find: bool = False


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Configuration of `python -m cnn_scratch.train`."""

    data: DataConfig = DataConfig()
    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()
    finder: FinderConfig = FinderConfig()
    run: TrainingRunConfig = TrainingRunConfig()


@dataclasses.dataclass(frozen=True)
class TuneConfig:
    """Configuration of `python -m cnn_scratch.tune`."""

    data: DataConfig = DataConfig()
    search: SearchConfig = SearchConfig()
    workers: WorkersConfig = WorkersConfig()
    run: RunConfig = RunConfig()
