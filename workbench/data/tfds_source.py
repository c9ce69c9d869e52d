"""TensorFlow Datasets as sources: `tfds:NAME[:VERSION]`, and any prepared builder."""

import contextlib
import difflib
import hashlib
import logging
import os
from pathlib import Path

import numpy as np

from workbench.console import console
from workbench.data import left_out
from workbench.data.sources import TEST, TRAIN, UNSPLIT, VALIDATION, Item, Source, printable
from workbench.errors import UserError

PREFIX = "tfds:"
for _chatty in ("absl", "urllib3"):  # which warn of each set that is not prepared yet, and of each try to fetch it
    logging.getLogger(_chatty).setLevel(logging.ERROR)
_NAME_FEATURES = ("image/filename", "image/file_name", "file_name", "filename")


def data_dir():
    """Where TensorFlow Datasets keeps its sets: $TFDS_DATA_DIR, or None for its own default."""
    return os.environ.get("TFDS_DATA_DIR")


def open_tfds(spec):
    """The source of `tfds:NAME[:VERSION]`, downloaded and prepared if it is not yet.

    Raises:
        UserError: no such set or version, it cannot be prepared, or it does not hold one image with one label.
    """
    import tensorflow_datasets as tfds

    name = spec.removeprefix(PREFIX)
    try:
        builder = tfds.builder(name, data_dir=data_dir())
    except tfds.core.DatasetNotFoundError:
        close = difflib.get_close_matches(name.partition(":")[0], tfds.list_builders(), n=1)
        hint = f"did you mean tfds:{close[0]}?" if close else "tensorflow.org/datasets lists them all"
        raise UserError(f"--data {spec}: TensorFlow Datasets has no such set; {hint}") from None
    except Exception as error:
        raise UserError(f"--data {spec}: {first_line(error)}") from error
    _image_and_label(builder, spec)  # before anything is downloaded
    if not builder.is_prepared():
        size = builder.info.download_size
        told = f", {size / 1e6:,.0f} MB" if size else ""
        console.print(f"{builder.name}: TensorFlow Datasets downloads and prepares it in {builder.data_path}{told}")
        try:
            make(builder)
        except Exception as error:  # each set fails in its own way
            raise UserError(f"--data {spec}: cannot be downloaded and prepared: {first_line(error)}") from error
    return source_of(builder, spec)


def make(builder):
    """Download and prepare a set: with TFDS' own bars on a terminal, silently elsewhere."""
    import tensorflow_datasets as tfds

    if not console.is_terminal:
        tfds.disable_progress_bar()
    with contextlib.redirect_stdout(None):  # two lines about sizes it does not know
        builder.download_and_prepare()


def source_of(builder, spec):
    """The source of a prepared builder; `spec` names it in errors.

    A `test` split is the test set; without one, `validation` is; without either, the source is not split yet.

    Raises:
        UserError: the builder does not hold one image with one label, or has no split to train on.
    """
    image_key, label_key = _image_and_label(builder, spec)
    parts = _parts(builder, image_key, label_key, spec)
    sizes = {split: builder.info.splits[split].num_examples for split in parts}
    facts = [builder.info.full_name, sizes, [builder.info.splits[split].num_bytes for split in parts]]
    facts.append(os.stat(builder.data_path / "dataset_info.json").st_mtime_ns)

    def load_items(start=0):
        for split, part in parts.items():
            rows = range(min(start, sizes[split]), sizes[split])
            start -= rows.start
            examples = _read(builder, f"{split}[{rows.start}:]", image_key) if rows else ()
            for row, example in zip(rows, examples, strict=True):
                image = example[image_key]
                yield Item(_name(example, split, row), int(example[label_key]), part, lambda image=image: image)

    return Source(
        name=builder.name,
        class_names=[printable(name) for name in builder.info.features[label_key].names],
        key=hashlib.sha256(repr(facts).encode()).hexdigest(),
        num_items=sum(sizes.values()),
        load_items=load_items,
        left_out_file=Path(builder.data_path) / left_out.FILE,
        left_out=left_out.read(Path(builder.data_path) / left_out.FILE),
    )


def first_line(error):
    """The first line of an exception's message, or its type."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _image_and_label(builder, spec):
    """Names of the one image feature and the one class label."""
    import tensorflow_datasets as tfds

    features = builder.info.features
    kinds = {"image": tfds.features.Image, "class label": tfds.features.ClassLabel}
    keys = {
        kind: [
            key
            for key, feature in features.items()
            if isinstance(feature, wanted) and not isinstance(feature, tfds.features.LabeledImage)
        ]
        for kind, wanted in kinds.items()
    }
    supervised = builder.info.supervised_keys or (None, None)
    chosen = []
    for (kind, found), preferred in zip(keys.items(), supervised[:2], strict=True):
        if preferred not in found and len(found) != 1:
            raise UserError(
                f"--data {spec}: an image-classification set has one image and one class label; "
                f"this one has {len(found)} {kind} features ({', '.join(features)})"
            )
        chosen.append(preferred if preferred in found else found[0])
    dtype = np.dtype(features[chosen[0]].np_dtype).name
    if dtype not in ("uint8", "uint16"):
        raise UserError(f"--data {spec}: its images hold {dtype} values; only uint8 and uint16 can be read")
    if features[chosen[1]].num_classes is None or features[chosen[1]].num_classes < 2:
        raise UserError(f"--data {spec}: has fewer than two classes")
    return chosen


def _parts(builder, image_key, label_key, spec):
    """split name -> part; a test split whose labels are withheld (-1) is none."""
    splits = [name for name, split in builder.info.splits.items() if split.num_examples]
    known = [name for name in ("train", "validation", "test") if name in splits]
    held_out = [name for name in known[1:] if _is_labelled(builder, name, image_key, label_key)]
    if "train" not in splits:
        if len(splits) != 1:
            raise UserError(f"--data {spec}: has no split named train, but {', '.join(splits) or 'none at all'}")
        return {splits[0]: UNSPLIT}
    if not held_out:
        return {"train": UNSPLIT}
    if len(held_out) == 1:
        return {"train": TRAIN, held_out[0]: TEST}
    return {"train": TRAIN, "validation": VALIDATION, "test": TEST}


def _is_labelled(builder, split, image_key, label_key):
    (example,) = _read(builder, f"{split}[:1]", image_key)
    return int(example[label_key]) >= 0


def _read(builder, split, image_key):
    """The examples of a split as dictionaries, their images as the bytes that are stored."""
    import tensorflow_datasets as tfds

    reading = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
    decoders = {image_key: tfds.decode.SkipDecoding()}
    examples = builder.as_dataset(split=split, decoders=decoders, shuffle_files=False, read_config=reading)
    return examples.as_numpy_iterator()


def _name(example, split, row):
    """The image's file name where the set has kept it, else its number."""
    for key in _NAME_FEATURES:
        if isinstance(example.get(key), bytes):
            return f"{split}/{example[key].decode('utf-8', 'backslashreplace')}"
    return f"{split}-{row:06d}"
