"""A folder of photos as a source: `train/<class>/*` with `test/` or `val/` next to it, or `<class>/*`."""

import functools
import hashlib
import itertools
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from workbench.data.decoding import UnreadableImage
from workbench.data.exclusions import EXCLUSIONS_FILE, read_exclusions
from workbench.data.image_formats import HEADER_BYTES, has_image_suffix, is_image
from workbench.data.source import TEST, TRAIN, UNSPLIT, VALIDATION, Item, Source
from workbench.errors import UserError
from workbench.wording import agree, format_count

# Folders that this project's commands write when they are run in the photos' folder; they hold no class.
_OUTPUT_FOLDERS = {"runs": "*/config.yaml", "logs": "*/*tfevents*"}
_PART_FOLDERS = ("train", "test", "val", "valid", "validation")
_PART_LIKE = re.compile(r"(?<![a-z])(?:(train)(?:ing)?|(test)(?:ing)?|(val)(?:id|idation)?)(?:set|data)?(?![a-z])")
_SEPARATE = "put the images of each class in a folder of their own"


def open_folder(root: Path, min_classes: int = 2) -> Source:
    """Return the source of the photos in a folder.

    Args:
        root: the folder.
        min_classes: number of class folders that are needed, 1 or 2.

    Raises:
        UserError: too few class folders, an empty one, one that cannot be listed, or a class of the test set that is
            not trained.
    """
    parts = _find_parts(root)
    not_followed: list[str] = []  # links to folders
    class_folders = {part: _find_class_folders(folder, not_followed) for part, folder in parts}
    class_names = sorted({name for folders in class_folders.values() for name in folders})
    if len(class_names) < 2:
        problem = _describe_few_classes(root, parts[0][1], class_names, min_classes)
    else:
        problem = _describe_unknown_parts(root, class_names) if parts == [(UNSPLIT, root)] else None
    if problem:
        raise UserError(f"{root}: {problem}")
    label_of = {name: label for label, name in enumerate(class_names)}
    files: list[tuple[str, int, str, int, int]] = []  # path, label, part, size, modification time
    for part, folders in class_folders.items():
        for name, class_folder in folders.items():
            found, links = list_files(class_folder)
            not_followed += links
            if part in (TRAIN, UNSPLIT) and not found:
                unused = " except for links to folders, which are not followed" if links else ""
                raise UserError(f"{class_folder}: this class folder is empty{unused}; add images or remove the folder")
            files += [(path, label_of[name], part, size, modified) for path, size, modified in found]
    trained = {label for _, label, part, *_ in files if part in (TRAIN, UNSPLIT)}
    for label, name in enumerate(class_names):
        if label not in trained:
            raise UserError(
                f"{parts[0][1]}: the class folder '{name}' is missing, but the test set has one; "
                "add it here or remove it there"
            )
    listing = "\n".join("\t".join(map(str, row)) for row in files)

    def load_items(start: int = 0) -> list[Item]:
        return [
            Item(
                make_printable(os.path.relpath(path, root)),
                label,
                part,
                functools.partial(read_image_file if modified else _read_missing_file, path),
            )
            for path, label, part, _, modified in files[start:]
        ]

    return Source(
        name=make_printable(root.name),
        class_names=[make_printable(name) for name in class_names],
        key=hashlib.sha256(f"{root}\n{listing}".encode(errors="surrogateescape")).hexdigest(),
        num_items=len(files),
        load_items=load_items,
        left_out_file=root / EXCLUSIONS_FILE,
        left_out=read_exclusions(root / EXCLUSIONS_FILE),
        folders={part: make_printable(folder.name) for part, folder in parts},
        warnings=[
            *describe_links([os.path.relpath(path, root) for path in not_followed]),
            *_describe_unused_parts(root, [folder for _, folder in parts]),
            *_describe_loose_images(root, sorted({root, *(folder for _, folder in parts)})),
        ],
    )


def _find_parts(root: Path) -> list[tuple[str, Path]]:
    """Return (part, folder) pairs: train with its test and validation sets, or the whole folder without a split.

    A `val` (or `valid`, `validation`) next to `train` is the held-out test set, unless there is a `test` as well. A
    folder without class folders is no part: it may hold unlabelled photos, or nothing. Upper and lower case do
    not matter, but `Train` is a class if no other part is next to it, and `train` is one if it and the folders next to
    it hold images and no folders.
    """
    folders = _find_part_folders(root)
    train = folders.pop("train", None)
    if train is None or (train.name != "train" and not folders) or _is_class(train):
        return [(UNSPLIT, root)]
    held_out = {name: folder for name, folder in folders.items() if _find_class_folders(folder, [])}
    test = held_out.pop("test", None)
    validation = next(iter(held_out.values()), None)
    if test:
        return [(TRAIN, train), (TEST, test), *([(VALIDATION, validation)] if validation else [])]
    return [(TRAIN, train), (TEST, validation)] if validation else [(UNSPLIT, train)]


