"""Where labelled images come from: each kind of `--data` becomes a `Source` of items."""

import dataclasses
import hashlib
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from workbench.data import left_out
from workbench.data.decoding import claims_to_be_an_image, image_type
from workbench.errors import UserError

TRAIN, VALIDATION, TEST, UNSPLIT = "train", "validation", "test", "unsplit"


@dataclasses.dataclass(frozen=True)
class Item:
    """One labelled image before it is decoded.

    `read` returns the file's bytes or a uint8 array, or None where the file is not an image at all.
    """

    name: str
    label: int
    part: str
    read: Callable


@dataclasses.dataclass(frozen=True)
class Source:
    """A labelled image collection.

    Attributes:
        name: short name for run folders, such as `flowers`.
        class_names: in the order of the labels.
        key: changes whenever the collection's content does.
        num_items: how many items there are.
        load_items: returns an iterable of the items in a fixed order, from the given number on.
        left_out_file: where the images that are not to be used are listed, None where there is no place for it.
        left_out: what it lists, name -> reason, see `workbench.data.left_out`.
    """

    name: str
    class_names: Sequence[str]
    key: str
    num_items: int
    load_items: Callable
    left_out_file: Path | None = None
    left_out: Mapping = dataclasses.field(default_factory=dict)


def open_source(spec):
    """The source that a `--data` value names: a known set's name, `tfds:NAME[:VERSION]`, or else a folder's path.

    Raises:
        UserError: no such data, or it is not laid out as images with one label each.
    """
    if spec in NAMED:
        return NAMED[spec]()
    if spec.startswith("tfds:"):
        from workbench.data.tfds_source import open_tfds

        return open_tfds(spec)
    root = Path(spec).expanduser()
    if not root.exists():
        known = ", ".join(NAMED)
        raise UserError(f"--data {spec}: no such folder; give a folder of class folders, {known}, or tfds:NAME")
    if not root.is_dir():
        raise UserError(f"--data {spec}: is a file; give the folder that holds one folder of images a class")
    return _folder(root.resolve())


def _digits():
    def load_items(start=0):
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = (digits.images * (255 / 16)).astype("uint8")
        return [
            Item(f"digit-{index:04d}", int(label), UNSPLIT, lambda image=image: image)
            for index, (image, label) in enumerate(zip(images, digits.target, strict=True))
        ][start:]

    return Source("digits", [str(digit) for digit in range(10)], "scikit-learn digits 1797", 1797, load_items)


def _nature_12k():
    from workbench.data.nature_12k import open_nature_12k

    return open_nature_12k()


_OUTPUT = {"runs": "*/config.yaml", "logs": "*/*tfevents*"}  # left there by commands that ran in the photos' folder

NAMED = {"digits": _digits, "nature_12k": _nature_12k}


def _folder(root):
    parts = _part_folders(root)
    class_names = sorted({name for _, folder in parts for name in _class_folders(folder)})
    if len(class_names) < 2:
        raise UserError(f"{root}: {_few_classes(root, class_names)}; put the images of each class in its own folder")
    label_of = {name: label for label, name in enumerate(class_names)}
    files = []
    for part, folder in parts:
        for name, class_folder in _class_folders(folder).items():
            found = sorted(files_below(class_folder))
            if part in (TRAIN, UNSPLIT) and not found:
                raise UserError(f"{class_folder}: this class folder is empty; add images or remove the folder")
            files += [(path, label_of[name], part, *state) for path, *state in found]
    trained = {label for _, label, part, *_ in files if part in (TRAIN, UNSPLIT)}
    for label, name in enumerate(class_names):
        if label not in trained:
            raise UserError(f"{parts[0][1]}: no folder '{name}', but the test set has one; add it or remove that one")
    listing = "\n".join("\t".join(map(str, row)) for row in files)
    key = hashlib.sha256(f"{root}\n{listing}".encode(errors="surrogateescape")).hexdigest()

    def load_items(start=0):
        return [
            Item(printable(os.path.relpath(path, root)), label, part, lambda path=path: read_image_file(path))
            for path, label, part, *_ in files[start:]
        ]

    return Source(
        name=printable(root.name),
        class_names=[printable(name) for name in class_names],
        key=key,
        num_items=len(files),
        load_items=load_items,
        left_out_file=root / left_out.FILE,
        left_out=left_out.read(root / left_out.FILE),
    )


def _part_folders(root):
    """(part, folder) pairs: train with its test and validation sets, or the whole folder not yet split.

    A `val` (or `valid`, `validation`) beside `train` is the held-out test set, unless a `test` stands there too.
    """
    train, test = root / "train", root / "test"
    if not train.is_dir():
        return [(UNSPLIT, root)]
    validation = next((root / name for name in ("val", "valid", "validation") if (root / name).is_dir()), None)
    if test.is_dir():
        return [(TRAIN, train), (TEST, test), *([(VALIDATION, validation)] if validation else [])]
    return [(TRAIN, train), (TEST, validation)] if validation else [(UNSPLIT, train)]


def _class_folders(folder):
    """Name -> path of the class folders in `folder`, sorted; hidden, archiver's and our own folders are none."""
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    folders = {entry.name: entry.path for entry in entries if entry.is_dir() and not entry.name.startswith((".", "__"))}
    return {name: path for name, path in folders.items() if not _is_output(name, path)}


def _is_output(name, path):
    return name in _OUTPUT and any(Path(path).glob(_OUTPUT[name]))


def files_below(folder):
    """(path, size in bytes, modification time in ns) of every file, hidden ones left out; links are followed."""
    seen = set()
    for directory, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        if os.path.realpath(directory) in seen:  # a link back to a folder above it
            folders.clear()
            continue
        seen.add(os.path.realpath(directory))
        for name in names:
            if not name.startswith("."):
                path = os.path.join(directory, name)
                try:
                    state = os.stat(path)
                except OSError:  # a link that leads nowhere: listed, so that it is counted as unreadable
                    yield path, 0, 0
                else:
                    if stat.S_ISREG(state.st_mode):
                        yield path, state.st_size, state.st_mtime_ns


def printable(name):
    """A file's name as text that can be printed and written, whatever its bytes are."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _few_classes(root, class_names):
    if class_names:
        return f"holds one class folder only ('{class_names[0]}'), and two classes are needed"
    loose = sum(claims_to_be_an_image(entry.name) for entry in os.scandir(root))
    return f"holds {loose} images and no class folders" if loose else "holds no class folders"


def read_image_file(path):
    """A file's bytes; None for a file that neither is an image nor is named like one."""
    with open(path, "rb") as file:
        header = file.read(12)
        if image_type(header) is None and not claims_to_be_an_image(os.fspath(path)):
            return None
        return header + file.read()
