"""Classify images with a finished run: the most probable classes of every file, streamed."""

import dataclasses
import functools
import itertools
import json
import sys
import time
from pathlib import Path

import numpy as np

from workbench import cli
from workbench.data.decoding import decode_items
from workbench.data.folder_source import list_files, make_printable, read_image_file
from workbench.data.source import Item
from workbench.errors import UserError
from workbench.finished_run import open_run, softmax
from workbench.metrics import ranking

UNREADABLE_EXIT = 1


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Predict.

    Args:
        run: Folder of a finished run or sweep.
        images: Image files, and folders whose images are all taken, those in folders below too.
        top_k: How many classes are told of each image.
        json: Print one JSON object a line instead of a table.
        batch_size: Images a step.
    """

    run: str | None = cli.positional()
    images: list[str] = cli.positional([])
    top_k: int = 3
    json: bool = False
    batch_size: int = 32


def predict(config):
    """Print the most probable classes of each image, in the order they are given, while the rest are still read.

    A file that cannot be read is reported on stderr, and the rest go on.

    Args:
        config: a `PredictConfig`.

    Returns:
        (images classified, files that could not be read).

    Raises:
        UserError: the run cannot be opened, or a number is out of its range.
    """
    run = open_run(config.run)
    if config.top_k < 1 or config.batch_size < 1:
        raise UserError("--top-k and --batch-size must be at least 1")
    resize = run.data_config.resize
    from workbench.runtime import load_tensorflow

    load_tensorflow()
    show = _json_line if config.json else _table_line
    model, failures, done, start = run.model, [], 0, time.perf_counter()
    images = _readable(decode_items(_items(config.images), run.image_size, resize), failures)
    while batch := list(itertools.islice(images, config.batch_size)):
        logits = model.predict_on_batch(np.stack([pixels for _, pixels in batch]))
        for (name, _), probabilities in zip(batch, softmax(logits), strict=True):
            top = [(run.class_names[c], float(probabilities[c])) for c in ranking(probabilities)[: config.top_k]]
            print(show(name, top, max(map(len, run.class_names))))
        sys.stdout.flush()
        done += len(batch)
    seconds = time.perf_counter() - start
    if done + len(failures) > 1:
        unreadable = f"; {len(failures):,} could not be read" if failures else ""
        print(f"{done:,} images in {seconds:.1f} s ({done / seconds:,.0f} images/s){unreadable}", file=sys.stderr)
    return done, len(failures)


def _items(paths):
    """An item for each file, in order; of folders, for each file below that may be an image."""
    for path in map(Path, paths):
        if path.is_dir():
            for file, *_ in sorted(list_files(path)):
                yield Item(make_printable(file), 0, "", functools.partial(read_image_file, file))
        else:
            yield Item(make_printable(str(path)), 0, "", path.read_bytes)


def _readable(decoded, failures):
    """(name, pixels) of what could be decoded; the rest is told on stderr and added to `failures`."""
    for item, result in decoded:
        if isinstance(result, np.ndarray):
            yield item.name, result
        elif result is not None:
            failures.append(item.name)
            print(f"cannot read {item.name}: {result}", file=sys.stderr)


def _table_line(name, top, width):
    """`daisy  93.1%   iris  4.2%   photos/a.jpg`, the classes in columns of this width."""
    return "   ".join([*(f"{class_name:{width}} {probability:6.1%}" for class_name, probability in top), name])


def _json_line(name, top, width):
    predictions = [{"class": class_name, "probability": round(probability, 6)} for class_name, probability in top]
    return json.dumps({"image": name, "predictions": predictions}, ensure_ascii=False)


def main(argv=None):
    """Run the command line; exit code 1 where a file could not be read."""

    def command(config):
        _, failed = predict(config)
        if failed:
            sys.exit(UNREADABLE_EXIT)

    cli.main(command, PredictConfig, prog="python -m workbench.predict", description=__doc__, argv=argv)


if __name__ == "__main__":
    main()
