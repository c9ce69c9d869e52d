"""The model that is trained: our own subclass of keras.Model, saved as a model of Keras' own layers and optimizer."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from workbench.keras_graph import LOGITS, DistributedModel
from workbench.training.optimizers.fused import SavedAsKeras


@dataclasses.dataclass(frozen=True, eq=False)
class Unfreezing:
    """How the stages of a network are unfrozen one after the other.

    Attributes:
        stages: the trained layers of each stage. The first one is trained from the start.
        epochs: epochs from one stage to the next.

    Source: Howard and Ruder, Universal language model fine-tuning for text classification, ACL 2018.
    """

    stages: Sequence[Sequence[keras.Layer]]
    epochs: float

    def count_stages(self, place: float) -> int:
        """Return how many stages are trained at a place in the training, in epochs from its start."""
        return min(len(self.stages), 1 + int(place / self.epochs))

    def list_frozen(self, count: int) -> list[keras.Layer]:
        """Return the layers that are frozen while `count` stages are trained."""
        return [layer for stage in self.stages[count:] for layer in stage]


@dataclasses.dataclass(eq=False)
class _State:
    """What a `TrainingModel` keeps. A class of its own, because Keras would track a model that is an attribute.

    Attributes:
        saved_as: the model that is saved in place of the trained one.
        saved_optimizer_of: the optimizer that `saved_as` was compiled with a copy of.
        train_functions: (image size, frozen layers) -> what makes the step's batch, and the training step.
        compiled_steps: (image size, frozen layers) -> the training step without making the batch, compiled by XLA.
        image_size: the size that the model's present `train_function` belongs to.
        frozen: the layers that it does not train, of those that are trainable.
        unfreezing: how layers are unfrozen during the training; None if all are trained from the start.
        is_validating: whether a validation step is being traced or run.
        returns_logits: whether a validation step returns its logits.
        make_batch: makes the batch of a training step from what `fit` gets; None if that is the batch.
    """

    saved_as: keras.Model
    saved_optimizer_of: keras.Optimizer | None = None
    train_functions: dict[tuple, tuple[Callable | None, Callable]] = dataclasses.field(default_factory=dict)
    compiled_steps: dict[tuple, Callable] = dataclasses.field(default_factory=dict)
    image_size: int | None = None
    frozen: tuple[keras.Layer, ...] = ()
    unfreezing: Unfreezing | None = None
    is_validating: bool = False
    returns_logits: bool = False
    make_batch: Callable | None = None


class TrainingModel(DistributedModel):
    """A functional model that is trained in place of another one, which is saved.

    The trained model may compute in another number format, or with layers of our own that run faster. The saved model
    has Keras' own layers, computes the same, and loads without this project's code.

    A model that computes in 16 bits predicts some images differently from the saved one, which computes in float32. So
    such a model lets the saved model validate (`validates_saved`): each epoch's validation loss and accuracy are those
    of the model that would be saved after it, and the best epoch is the saved model's. `UpdateSavedModel` in
    callbacks.py copies the weights before. A model in float32 validates itself: it differs from the saved one by
    rounding only, and is faster.
    """

    train_function: Callable | None
    test_function: Callable | None
    jit_compile: bool

    def __init__(
        self,
        inputs: Any,
        outputs: Any,
        *,
        saved_as: keras.Model,
        validates_saved: bool = False,
        name: str | None = None,
    ) -> None:
        """Build the model and give it the weights of `saved_as`.

        Args:
            inputs: input tensors, as of keras.Model.
            outputs: output tensors, as of keras.Model.
            saved_as: functional model whose weights have the same shapes in the same order. The two may share layers.
            validates_saved: whether validation computes with `saved_as`.
            name: name of the model.
        """
        super().__init__(inputs, outputs, name=name)
        self.validates_saved = validates_saved
        self._state = _State(saved_as)
        copy_variables(saved_as.weights, self.weights)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None, **kwargs: Any) -> Any:
        """Compute the outputs; in a validation step, with the saved model if `validates_saved`."""
        if self.is_validating_saved:
            return self._state.saved_as(inputs, training=False)
        return super().call(inputs, training=training, mask=mask, **kwargs)

    @property
    def is_validating_saved(self) -> bool:
        """Whether a validation step is being traced or run that computes with the saved model."""
        return self.validates_saved and self._state.is_validating

    def test_step(self, data: Any) -> dict[str, Any]:
        """Compute loss and metrics of a batch, as keras.Model does."""
        self._state.is_validating = True
        try:
            return super().test_step(data)
        finally:
            self._state.is_validating = False

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Update and return the metrics, as keras.Model does; in a validation step also `logits`, if asked for."""
        metrics = super().compute_metrics(x, y, y_pred, sample_weight)
        return {**metrics, LOGITS: y_pred} if self._state.is_validating and self._state.returns_logits else metrics

    def return_logits(self) -> None:
        """Let each validation step return its logits besides its metrics, from now on."""
        if not self._state.returns_logits:
            self._state.returns_logits = True
            self.test_function = None  # it was traced without them

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile as keras.Model does, and drop the training steps that were compiled before."""
        super().compile(*args, **kwargs)
        self._state.train_functions.clear()
        self._state.compiled_steps.clear()
        self.train_function = None

    @contextlib.contextmanager
    def making_batches(self, make_batch: Callable[..., tuple[tf.Tensor, ...]]) -> Iterator[None]:
        """Let each training step make its batch from what `fit` gets, on the GPU.

        XLA compiles the step without this part, because it cannot compile all of it. What is compiled is kept for other
        batches; the whole step is traced again if `make_batch` is not equal to the last one.

        Args:
            make_batch: called with the elements of what `fit` gets, returns (images, targets[, weights]).
        """
        self._select(self._state.image_size, self._state.frozen, make_batch)
        try:
            yield
        finally:
            self._select(self._state.image_size, self._state.frozen, None)

    def make_train_function(self, force: bool = False) -> None:
        """Make what `fit` calls for each step, as keras.Model does."""
        if self._state.make_batch is None:
            super().make_train_function(force)
            return
        compiles, self.jit_compile = self.jit_compile, False
        try:
            super().make_train_function(force)
        finally:
            self.jit_compile = compiles

    def select_image_size(self, image_size: int) -> None:
        """Use a separate `train_function` for each size of the training images.

        Keras' one function for all sizes would leave the size open, and XLA could not compile it.

        Args:
            image_size: side of the square training images in pixels.
        """
        self._select(image_size, self._state.frozen, self._state.make_batch)

    @property
    def unfreezing(self) -> Unfreezing | None:
        """How layers are unfrozen during the training; None if all are trained from the start."""
        return self._state.unfreezing

    @unfreezing.setter
    def unfreezing(self, unfreezing: Unfreezing | None) -> None:
        self._state.unfreezing = unfreezing

    def freeze_layers(self, layers: Sequence[keras.Layer]) -> None:
        """Train without these layers from the next step on; they compute as in inference, and have no gradients."""
        self._select(self._state.image_size, tuple(layers), self._state.make_batch)
        self.make_train_function()

    def _select(
        self, image_size: int | None, frozen: tuple[keras.Layer, ...], make_batch: Callable[..., tuple] | None
    ) -> None:
        state = self._state
        if self.train_function is not None:
            state.train_functions[state.image_size, state.frozen] = (state.make_batch, self.train_function)
        state.image_size, state.frozen, state.make_batch = image_size, frozen, make_batch
        maker, function = state.train_functions.get((image_size, frozen), (None, None))
        self.train_function = function if maker == make_batch else None

    def train_step(self, data: Any) -> dict[str, Any]:
        """Train one batch, as keras.Model does, without the frozen layers; make it first if it is not given."""
        state = self._state
        if state.make_batch is None:
            return self._train(data)
        key = (state.image_size, state.frozen)
        if key not in state.compiled_steps:
            state.compiled_steps[key] = tf.function(self._train, autograph=False, jit_compile=self.jit_compile)
        return state.compiled_steps[key](state.make_batch(*data))

    def _train(self, data: Any) -> dict[str, Any]:
        """Train one batch.

        The frozen layers are not trainable only while the step is traced: everything else needs the same list of
        variables always.
        """
        for layer in self._state.frozen:
            layer.trainable = False
        try:
            return super().train_step(data)
        finally:
            for layer in self._state.frozen:
                layer.trainable = True

    def load_saved_weights(self) -> None:
        """Set the weights to those of the saved model."""
        copy_variables(self._state.saved_as.weights, self.weights)

    def update_saved_weights(self) -> None:
        """Set the weights of the saved model to those of this one."""
        copy_variables(self.weights, self._state.saved_as.weights)

    def get_saved_model(self) -> keras.Model:
        """Return the model to save, with the current weights and, if this one is compiled, optimizer state.

        Its optimizer is Keras' own with a copy of the variables, so that `load_model` continues the training.
        """
        saved = self._state.saved_as
        self.update_saved_weights()
        if self.compiled:
            if self._state.saved_optimizer_of is not self.optimizer:
                saved.compile(build_keras_optimizer(self.optimizer), self.loss)
                saved.optimizer.build(saved.trainable_variables)
                self._state.saved_optimizer_of = self.optimizer
            copy_variables(self.optimizer.variables, saved.optimizer.variables)
        return saved


def select_image_size(model: keras.Model, image_size: int) -> None:
    """Select the `train_function` for an image size; a plain keras.Model has one function for all sizes."""
    if isinstance(model, TrainingModel):
        model.select_image_size(image_size)


def get_saved_model(model: keras.Model) -> keras.Model:
    """Return the model that is saved in place of `model`, with its weights; a plain keras.Model is saved itself."""
    return model.get_saved_model() if isinstance(model, TrainingModel) else model


def restore_checkpoint(model: keras.Model, path: str | Path) -> None:
    """Load the weights and the optimizer state of a compiled model that was saved by way of `get_saved_model`.

    Raises:
        ValueError: the file holds another network or another optimizer.
    """
    saved = get_saved_model(model)
    saved.load_weights(path)
    if saved is not model:
        copy_variables(saved.weights, model.weights)
        copy_variables(saved.optimizer.variables, model.optimizer.variables)


def build_keras_optimizer(optimizer: keras.Optimizer) -> keras.Optimizer:
    """Build an optimizer of Keras' own classes with the settings and the kinds of variables of `optimizer`."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return keras.optimizers.LossScaleOptimizer(
            build_keras_optimizer(optimizer.inner_optimizer),
            initial_scale=optimizer.initial_scale,
            dynamic_growth_steps=optimizer.dynamic_growth_steps,
        )
    if isinstance(optimizer, SavedAsKeras):
        return optimizer.to_keras()
    return type(optimizer).from_config(optimizer.get_config())


def copy_variables(sources: list[keras.Variable], targets: list[keras.Variable]) -> None:
    """Assign the values of variables to others; a variable that is in both lists is left alone."""
    for source, target in zip(sources, targets, strict=True):
        if source is not target:
            set_value(target, tf.cast(source.value, target.dtype))


def set_value(variable: keras.Variable, value: tf.Tensor) -> None:
    """Assign a value of the same shape and dtype to a variable, in half the time of Keras' `assign`.

    The object that `assign` makes for the new value is left out.
    """
    variable.value.assign(value, read_value=False)