def _is_class(train: Path) -> bool:
    """Return whether a folder that is called `train` and others next to it hold images and no class folders.

    Images for testing are often in no class folders, so a folder that is called like such a part rules it out.
    """
    folders = list(map(Path, _find_class_folders(train.parent, []).values()))
    others = [folder for folder in folders if folder != train]
    if not others or any(_guess_part(folder.name) for folder in others):
        return False
    return all(_holds_images(folder) for folder in folders) and not _find_class_folders(train, [])


def _find_part_folders(root: Path) -> dict[str, Path]:
    """Return name -> folder for the names of `_PART_FOLDERS`, in this order.

    Such a folder may be written in another case, unless there are two of them.
    """
    folders = _list_part_folders(root)
    found = {}
    for name in _PART_FOLDERS:
        spellings = [folder for folder in folders if folder.name.lower() == name]
        exact = [folder for folder in spellings if folder.name == name] or spellings
        if len(exact) == 1:
            found[name] = exact[0]
    return found


def _list_part_folders(root: Path) -> list[Path]:
    """Return the folders that are called as in `_PART_FOLDERS`, in any case, sorted."""
    entries = [entry for entry in _list_entries(root) if entry.name.lower() in _PART_FOLDERS and entry.is_dir()]
    return sorted(root / entry.name for entry in entries)


def _describe_unused_parts(root: Path, used: Sequence[Path]) -> list[str]:
    """Return one line for each folder next to the used ones that is called like a part and is none."""
    folders = [] if root in used else [folder for folder in _list_part_folders(root) if folder not in used]
    return [
        f"warning: {folder.name} is not used, because there is another such folder; move its images there, or remove it"
        if _find_class_folders(folder, [])
        else f"warning: {folder.name} holds no class folders and is not used; {_SEPARATE}, or remove it"
        for folder in folders
    ]


def _describe_unknown_parts(root: Path, class_names: Sequence[str]) -> str | None:
    """Return what is wrong if two class folders are called like parts and hold the same folders; None otherwise."""
    parts = {name: part for name in class_names if (part := _guess_part(name))}
    for train, held_out in itertools.product(parts, repeat=2):
        if parts[train] == "train" and parts[held_out] != "train":
            inner = [_find_class_folders(_follow_single_folders(root / name), []) for name in (train, held_out)]
            common = sorted(inner[0].keys() & inner[1].keys())
            if len(common) > 1:
                return (
                    f"'{train}' and '{held_out}' look like parts, not classes, because both hold '{common[0]}' and "
                    f"'{common[1]}'; rename them to train/ and {parts[held_out]}/"
                )
    return None


def _guess_part(name: str) -> str | None:
    """Return `train`, `test` or `val` for a folder that is called like such a part, as `seg_train` is."""
    found = _PART_LIKE.search(name.lower())
    return found and next(filter(None, found.groups()))


def _find_class_folders(folder: Path, not_followed: list[str]) -> dict[str, str]:
    """Return name -> path of the class folders, sorted; hidden folders, archivers' and our own are not classes.

    A class folder may be a link. One that leads to `folder` or above it would put the images of all classes into one;
    its path is added to `not_followed` instead.
    """
    entries = sorted(_list_entries(folder), key=lambda entry: entry.name)
    folders = {entry.name: entry.path for entry in entries if entry.is_dir() and not entry.name.startswith((".", "__"))}
    loops = [path for path in folders.values() if folder.resolve().is_relative_to(os.path.realpath(path))]
    not_followed += loops
    return {name: path for name, path in folders.items() if path not in loops and not _is_output(name, path)}


def _is_output(name: str, path: str) -> bool:
    return name in _OUTPUT_FOLDERS and any(Path(path).glob(_OUTPUT_FOLDERS[name]))


def _describe_few_classes(root: Path, training: Path, class_names: list[str], min_classes: int) -> str | None:
    """Return what is wrong with a folder of fewer than two classes, and what to do; None if one class is enough.

    Args:
        root: the folder that was given.
        training: where its class folders should be: `root`, or `root/train`.
        class_names: of the class folders that were found.
        min_classes: number of class folders that are needed.
    """
    inner = _follow_single_folders(training)
    deeper = [*_find_class_folders(inner, [])]
    if inner != training and (len(deeper) > 1 or "train" in deeper):
        levels = format_count(len(inner.relative_to(training).parts), "level")
        found = f"the class folders are {levels} deeper, in {inner} ('{deeper[0]}', ...)"
        return f"{found}; " + (f"give --data {inner}" if training == root else f"move them into {training}")
    if len(class_names) >= min_classes:
        return None
    if class_names:
        return f"holds one class folder only ('{class_names[0]}'), and two classes are needed; {_SEPARATE}"
    loose = sum(has_image_suffix(entry.name) for entry in _list_entries(training))
    if not loose:
        return f"holds no class folders; {_SEPARATE}"
    siblings = [name for name in _find_class_folders(training.parent, []) if _holds_images(training.parent / name)]
    above = ""
    if training != root:
        above = f"; or rename {training} if it is itself a class"
    elif len(siblings) > 1:
        above = f", or give --data {training.parent} if '{training.name}' is itself a class"
    images = format_count(loose, "image")
    return f"holds {images} and no class folders; {_SEPARATE}, such as {training / 'cat'}{above}"


