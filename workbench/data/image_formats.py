"""The image formats that are read: how their files begin and are named, and what Pillow needs to decode them."""

import collections
import contextlib
import importlib
import warnings
from collections.abc import Iterable
from types import ModuleType

from PIL import features

from workbench.wording import agree, format_count

pillow_heif: ModuleType | None = None
with contextlib.suppress(ImportError):  # optional: the extra `heic`
    pillow_heif = importlib.import_module("pillow_heif")

READABLE = "JPEG, PNG, GIF, BMP, WebP, TIFF, AVIF or HEIC"
HEADER_BYTES = 64  # of a file, enough to find its type
_SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",  # BigTIFF
    b"MM\0+": "TIFF",
}
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_TIFF_SUFFIXES = (".tif", ".tiff")
_IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".webp"),
    *(*_TIFF_SUFFIXES, ".heic", ".heif", ".hif", ".avif", ".jp2"),
)
_NAMES = {"HEIF": "HEIC", "AVIF": "AVIF"}  # of the types that need more than any Pillow, as users know them


def find_image_type(header: bytes) -> str | None:
    """Return Pillow's name of a format, such as `JPEG` or `HEIF`, from the first `HEADER_BYTES` of a file.

    None for another type of file.
    """
    if header[:4] == b"RIFF" and header[8:12] == b"WEBP":
        return "WEBP"
    if header[4:8] == b"ftyp":
        return _find_type_of_brands(header[: int.from_bytes(header[:4], "big")])
    return next((name for signature, name in _SIGNATURES.items() if header.startswith(signature)), None)


def _find_type_of_brands(box: bytes) -> str | None:
    """Return the type that the brands in a file's first box name (ISO/IEC 14496-12); videos have other brands."""
    brands = {box[8:12], *(box[start : start + 4] for start in range(16, len(box), 4))}
    if brands & _AVIF_BRANDS:
        return "AVIF"
    return "HEIF" if brands & _HEIF_BRANDS else None


def has_image_suffix(name: str) -> bool:
    """Return whether a file's name ends like an image's; its bytes may say otherwise."""
    return name.lower().endswith(_IMAGE_SUFFIXES)


def is_image(name: str, header: bytes) -> bool:
    """Return whether a file is an image by its name or its first `HEADER_BYTES`.

    The raw files of cameras (NEF, CR2, DNG, ...) begin like TIFFs, so a TIFF must be named like an image or have no
    suffix: the photo itself is mostly stored as a JPEG next to its raw file.
    """
    if has_image_suffix(name):
        return True
    kind = find_image_type(header)
    return kind is not None and (kind != "TIFF" or "." not in name)


def find_missing_decoders() -> dict[str, str]:
    """Return type -> what it needs, for each type that cannot be decoded with the installed packages."""
    missing = {}
    if pillow_heif is None:
        missing["HEIF"] = "pillow-heif: pip install pillow-heif"
    with warnings.catch_warnings(action="ignore"):  # Pillow before 11.3 has no feature of this name, and warns
        if not features.check("avif"):
            missing["AVIF"] = "Pillow 11.3 or newer: pip install --upgrade pillow"
    return missing


def explain_missing_decoder(kind: str) -> str | None:
    """Return why no image of a type can be decoded; None if it can."""
    needs = MISSING_DECODERS.get(kind)
    return f"{_NAMES[kind]} needs {needs}" if needs else None


def describe_missing_decoders(reasons: Iterable[str]) -> list[str]:
    """Return a line for each decoder that is missing: how many images need it, and what to install.

    Args:
        reasons: why images are unreadable; some may be those of `explain_missing_decoder`.
    """
    counts = collections.Counter(reasons)
    lines = []
    for kind, needs in MISSING_DECODERS.items():
        if count := counts[f"{_NAMES[kind]} needs {needs}"]:
            lines.append(f"{format_count(count, f'{_NAMES[kind]} image')} {agree(count, 'needs', 'need')} {needs}")
    return lines


MISSING_DECODERS = find_missing_decoders()
if pillow_heif is not None:
    # An embedded thumbnail may show the photo before it was edited. All cores are busy with other images already.
    pillow_heif.register_heif_opener(thumbnails=False, decode_threads=1)
