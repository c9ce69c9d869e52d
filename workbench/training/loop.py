"""The training loop: a compiled model, a data set and a configuration in, the epochs' rows and best weights out."""

from workbench.data.dataset import compute_class_weights
from workbench.data.pipeline import evaluation_batches, steps_per_epoch, training_batches
from workbench.training.callbacks import AverageWeights, EpochRecord, EpochSeeds, KeepBest, StopOnNaN, has_stalled
from workbench.training.optimizer import needs_one_hot
from workbench.training.progressive_resizing import plan_stages
from workbench.training.schedule import LearningRateSchedule
from workbench.training.training_model import select_image_size


def fit(model, config, dataset, *, listeners=(), rows=(), weights=None, callbacks=lambda record: ()):
    """Train a compiled model, from where `rows` ends.

    Args:
        model: compiled, mapping uint8 images to logits.
        config: has the fields of `TrainingConfig` and `RecipeConfig`, and `seed`.
        dataset: a `workbench.data.dataset.Dataset`.
        listeners: called with each finished epoch's row; one that returns True ends the training there.
        rows: rows of the epochs already done.
        weights: of the best epoch among them.
        callbacks: takes the `EpochRecord`, returns further Keras callbacks.

    Returns:
        (rows of all epochs, weights of the best one).

    Raises:
        Diverged: the loss became NaN or infinite.
    """
    steps = steps_per_epoch(dataset, config.batch_size)
    listeners = [*listeners, lambda row: has_stalled(record.rows, config.patience)]
    record = EpochRecord(len(dataset.train), listeners, rows)
    keep_best = KeepBest(record, weights)
    callbacks = [
        EpochSeeds(config.seed),
        LearningRateSchedule(config, steps),
        StopOnNaN(config.learning_rate),
        *([AverageWeights()] if config.ema else []),
        record,
        keep_best,
        *callbacks(record),
    ]
    for end, size in plan_stages(config, dataset.images.shape[1]):
        done = len(record.rows)
        if done >= end:
            continue
        select_image_size(model, size)
        model.fit(
            batches(config, dataset, first_epoch=done, image_size=size),
            validation_data=validation_batches(config, dataset),
            steps_per_epoch=steps,
            initial_epoch=done,
            epochs=end,
            shuffle=False,  # the pipeline has shuffled
            verbose=0,
            callbacks=callbacks,
        )
        if model.stop_training:
            break
    return record.rows, keep_best.weights


def batches(config, dataset, first_epoch=0, image_size=None):
    """Endless training batches as a configuration asks for them; see `training_batches`."""
    return training_batches(
        dataset,
        config.batch_size,
        data_aug=config.data_aug,
        seed=config.seed,
        first_epoch=first_epoch,
        class_weights=compute_class_weights(dataset) if config.class_weights == "balanced" else None,
        one_hot=needs_one_hot(config),
        erasing=config.erasing,
        mixup=config.mixup,
        cutmix=config.cutmix,
        image_size=image_size,
    )


def validation_batches(config, dataset):
    """The validation images in batches as a configuration asks for them."""
    return evaluation_batches(dataset, dataset.validation, config.batch_size, one_hot=needs_one_hot(config))
