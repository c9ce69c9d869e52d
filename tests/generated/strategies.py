"""Generators of data folders and of damage to files."""

import dataclasses
import functools
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from hypothesis import strategies as st
from PIL import Image

from benchmarks.damaged_images import MUTATIONS

LAYOUTS = {  # name -> (folder of the part, images of each class)
    "flat": {"": 5},
    "train": {"train": 5},
    "train and test": {"train": 3, "test": 2},
    "train and val": {"train": 3, "val": 2},
    "train, validation and test": {"train": 2, "validation": 1, "test": 1},
    "val alone": {"val": 3},
    "one level deeper": {"photos": 4},
}
ODD_NAMES = [
    *(
        "a b",
        "[red]",
        "été",
        "日本",
        "🌼",
        "-x",
        "--help",
        "a,b",
        'a"b',
        "a\nb",
        "a\tb",
        "$(x)",
        "100%",
        "a'b",
        "a|b",
        "a\\b",
    ),
    *(
        "CON",
        "null",
        "0",
        "1e5",
        "true",
        "~",
        "%s",
        "{x}",
        "<b>&amp;",
        "=1+1",
        "e\u0301",
        "\u202eabc",
        "x" * 200,
        "a\rb",
    ),
    *(
        "train",
        "test",
        "val",
        "runs",
        "logs",
        ".hidden",
        "__MACOSX",
        os.fsdecode(b"\xff\xfe"),
        " ",
        "a.png",
        "\x1b[31m",
    ),
]
_TEXT = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=12)
names = st.one_of(st.sampled_from(["daisy", "iris", "rose"]), st.sampled_from(ODD_NAMES), _TEXT).filter(
    lambda name: name not in (".", "..") and len(os.fsencode(name)) < 240
)
KINDS = ("rgb.png", "grey.png", "rgba.png", "16-bit.png", "palette.png", "1-bit.png", "exif.jpg", "cmyk.jpg")
KINDS += ("small.gif", "plain.bmp", "plain.webp", "one-pixel.png", "wide.png", "transparent.gif", "wrong-suffix.jpg")
NOT_READABLE = sorted(set(MUTATIONS) - {"bomb", "whole", "wrong name"})


@functools.cache
def make_image(kind: str, seed: int) -> bytes:
    """Return an image file of a kind of `KINDS`; each seed has other pixels."""
    name, suffix = kind.rsplit(".", 1)
    size = {"one-pixel": (1, 1), "wide": (1, 70)}.get(name, (20, 24))
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    image = Image.fromarray(pixels)
    modes = {"grey": "L", "rgba": "RGBA", "palette": "P", "1-bit": "1", "cmyk": "CMYK", "transparent": "P"}
    if name == "16-bit":
        image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    elif name in modes:
        image = image.convert(modes[name])
    options: dict[str, Any] = {"transparency": 3} if name == "transparent" else {}
    if name == "exif":
        exif = Image.Exif()
        exif[0x0112] = 1 + seed % 8
        options["exif"] = exif.tobytes()
    formats = {"jpg": "JPEG", "wrong-suffix": "PNG"}
    buffer = io.BytesIO()
    image.save(buffer, formats.get(name) or formats.get(suffix) or suffix.upper(), **options)
    return buffer.getvalue()


@dataclasses.dataclass
class DataFolder:
    """A data folder before it is written.

    Attributes:
        files: path -> content.
        links: path -> target.
        folders: paths of further folders.
        images: paths of whole images that no command may miss, if their folder is one of a class.
    """

    files: dict[str, bytes] = dataclasses.field(default_factory=dict, repr=False)
    links: dict[str, str] = dataclasses.field(default_factory=dict)
    folders: list[str] = dataclasses.field(default_factory=list)
    images: list[str] = dataclasses.field(default_factory=list)

    def write(self, root: Path) -> Path:
        """Write the folder."""
        root.mkdir()
        for path in self.folders:
            (root / path).mkdir(parents=True, exist_ok=True)
        for path, data in self.files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
        for path, target in self.links.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).symlink_to(target)
        return root


@st.composite
def data_folders(draw: st.DrawFn, least_classes: int = 0, hazards: int = 4) -> DataFolder:
    """Draw a data folder with up to four classes, and up to `hazards` things in it that are not plain images."""
    folder, seeds = DataFolder(), iter(range(1_000))
    layout = draw(st.sampled_from(sorted(LAYOUTS)))
    classes = draw(st.lists(names, min_size=least_classes, max_size=4, unique=True))
    class_folders = [os.path.join(part, name) for part in LAYOUTS[layout] for name in classes]
    for part, count in LAYOUTS[layout].items():
        for name in classes:
            for number in range(count):
                path = os.path.join(part, name, f"{number}.png")
                folder.files[path] = make_image(draw(st.sampled_from(KINDS)), next(seeds))
                folder.images.append(path)
    for number in range(draw(st.integers(0, hazards))):
        where = draw(st.sampled_from([*class_folders, *LAYOUTS[layout], ""]))
        _add_hazard(draw, folder, where, number, next(seeds))
    return folder


