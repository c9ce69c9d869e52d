"""Classify images with a finished run: print the most probable classes of each file."""

import sys

from workbench import cli
from workbench.commands import PREDICT, PredictConfig

if __name__ == "__main__":  # parse first: the imports below take time
    sys.exit(cli.main(PREDICT))

import contextlib
import dataclasses
import functools
import itertools
import json
import shlex
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from workbench.commandline.calls import format_call
from workbench.data.decoding import DecodedImage, DecodingResult, decode_items
from workbench.data.folder_source import describe_links, list_files, make_printable, read_image_file
from workbench.data.image_formats import READABLE, describe_missing_decoders
from workbench.data.source import Item
from workbench.errors import UserError
from workbench.evaluation.calibration.saved_calibration import SavedCalibration, read_calibration
from workbench.evaluation.litert_model import LiteRTModel
from workbench.evaluation.model_copy import keep_copy, open_copy
from workbench.evaluation.probabilities import rank_classes, softmax
from workbench.finished_run import FinishedRun, open_run
from workbench.runtime import is_tensorflow_loaded, load_tensorflow
from workbench.wording import agree, format_count

if TYPE_CHECKING:
    import keras  # not imported here: a copy of the model needs no TensorFlow

UNREADABLE_EXIT = 1
_UNKNOWN = "unknown"

Ranking = list[tuple[str, float]]  # class names and their probabilities, the most probable first


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The prediction for one image.

    Attributes:
        image: path of its file.
        classes: the most probable classes with their probabilities, the most probable first.
        is_unknown: whether the network is less confident than the threshold of `--unknown`; None without this option.
    """

    image: str
    classes: Ranking
    is_unknown: bool | None = None


def predict(config: PredictConfig) -> tuple[int, int]:
    """Open the run and print the predictions, see `print_predictions`."""
    return print_predictions(open_run(config.run), config)


def print_predictions(run: FinishedRun, config: PredictConfig) -> tuple[int, int]:
    """Print the most probable classes of each image, in the given order, while later images are still being read.

    A file that cannot be read is reported on stderr and skipped, and so is a folder without images.

    Returns:
        (number of classified images, number of files that could not be read).

    Raises:
        UserError: the model cannot be loaded, an option is out of range, or there are no images.
    """
    failures = list[str]()
    width = max(map(len, run.class_names))
    batches = classify(run, config, failures)
    done, start = 0, time.perf_counter()
    for batch in batches:
        for prediction in batch:
            print(_format_json(prediction) if config.json else _format_line(prediction, width))
        sys.stdout.flush()
        done += len(batch)
    seconds = time.perf_counter() - start
    if done + len(failures) > 1:
        speed = f"{format_count(done, 'image')} in {seconds:.1f} s ({done / seconds:,.0f} images/s)"
        unreadable = f"; {len(failures):,} could not be read" if failures else ""
        print(f"{speed}{unreadable}", file=sys.stderr)
    return done, len(failures)


def classify(run: FinishedRun, config: PredictConfig, failures: list[str]) -> Iterator[list[Prediction]]:
    """Load the model, and return an iterator over the predictions for each batch of images, in the given order.

    Args:
        run: the run.
        config: the images and the options.
        failures: gets the reasons why files cannot be read. They are reported on stderr, and so are folders
            without images.

    Raises:
        UserError: the model cannot be loaded, an option is out of range, there are no images, or there is no threshold
            for `--unknown`.
    """
    if config.top_k < 1 or config.batch_size < 1:
        raise UserError("--top-k and --batch-size must be at least 1")
    model, calibration = _load_model(run, config), read_calibration(run)
    if config.unknown and calibration is None:
        command = f"{format_call('workbench.evaluate')} {shlex.quote(str(run.path))}"
        raise UserError(f"--unknown: {run.path} has no threshold for it; {command} chooses one")
    if calibration:
        print(calibration.describe(), file=sys.stderr)
    return _classify(run, model, calibration, config, failures)


def _load_model(run: FinishedRun, config: PredictConfig) -> "keras.Model | LiteRTModel":
    """Return the copy of the model that needs no TensorFlow, where there is one and TensorFlow is not loaded."""
    if is_tensorflow_loaded():
        return run.model
    copy = open_copy(run, config.images)
    if copy is None:
        load_tensorflow()
    return copy or run.model


def _classify(
    run: FinishedRun,
    model: "keras.Model | LiteRTModel",
    calibration: SavedCalibration | None,
    config: PredictConfig,
    failures: list[str],
) -> Iterator[list[Prediction]]:
    empty = dict(enumerate(config.images))  # the paths in which no image was found so far, by their numbers
    items = decode_items(_list_items(config.images), model.input_shape[1], run.data_config.resize)
    images, done = _report_unreadable(items, failures, empty), 0
    while batch := list(itertools.islice(images, config.batch_size)):
        logits = model.predict_on_batch(np.stack([pixels for _, pixels in batch]))
        predictions = []
        shown = calibration.compute_probabilities(logits) if calibration else softmax(logits)
        for (name, _), probabilities in zip(batch, shown, strict=True):
            ranked = rank_classes(probabilities)[: config.top_k]
            is_unknown = bool(probabilities.max() < calibration.threshold) if calibration and config.unknown else None
            classes = [(run.class_names[c], float(probabilities[c])) for c in ranked]
            predictions.append(Prediction(name, classes, is_unknown))
        yield predictions
        done += len(batch)
    for line in describe_missing_decoders(failures):
        print(line, file=sys.stderr)
    if empty:
        _report_empty(list(empty.values()), has_images=bool(done or failures))


def predict_or_exit(config: PredictConfig) -> None:
    """Print the predictions, prepare the model for a faster start, and exit with code 1 if a file could not be read.

    Raises:
        UserError: the run cannot be opened, or see `print_predictions`.
    """
    run = open_run(config.run)
    _, failed = print_predictions(run, config)
    if is_tensorflow_loaded():
        with contextlib.suppress(KeyboardInterrupt):  # the predictions are complete
            keep_copy(run, config.images)
    if failed:
        sys.exit(UNREADABLE_EXIT)


def _list_items(paths: Sequence[str]) -> Iterator[Item]:
    """Yield an item for each file and, for each folder, for all files in it and in its subfolders.

    The label of an item is the number of its path. Links to folders in these folders are not followed, as in training;
    a line on stderr says so.
    """
    for number, path in enumerate(map(Path, paths)):
        if path.is_dir():
            files, links = list_files(path)
            for line in describe_links(links):
                print(line, file=sys.stderr)
            for file, *_ in files:
                yield Item(make_printable(file), number, "", functools.partial(read_image_file, file))
        else:
            yield Item(make_printable(str(path)), number, "", path.read_bytes)


def _report_unreadable(
    decoded: Iterable[tuple[Item, DecodingResult]], failures: list[str], empty: dict[int, str]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (name, pixels) of the images that could be decoded. Report others on stderr, and why in `failures`.

    Paths that hold an image, readable or not, are removed from `empty`.
    """
    for item, result in decoded:
        if result is None:  # not an image
            continue
        empty.pop(item.label, None)
        if isinstance(result, DecodedImage):
            yield item.name, result.pixels
        else:
            failures.append(result.reason)
            if not describe_missing_decoders([result.reason]):  # one line at the end says so of all these
                print(f"cannot read {item.name}: {result.reason}", file=sys.stderr)


