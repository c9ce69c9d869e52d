"""Write image files that are damaged in many ways, among whole ones."""

import functools
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Rng = np.random.Generator

CLASSES = ("first", "second")
KINDS = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "GIF": ".gif",
    "BMP": ".bmp",
    "WEBP": ".webp",
    "TIFF": ".tif",
    "AVIF": ".avif",
    "HEIF": ".heic",
}
MODES = {
    "JPEG": ("RGB", "L", "CMYK"),
    "PNG": ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"),
    "GIF": ("P", "L"),
    "TIFF": ("RGB", "RGBA", "L", "CMYK", "P", "1", "I;16"),
    "HEIF": ("RGB", "RGBA", "L"),
}


def write_damaged_images(root: Path, count: int, seed: int) -> dict[str, str]:
    """Write `count` files into two class folders below `root`; the first 20 of each folder are whole images.

    Returns:
        path below `root` -> mutation, for every file.
    """
    rng, mutations = np.random.default_rng(seed), dict[str, str]()
    names = list(MUTATIONS)
    for name in CLASSES:
        (root / name).mkdir(parents=True)
    for number in range(count):
        kind = list(KINDS)[rng.integers(len(KINDS))]
        mutation = "whole" if number < 40 else names[number % len(names)]
        data, suffix = MUTATIONS[mutation](_image(rng, kind), rng), KINDS[kind]
        if mutation == "wrong name" or rng.integers(10) == 0:
            suffix = (*KINDS.values(), ".txt", "", ".JPEG")[rng.integers(len(KINDS) + 3)]
            suffix = "" if (kind, suffix) == ("TIFF", ".txt") else suffix  # not an image, see `is_image`
        path = Path(CLASSES[number % 2]) / f"{number:05d}{suffix}"
        (root / path).write_bytes(data)
        mutations[str(path)] = mutation
    return mutations


def _image(rng: Rng, kind: str) -> bytes:
    """Return the file of a small image of noise and colour, in one of the modes that its format has."""
    height, width = rng.integers(1, 80, 2)
    modes = MODES.get(kind, ("RGB",))
    mode = modes[rng.integers(len(modes))]
    pixels = rng.integers(0, 256, (height, width, 3)) // 2 + rng.integers(0, 128, 3)
    image = Image.fromarray(pixels.astype(np.uint8))
    image = Image.fromarray((pixels[..., 0] * 257).astype(np.uint16)) if mode == "I;16" else image.convert(mode)
    options: dict[str, Any] = {"progressive": bool(rng.integers(2))} if kind == "JPEG" else {}
    if kind == "TIFF" and rng.integers(2):
        options = {"compression": "tiff_adobe_deflate"}
    if kind == "AVIF":
        options = {"speed": 10}
    if kind in ("JPEG", "PNG", "WEBP", "AVIF", "HEIF") and rng.integers(2):
        exif = Image.Exif()
        exif[0x0112] = int(rng.integers(0, 10))
        options["exif"] = exif.tobytes()
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _flip_bits(data: bytes, rng: Rng, count: int | None = None) -> bytes:
    values = np.frombuffer(data, np.uint8).copy()
    for _ in range(count or int(rng.integers(1, 30))):
        values[rng.integers(len(values))] ^= 1 << rng.integers(8)
    return values.tobytes()


def _flip_header_bits(data: bytes, rng: Rng) -> bytes:
    return data[:4] + _flip_bits(data[4:60], rng, int(rng.integers(1, 6))) + data[60:]


def _cut(data: bytes, rng: Rng) -> bytes:
    return data[: rng.integers(len(data))]


def _hole(data: bytes, rng: Rng) -> bytes:
    start = int(rng.integers(len(data)))
    return data[:start] + data[start + int(rng.integers(1, 100)) :]


def _zeros_inside(data: bytes, rng: Rng) -> bytes:
    start, length = int(rng.integers(len(data))), int(rng.integers(1, 200))
    return data[:start] + bytes(len(data[start : start + length])) + data[start + length :]


def _two_in_one(data: bytes, rng: Rng) -> bytes:
    return data[: rng.integers(len(data))] + _image(rng, list(KINDS)[rng.integers(len(KINDS))])


def _zeros(data: bytes, rng: Rng) -> bytes:
    return bytes(int(rng.integers(1, 3000)))


def _noise(data: bytes, rng: Rng) -> bytes:
    return data[: rng.integers(13)] + rng.bytes(int(rng.integers(1, 3000)))


def _bomb(data: bytes, rng: Rng) -> bytes:
    """Return an image that declares a size far beyond its bytes, or that unpacks to hundreds of megabytes."""
    side = int((2_000, 9_000, 20_000, 65_535)[rng.integers(4)])
    kind = rng.integers(4)
    if kind == 0:  # a PNG of zeros that is whole up to 9,000 pixels
        rows = _packed_zeros((side + 1) * side if side <= 9_000 else 100_000)
        header = _chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
        return b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")
    if kind == 1:  # a PNG whose text unpacks to 100 MB
        header = _chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
        text = _chunk(b"zTXt", b"Comment\0\0" + _packed_zeros(100_000_000))
        return b"\x89PNG\r\n\x1a\n" + header + text + _chunk(b"IDAT", zlib.compress(bytes(72))) + _chunk(b"IEND", b"")
    if kind == 2:
        return (
            b"GIF89a" + struct.pack("<HHBBB", side, side, 0, 0, 0) + b"," + struct.pack("<HHHHB", 0, 0, side, side, 0)
        )
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)


@functools.cache
def _packed_zeros(count: int) -> bytes:
    return zlib.compress(bytes(count), 9)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


MUTATIONS: dict[str, Callable[[bytes, Rng], bytes]] = {
    "whole": lambda data, rng: data,
    "flipped bits": _flip_bits,
    "flipped bits in the header": _flip_header_bits,
    "cut short": _cut,
    "a hole": _hole,
    "zeros inside": _zeros_inside,
    "two in one": _two_in_one,
    "wrong name": lambda data, rng: data,
    "empty": lambda data, rng: b"",
    "zeros": _zeros,
    "noise": _noise,
    "bomb": _bomb,
}