def _add_hazard(draw: st.DrawFn, folder: DataFolder, where: str, number: int, seed: int) -> None:
    name = draw(
        st.one_of(st.just(f"x{number}.png"), st.sampled_from([f"x{number}", f".x{number}.jpg", f"x{number}.TIF"]))
    )
    path, image = os.path.join(where, name), make_image(draw(st.sampled_from(KINDS)), seed)
    hazard = draw(st.sampled_from(_HAZARDS))
    if hazard == "damaged":
        mutation = draw(st.sampled_from(NOT_READABLE))
        folder.files[path] = MUTATIONS[mutation](image, np.random.default_rng(seed))
    elif hazard == "image":
        folder.files[path] = image
    elif hazard == "text":
        folder.files[path] = b"a list of photos\n"
    elif hazard == "nested":
        folder.files[os.path.join(where, f"inner{number}", "deep", "y.png")] = image
    elif hazard == "folder":
        folder.folders.append(path)
    elif hazard == "missing part":  # of one class
        for other in [other for other in folder.files if other.startswith(os.path.join(where, ""))] if where else []:
            del folder.files[other]
            folder.images = [image for image in folder.images if image != other]
        folder.folders.append(where)
    else:
        folder.links[path] = {
            "loop": ".",
            "link up": "..",
            "link to nowhere": "nowhere.png",
            "link to itself": name,
            "link to the root": "/proc/self/cwd/photos",
        }[hazard]


_HAZARDS = ("damaged", "damaged", "image", "text", "nested", "folder", "missing part")
_HAZARDS += ("loop", "link up", "link to nowhere", "link to itself", "link to the root")
DAMAGES = ("cut", "removed", "garbage", "emptied", "swapped", "flipped", "zeros", "folder", "value", "key")
_ODD_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 0, 3, 10**30, 1.5, float("nan"), float("inf"), "", "x", "nan", [], [None], {}, {"x": None}]),
)


def damage(draw: st.DrawFn, root: Path, path: Path, how: str) -> None:
    """Damage a file below `root` in one of the ways of `DAMAGES`."""
    data = path.read_bytes()
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    if how == "removed":
        path.unlink()
    elif how == "folder":
        path.unlink()
        path.mkdir()
    elif how == "swapped":
        others = sorted(other for other in root.rglob("*") if other.is_file() and other != path)
        other = draw(st.sampled_from(others))
        path.write_bytes(other.read_bytes())
        other.write_bytes(data)
    elif how in ("value", "key"):
        path.write_bytes(_change_value(draw, path, data, how))
    else:
        cut = draw(st.integers(0, max(0, len(data) - 1)))
        flipped = MUTATIONS["flipped bits"](data, rng) if data else b"\1"
        changed = {"cut": data[:cut], "garbage": rng.bytes(200), "emptied": b"", "flipped": flipped}
        path.write_bytes(changed.get(how, bytes(len(data))))


def _change_value(draw: st.DrawFn, path: Path, data: bytes, how: str) -> bytes:
    """Return a JSON, YAML or CSV file with another value, or without a key; any other file emptied."""
    try:
        data.decode()
    except UnicodeDecodeError:  # damaged before
        return b""
    if path.suffix == ".csv":
        rows = [line.split(",") for line in data.decode().splitlines()]
        row = rows[draw(st.integers(0, len(rows) - 1))]
        place = draw(st.integers(0, len(row) - 1))
        row[place : place + 1] = [] if how == "key" else [str(draw(_ODD_VALUES))]
        return "\n".join(map(",".join, rows)).encode()
    if path.suffix not in (".json", ".yaml"):
        return b""
    try:
        content = json.loads(data) if path.suffix == ".json" else yaml.safe_load(data)
    except (ValueError, yaml.YAMLError):  # damaged before
        return b""
    if not isinstance(content, dict | list) or not content:
        return b""
    holder: Any = content
    while True:
        keys = sorted(holder, key=str) if isinstance(holder, dict) else list(range(len(holder)))
        key = draw(st.sampled_from(keys))
        inner = holder[key]
        if not isinstance(inner, Mapping | list) or not inner or draw(st.booleans()):
            break
        holder = inner
    if how == "key":
        del holder[key]
    else:
        holder[key] = draw(_ODD_VALUES)
    return (json.dumps(content) if path.suffix == ".json" else yaml.safe_dump(content)).encode()