def _follow_single_folders(folder: Path) -> Path:
    """Return the first folder, from `folder` downwards, that does not hold one folder only."""
    while len(inner := _find_class_folders(folder, [])) == 1 and not inner.keys() & {"train"}:
        folder = folder / next(iter(inner))
    return folder


def _describe_loose_images(root: Path, folders: Sequence[Path]) -> list[str]:
    """Return one line about images that lie next to class folders and are not used; none if there are none."""
    loose = [os.path.relpath(entry.path, root) for folder in folders for entry in _list_images(folder)]
    if not loose:
        return []
    are, count = agree(len(loose), "is", "are"), len(loose)
    move = agree(count, "move it into the folder of its class", "move them into the folders of their classes")
    images = f"{format_count(count, 'image')} {are} in no class folder and {are} not used"
    return [f"warning: {images}, such as {make_printable(loose[0])}; {move}"]


def _list_images(folder: Path) -> list[os.DirEntry[str]]:
    """Return the files in a folder that are named like images, except hidden ones, sorted by name."""
    entries = [entry for entry in _list_entries(folder) if has_image_suffix(entry.name) and entry.is_file()]
    return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)


def _holds_images(folder: Path) -> bool:
    return any(has_image_suffix(entry.name) for entry in _list_entries(folder))


def _list_entries(folder: str | Path) -> list[os.DirEntry[str]]:
    """Return what a folder holds.

    Raises:
        UserError: it cannot be listed.
    """
    try:
        return list(os.scandir(folder))
    except OSError as error:
        _refuse_unlisted(error)


def _refuse_unlisted(error: OSError) -> NoReturn:
    """Raise the UserError for a folder that cannot be listed: it must not count as empty."""
    folder = make_printable(error.filename)
    raise UserError(
        f"{folder}: this folder cannot be listed: {error.strerror}; make it readable or remove it"
    ) from error


def list_files(folder: str | Path) -> tuple[list[tuple[str, int, int]], list[str]]:
    """List the files below a folder, except hidden ones; links to files are read, links to folders are not followed.

    Returns:
        (files, links): (path, size in bytes, modification time in ns) of each file, and the paths of the links to
        folders, both sorted. A link to nowhere is a file with zeros, so that it counts as unreadable.

    Raises:
        UserError: a folder cannot be listed.
    """
    files, links = [], []
    for directory, folders, names in os.walk(folder, onerror=_refuse_unlisted):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        links += [path for name in folders if os.path.islink(path := os.path.join(directory, name))]
        for name in names:
            if not name.startswith("."):
                path = os.path.join(directory, name)
                try:
                    state = os.stat(path)
                except OSError:
                    files.append((path, 0, 0))
                else:
                    if stat.S_ISREG(state.st_mode):
                        files.append((path, state.st_size, state.st_mtime_ns))
    return sorted(files), sorted(links)


def describe_links(links: Sequence[str]) -> list[str]:
    """Return one line about links to folders that are not followed; none if there are no such links."""
    if not links:
        return []
    first = make_printable(links[0])
    if len(links) == 1:
        return [f"{first} is a link to a folder and is not followed; copy its images here, or link to each of them"]
    return [
        f"{len(links):,} links to folders are not followed, such as {first}; "
        "copy the images that they lead to, or link to each image"
    ]


def make_printable(name: str) -> str:
    """Return a file's name as text that can be printed and written, whatever its bytes are."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def read_image_file(path: str | Path) -> bytes | None:
    """Return a file's bytes; None if neither its content nor its name is that of an image."""
    with open(path, "rb") as file:
        header = file.read(HEADER_BYTES)
        if not is_image(os.path.basename(path), header):
            return None
        return header + file.read()


def _read_missing_file(path: str) -> bytes | None:
    """Return what `read_image_file` does, of a file that was missing when its folder was listed.

    Raises:
        UnreadableImage: it is still missing. The source's key changes once the file can be found.
    """
    try:
        return read_image_file(path)
    except OSError as error:
        raise UnreadableImage(error.strerror) from error
