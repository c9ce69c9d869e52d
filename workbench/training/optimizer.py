"""Compile a classifier for training: optimizer, loss and metric."""

import keras
import numpy as np

from workbench.config import TrainingConfig
from workbench.runtime import count_replicas, list_gpus
from workbench.training.optimizers.adam import FusedAdam
from workbench.training.optimizers.muon import ConvolutionMuon
from workbench.training.optimizers.sgd import FusedSGD
from workbench.training.precision import measure_call
from workbench.training.xla import uses_xla

_GPU_STEPS = 8  # steps that a GPU runs without waiting for Python
_SGD_MOMENTUM = 0.9
_UNDECAYED = ["bias", "gamma", "beta"]  # weight decay applies to kernels only


def compile_model(
    model: keras.Model,
    training: TrainingConfig,
    optimizer: keras.Optimizer | None = None,
    *,
    steps_per_execution: int = 1,
) -> None:
    """Compile a classifier for training, and make the variables of its optimizer and metrics.

    See `uses_xla` for when XLA compiles the training step.

    Args:
        model: maps images to logits.
        training: settings of the training.
        optimizer: replaces the one that `training` asks for.
        steps_per_execution: steps that run without returning to Python, see `choose_steps_per_execution`.
    """
    optimizer = optimizer or _build_optimizer(training)
    if any(layer.compute_dtype == "float16" for layer in model.layers):
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(
        optimizer=optimizer,
        loss=_build_loss(training),
        metrics=["accuracy"],
        jit_compile=uses_xla(),
        steps_per_execution=steps_per_execution,
    )
    model.optimizer.build(model.trainable_variables)
    _build_metrics(model, needs_one_hot(training))
    _raise_batch_norm_momentum(model, training.ema)


def choose_steps_per_execution(steps_per_epoch: int) -> int:
    """Return how many steps to run without returning to Python: at most 8 on one GPU, 1 on a CPU or several devices.

    The number divides `steps_per_epoch`. On CPUs more steps bring nothing. Where several devices share a batch, Keras'
    loop over steps fails.
    """
    most = min(steps_per_epoch, _GPU_STEPS if list_gpus() and count_replicas() == 1 else 1)
    return max(number for number in range(1, most + 1) if steps_per_epoch % number == 0)


def needs_one_hot(training: TrainingConfig) -> bool:
    """Return whether the loss takes one probability for each class instead of class indices."""
    return training.label_smoothing > 0 or training.mixup > 0 or training.cutmix > 0


def measure_step_seconds(model: keras.Model, training: TrainingConfig, batch_shape: tuple[int, ...]) -> float:
    """Return the seconds of a training step on random inputs, after one that is not measured. The weights change.

    Args:
        model: compiled by `compile_model`.
        training: settings that it was compiled with.
        batch_shape: shape of a batch of inputs.
    """
    num_classes = model.output_shape[-1]
    inputs = np.random.default_rng(0).integers(0, 256, batch_shape).astype(model.inputs[0].dtype)
    labels = np.arange(batch_shape[0]) % num_classes
    if needs_one_hot(training):
        labels = np.eye(num_classes, dtype="float32")[labels]
    return measure_call(lambda: model.train_on_batch(inputs, labels), 1)


def _build_metrics(model: keras.Model, one_hot: bool) -> None:
    """Make the metrics' variables. If the first training step made them, the step would be traced twice."""
    logits = keras.ops.zeros((1, *model.output.shape[1:]))
    model.compute_metrics(None, logits if one_hot else keras.ops.zeros(1), logits)
    model.reset_metrics()


def _raise_batch_norm_momentum(model: keras.Model, ema: float) -> None:
    """Raise batch norm's momentum to at least the momentum of the weights' moving average."""
    for layer in model.layers:
        if getattr(layer, "momentum", None) is not None:
            layer.momentum = max(layer.momentum, ema)


def _build_optimizer(training: TrainingConfig) -> keras.Optimizer:
    """Build the optimizer, with a moving average of the weights if `training` asks for one."""
    average = {"use_ema": training.ema > 0, "ema_momentum": training.ema or 0.99}
    rate, decay = training.learning_rate, training.weight_decay or None
    optimizer: keras.Optimizer
    if training.optimizer == "sgd":
        optimizer = FusedSGD(rate, momentum=_SGD_MOMENTUM, nesterov=True, weight_decay=decay, **average)
    elif training.optimizer == "muon":
        optimizer = ConvolutionMuon(rate, weight_decay=decay, **average)
    else:
        optimizer = FusedAdam(rate, weight_decay=decay, **average)
    optimizer.exclude_from_weight_decay(var_names=_UNDECAYED)
    return optimizer


def _build_loss(training: TrainingConfig) -> keras.Loss:
    """Build the cross-entropy of logits."""
    if needs_one_hot(training):
        return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=training.label_smoothing)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