def _report_empty(folders: Sequence[str], *, has_images: bool) -> None:
    """Report the folders without images on stderr.

    Raises:
        UserError: there are no images in other paths either.
    """
    message = f"{', '.join(map(make_printable, folders))}: {agree(len(folders), 'holds', 'hold')} no images"
    if not has_images:
        raise UserError(f"{message} ({READABLE}); give image files or folders that hold some")
    print(message, file=sys.stderr)


def _format_line(prediction: Prediction, width: int) -> str:
    """Return `daisy  93.1%   iris  4.2%   photos/a.jpg`, the classes in columns of this width.

    With `--unknown` the first column is `unknown` or empty.
    """
    columns = [f"{class_name:{width}} {probability:6.1%}" for class_name, probability in prediction.classes]
    if prediction.is_unknown is not None:
        columns.insert(0, f"{_UNKNOWN if prediction.is_unknown else '':{len(_UNKNOWN)}}")
    return "   ".join([*columns, prediction.image])


def _format_json(prediction: Prediction) -> str:
    classes = [{"class": class_name, "probability": round(value, 6)} for class_name, value in prediction.classes]
    unknown = {} if prediction.is_unknown is None else {"unknown": prediction.is_unknown}
    return json.dumps({"image": prediction.image, "predictions": classes, **unknown}, ensure_ascii=False)
