"""How a classifier is compiled for a training: optimizer, loss, metric, and the learning rate of each step."""

import functools
import math

import keras
import numpy as np
import tensorflow as tf

from workbench.runtime import gpus, num_replicas
from workbench.training.precision import shortest_seconds

_GPU_STEPS = 8  # steps a GPU runs without waiting for Python
_UNDECAYED = ["bias", "gamma", "beta"]  # weight decay is for kernels alone


def compiled(model, config, optimizer=None, *, xla="auto", steps_per_execution=1):
    """`model`, compiled for a training.

    Args:
        model: maps images to logits.
        config: has the fields of `TrainingConfig` and `RecipeConfig`.
        optimizer: takes the place of Adam or AdamW.
        xla: as in `ExecutionConfig`.
        steps_per_execution: a divisor of an epoch's steps.
    """
    optimizer = optimizer or _optimizer(config)
    if any(layer.compute_dtype == "float16" for layer in model.layers):
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(
        optimizer=optimizer,
        loss=_loss(config),
        metrics=["accuracy"],
        jit_compile={"auto": bool(gpus()) and num_replicas() == 1, "yes": True, "no": False}[xla],
        steps_per_execution=steps_per_execution,
    )
    model.optimizer.build(model.trainable_variables)
    _build_metrics(model, takes_one_hot(config))
    _match_batch_norm(model, config.ema)
    return model


def step_seconds(model, config, shape, steps=2):
    """Seconds of a training step of a compiled model on random inputs, the shortest of a few.

    Args:
        model: as `compiled` returns it; its weights change.
        config: what it was compiled with.
        shape: of a batch of inputs.
        steps: that are timed, after one in which the graph is traced.
    """
    classes = model.output_shape[-1]
    inputs = np.random.default_rng(0).integers(0, 256, shape).astype(model.inputs[0].dtype)
    labels = np.arange(shape[0]) % classes
    if takes_one_hot(config):
        labels = np.eye(classes, dtype="float32")[labels]
    return shortest_seconds(lambda: model.train_on_batch(inputs, labels), steps)


def execution_steps(asked, steps):
    """How many steps to run at a time: a divisor of an epoch's.

    Args:
        asked: as `ExecutionConfig` has it.
        steps: of an epoch.
    """
    most = min(steps, asked or (_GPU_STEPS if gpus() else 1))
    return max(number for number in range(1, most + 1) if steps % number == 0)


def _build_metrics(model, one_hot):
    """Make the metrics' variables now: made within the first training step, they would have it traced twice."""
    logits = keras.ops.zeros((1, *model.output.shape[1:]))
    model.compute_metrics(None, logits if one_hot else keras.ops.zeros(1), logits)
    model.reset_metrics()


def takes_one_hot(config):
    """Whether the loss takes targets as one probability a class, not as class indices."""
    return any(value > 0 for value in (config.label_smoothing, config.mixup, config.cutmix))


def adam_step(optimizer, gradient, variable, learning_rate):
    """One variable's step of Adam by TensorFlow's own kernel, which goes over memory once; Keras' goes a dozen times.

    Keras' it is with a GPU, whose compiler fuses the step itself, and where several devices mirror the variables.

    Args:
        optimizer: a built keras.optimizers.Adam without `amsgrad`.
        gradient: of the shape and type of `variable`.
        variable: on one device, as the optimizer's own `update_step` gets it.
        learning_rate: scalar.

    Source: Kingma and Ba, Adam, ICLR 2015; the same arithmetic as keras.optimizers.Adam, rounded otherwise.
    """
    if gpus() or num_replicas() > 1:
        keras.optimizers.Adam.update_step(optimizer, gradient, variable, learning_rate)
        return
    index, dtype = optimizer._get_variable_index(variable), variable.dtype
    step = tf.cast(tf.convert_to_tensor(optimizer.iterations) + 1, dtype)
    first, second = (tf.constant(beta, dtype) for beta in (optimizer.beta_1, optimizer.beta_2))
    tf.raw_ops.ResourceApplyAdam(
        var=(variable.value if isinstance(variable, keras.Variable) else variable).handle,
        m=optimizer._momentums[index].value.handle,
        v=optimizer._velocities[index].value.handle,
        beta1_power=first**step,
        beta2_power=second**step,
        lr=tf.cast(learning_rate, dtype),
        beta1=first,
        beta2=second,
        epsilon=tf.constant(optimizer.epsilon, dtype),
        grad=gradient,
    )


def _match_batch_norm(model, momentum):
    """Let batch norm average its statistics over as many steps as the weights that they are to go with."""
    for layer in model.layers:
        if getattr(layer, "momentum", None) is not None:
            layer.momentum = max(layer.momentum, momentum)


def _optimizer(config):
    average = {"use_ema": True, "ema_momentum": config.ema} if config.ema else {}
    if config.weight_decay:
        optimizer = keras.optimizers.AdamW(config.learning_rate, weight_decay=config.weight_decay, **average)
        optimizer.exclude_from_weight_decay(var_names=_UNDECAYED)
    else:
        optimizer = keras.optimizers.Adam(config.learning_rate, **average)
    optimizer.update_step = functools.partial(adam_step, optimizer)  # no subclass: it is saved as what it is
    return optimizer


def _loss(config):
    if takes_one_hot(config):
        return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=config.label_smoothing)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def learning_rate_at(config, steps, step):
    """The learning rate of one step.

    Args:
        config: has the fields of `TrainingConfig` and `RecipeConfig`.
        steps: of an epoch.
        step: number of the step, counted from 0 over all epochs.

    Source: linear warm-up, then half a cosine (Loshchilov and Hutter, SGDR, ICLR 2017, without restarts).
    """
    warmup, total = config.warmup_epochs * steps, config.epochs * steps
    if step < warmup:
        return config.learning_rate * (step + 1) / math.ceil(warmup)
    if config.schedule == "constant":
        return config.learning_rate
    done = (step - warmup) / max(1, total - warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


class ScheduleLearningRate(keras.callbacks.Callback):
    """Sets the learning rate before each step, from the step's number alone, so that a resumed run has it too."""

    def __init__(self, config, steps):
        super().__init__()
        self._config, self._steps, self._epoch, self._rate = config, steps, 0, None

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        rate = learning_rate_at(self._config, self._steps, self._epoch * self._steps + batch)
        if rate != self._rate:
            self.model.optimizer.learning_rate.assign(rate)
            self._rate = rate
