"""TensorFlow Datasets as sources: `tfds:NAME[:VERSION]`, and the prepared `nature_12k`.

Functions import tensorflow_datasets themselves: it takes half a second, and most runs read a folder. They call
`load_tensorflow` before, because the import starts TensorFlow, which would take the whole memory of a GPU.
"""

import contextlib
import difflib
import hashlib
import logging
import os
from collections.abc import Container, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workbench.commandline.calls import format_call
from workbench.console import console
from workbench.data.exclusions import EXCLUSIONS_FILE, read_exclusions
from workbench.data.folder_source import make_printable
from workbench.data.source import TEST, TRAIN, UNSPLIT, VALIDATION, Item, Source
from workbench.errors import UserError
from workbench.runtime import load_tensorflow

if TYPE_CHECKING:
    from tensorflow_datasets.core import DatasetBuilder

PREFIX = "tfds:"
NATURE_12K, NATURE_12K_VERSION = "nature_12k", "1.0.0"
for _name in ("absl", "urllib3"):  # they warn of each set that is not prepared yet, and of each attempt to download it
    logging.getLogger(_name).setLevel(logging.ERROR)
_NAME_FEATURES = ("image/filename", "image/file_name", "file_name", "filename")


def find_data_dir() -> str:
    """Return the folder in which TensorFlow Datasets keeps its sets: $TFDS_DATA_DIR, or ~/tensorflow_datasets."""
    return os.path.expanduser(os.environ.get("TFDS_DATA_DIR") or os.path.join("~", "tensorflow_datasets"))


def open_nature_12k() -> Source:
    """Return the source of nature_12k, which `workbench.data.nature_12k.prepare` has written.

    Raises:
        UserError: it is not prepared yet.
    """
    folder = Path(find_data_dir()) / NATURE_12K / NATURE_12K_VERSION
    if not (folder / "dataset_info.json").exists():
        raise UserError(
            f"--data nature_12k: not prepared yet in {folder}; run {format_call('workbench.data')} nature_12k "
            "(a download of about 3.6 GB, or --archive FILE for a copy you have); "
            "a set prepared elsewhere is found through TFDS_DATA_DIR"
        )
    load_tensorflow()
    import tensorflow_datasets as tfds

    return make_source(tfds.builder_from_directory(folder), NATURE_12K)


def open_tfds(spec: str) -> Source:
    """Return the source of `tfds:NAME[:VERSION]`; download and prepare it first if necessary.

    Raises:
        UserError: there is no such set or version, it cannot be prepared, or its examples are not one image with one
            label.
    """
    load_tensorflow()
    import tensorflow_datasets as tfds

    name = spec.removeprefix(PREFIX)
    try:
        builder = tfds.builder(name, data_dir=find_data_dir())
    except tfds.core.DatasetNotFoundError:
        close = difflib.get_close_matches(name.partition(":")[0], tfds.list_builders(), n=1)
        hint = f"did you mean tfds:{close[0]}?" if close else "tensorflow.org/datasets lists them all"
        raise UserError(f"--data {spec}: TensorFlow Datasets has no such set; {hint}") from None
    except Exception as error:
        raise UserError(f"--data {spec}: {get_first_line(error)}") from error
    _find_features(builder, spec)  # refuse it before anything is downloaded
    if not builder.is_prepared():
        size = builder.info.download_size
        size_text = f", {size / 1e6:,.0f} MB" if size else ""
        console.print(
            f"{builder.name}: TensorFlow Datasets downloads and prepares it in {builder.data_path}{size_text}"
        )
        try:
            download_and_prepare(builder)
        except Exception as error:  # each set fails in its own way
            raise UserError(f"--data {spec}: cannot be downloaded and prepared: {get_first_line(error)}") from error
    return make_source(builder, spec)


def download_and_prepare(builder: "DatasetBuilder") -> None:
    """Download and prepare a set, with the progress bars of TensorFlow Datasets on a terminal only."""
    import tensorflow_datasets as tfds

    if not console.is_terminal:
        tfds.disable_progress_bar()
    with contextlib.redirect_stdout(None):  # it prints two lines about sizes that it does not know
        builder.download_and_prepare()


def make_source(builder: "DatasetBuilder", spec: str) -> Source:
    """Return the source of a prepared builder; `spec` names it in errors.

    A `test` split is the test set; without one, `validation` is; without either, the source is not split.

    Raises:
        UserError: its examples are not one image with one label, or it has no split to train on.
    """
    image_key, label_key = _find_features(builder, spec)
    parts = _find_parts(builder, image_key, label_key, spec)
    sizes = {split: builder.info.splits[split].num_examples for split in parts}
    facts: list[Any] = [builder.info.full_name, sizes, [builder.info.splits[split].num_bytes for split in parts]]
    facts.append(os.stat(builder.data_path / "dataset_info.json").st_mtime_ns)
    has_file_names = any(key in builder.info.features for key in _NAME_FEATURES)

    def load_items(start: int = 0) -> Iterator[Item]:
        for split, part in parts.items():
            first = min(start, sizes[split])
            start -= first
            if first == sizes[split]:
                continue
            rows = range(0 if has_file_names else first, sizes[split])  # a name may be that of an image before
            names: set[str] = set()
            for row, example in zip(rows, _read(builder, f"{split}[{rows.start}:]", image_key), strict=True):
                name = _find_name(example, split, row, names)
                names.add(name)
                if row >= first:
                    yield Item.from_data(name, int(example[label_key]), part, example[image_key])

    return Source(
        name=builder.name,
        class_names=[make_printable(name) for name in builder.info.features[label_key].names],
        key=hashlib.sha256(repr(facts).encode()).hexdigest(),
        num_items=sum(sizes.values()),
        load_items=load_items,
        left_out_file=Path(builder.data_path) / EXCLUSIONS_FILE,
        left_out=read_exclusions(Path(builder.data_path) / EXCLUSIONS_FILE),
    )


def get_first_line(error: Exception) -> str:
    """Return the first line of an exception's message, or its type."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _find_features(builder: "DatasetBuilder", spec: str) -> tuple[str, str]:
    """Return the names of the one image feature and the one class label."""
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
    return chosen[0], chosen[1]


def _find_parts(builder: "DatasetBuilder", image_key: str, label_key: str, spec: str) -> dict[str, str]:
    """Return split name -> part; a test split whose labels are withheld (-1) is not used."""
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


def _is_labelled(builder: "DatasetBuilder", split: str, image_key: str, label_key: str) -> bool:
    (example,) = _read(builder, f"{split}[:1]", image_key)
    return int(example[label_key]) >= 0


def _read(builder: "DatasetBuilder", split: str, image_key: str) -> Iterator[dict[str, Any]]:
    """Yield the examples of a split as dictionaries, their images as the bytes that are stored."""
    import tensorflow_datasets as tfds

    reading = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
    decoders = {image_key: tfds.decode.SkipDecoding()}
    examples = builder.as_dataset(split=split, decoders=decoders, shuffle_files=False, read_config=reading)
    return examples.as_numpy_iterator()


def _find_name(example: dict[str, Any], split: str, row: int, taken: Container[str]) -> str:
    """Return the image's file name where the set holds it, else its number; both if the name is taken.

    In Caltech-101, each class has an image_0001.jpg.
    """
    for key in _NAME_FEATURES:
        if isinstance(example.get(key), bytes):
            file_name = example[key].decode("utf-8", "backslashreplace")
            name = f"{split}/{file_name}"
            return f"{split}-{row:06d}/{file_name}" if name in taken else name
    return f"{split}-{row:06d}"
