"""The configurations of the fine-tuning commands."""

import dataclasses
from typing import Any, Literal

from workbench.commandline.options import make_unset_section
from workbench.config import (
    DataConfig,
    FinderConfig,
    RunConfig,
    TrainingConfig,
    TrainingRunConfig,
    hidden,
    option_names,
)
from workbench.sweep.config import SearchConfig, WorkersConfig

_NOT_SWEPT = ("budget", "recipe", "strategy", "start_size", "optimizer")


@dataclasses.dataclass(frozen=True)
class BackboneConfig:
    """Backbone.

    Args:
        backbone: A classifier of keras.applications, such as ResNet50, MobileNetV2 or ConvNeXtTiny.
        weights: `imagenet` (Keras downloads them), `none`, or a .weights.h5, .h5 or .keras file of this backbone.
        from_: Run folder of a trained network, such as one of cnn_scratch, that is the backbone instead.
        dropout: Share of the pooled features that is dropped in training, before the new head.
    """

    backbone: str = "ResNet50"
    weights: str = "imagenet"
    from_: str | None = None
    dropout: float = 0.2


@dataclasses.dataclass(frozen=True)
class FreezingConfig:
    """Freezing.

    Args:
        mode: `last_layer` trains only the new head, `first_k` freezes the first k layers, `all` trains the head first
            and then all layers.
        k: For first_k: number of the backbone's layers that are frozen, its input layer included; by default all but
            the last stage.
        until: For first_k: name of the last layer that is frozen, such as conv4_block6_out, instead of --k.
        train_bn: Also train the batch norms of the layers that are not frozen; without it they keep their statistics
            and scales.
    """

    mode: Literal["last_layer", "first_k", "all"] = "last_layer"
    k: int | None = None
    until: str | None = None
    train_bn: bool = False


@dataclasses.dataclass(frozen=True)
class FeaturesConfig:
    """Stored features.

    Args:
        views: With --data-aug, the augmented views of each training image that are stored in its place (an epoch
            goes over all of them). 0 stores nothing: the frozen layers are computed in every epoch.
        feature_precision: Number format of the training images' stored features: `bfloat16` computes in bfloat16 and
            stores float16; `float16` computes in float32 and stores float16; `float32` is exact. `auto` measures once
            whether `bfloat16` or `float16` is faster, and uses it if it predicts what float32 predicts on at least
            95 % of up to 64 validation images. Validation images always have exact features.
    """

    views: int = 4
    feature_precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"


@dataclasses.dataclass(frozen=True)
class FineTuneConfig(TrainingConfig):
    """Training.

    Args:
        epochs: Passes over the training images; by default 20 for last_layer, 10 for first_k, 5 for all.
        learning_rate: Learning rate of the head; by default 3e-3 for last_layer, else 1e-3.
        backbone_learning_rate: Learning rate of the backbone's last stage; by default 1e-4.
        lr_decay: Factor of the learning rate from each stage of the backbone to the one before it.
        head_epochs: Epochs in which the head is trained alone, before the other layers; by default 1 for all and with
            --unfreeze-epochs, else 0.
        unfreeze_epochs: Train the backbone's last stage first, and unfreeze one more stage each time that so many
            epochs have passed; 0 trains all stages from the start.
    """

    epochs: int | None = None  # type: ignore[assignment]  # None until `resolve` sets the mode's default
    optimizer: Literal["adam", "sgd", "muon"] = hidden("adam")  # the others have no rate for each stage
    start_size: int = hidden(0)  # features are of one size
    learning_rate: float | None = None  # type: ignore[assignment]
    schedule: Literal["constant", "cosine", "one_cycle"] = "cosine"
    warmup_epochs: float = 0.5
    weight_decay: float = 1e-4
    backbone_learning_rate: float | None = None
    lr_decay: float = 1.0
    head_epochs: int | None = None
    unfreeze_epochs: float = 0.0


@dataclasses.dataclass(frozen=True)
class TransferConfig:
    """Configuration of `python -m transfer.run`.

    `given` has the names of the options that were given, by the command line, a file or a caller; a plan keeps them.
    """

    data: DataConfig = DataConfig()
    backbone: BackboneConfig = BackboneConfig()
    freezing: FreezingConfig = FreezingConfig()
    training: FineTuneConfig = FineTuneConfig()
    features: FeaturesConfig = FeaturesConfig()
    finder: FinderConfig = FinderConfig()
    run: TrainingRunConfig = TrainingRunConfig()
    given: frozenset[str] = dataclasses.field(default=frozenset(), compare=False, repr=False)


@dataclasses.dataclass(frozen=True)
class StrategiesConfig:
    """Strategies.

    Args:
        k: Number of the backbone's layers that first_k freezes; by default all but the last stage.
        scratch: Run folder of a network that cnn_scratch trained on the same data, to be compared too.
    """

    k: int | None = None
    scratch: str | None = None


@dataclasses.dataclass(frozen=True)
class CompareConfig:
    """Configuration of `python -m transfer.compare`; `given` as in `TransferConfig`."""

    data: DataConfig = DataConfig()
    backbone: BackboneConfig = BackboneConfig()
    strategies: StrategiesConfig = StrategiesConfig()
    training: FineTuneConfig = FineTuneConfig()
    features: FeaturesConfig = FeaturesConfig()
    run: RunConfig = RunConfig()
    given: frozenset[str] = dataclasses.field(default=frozenset(), compare=False, repr=False)


_SWEPT = (BackboneConfig, FineTuneConfig, FreezingConfig, FeaturesConfig)
TUNABLE_OPTIONS = [name for section in _SWEPT for name in option_names(section) if name not in _NOT_SWEPT]
TUNABLE_OPTIONS += ["image_size"]


@dataclasses.dataclass(frozen=True)
class TuneConfig:
    """Configuration of `python -m transfer.tune`.

    `fixed` has the options of a trial that are the same in all of them; None where one is not given.
    """

    data: DataConfig = DataConfig()
    search: SearchConfig = SearchConfig(space="configs/transfer_sweep.yaml")
    workers: WorkersConfig = WorkersConfig()
    fixed: Any = make_unset_section(
        TransferConfig,
        [name for name in TUNABLE_OPTIONS if name not in ("image_size", "seed")],
        listed=("backbone", "weights", "from_"),
    )
    run: RunConfig = RunConfig()
