"""Which files are images, by their first bytes and their names, and what is said where a decoder is missing."""

import pytest

from workbench.data import image_formats
from workbench.data.image_formats import (
    describe_missing_decoders,
    explain_missing_decoder,
    find_image_type,
    find_missing_decoders,
    has_image_suffix,
    is_image,
)


def brands(major, *compatible):
    box = b"ftyp" + major + b"\0\0\0\0" + b"".join(compatible)
    return (len(box) + 4).to_bytes(4, "big") + box + b"\0\0\0\x20metaheic"


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        (b"\xff\xd8\xff\xe0" + b"\0" * 8, "JPEG"),
        (b"RIFF\0\0\0\0WAVE", None),
        (b"", None),
        (b"<svg xmlns=", None),
        (b"II*\0\x08\0\0\0", "TIFF"),
        (b"MM\0*\0\0\0\x08", "TIFF"),
        (b"II+\0\x08\0\0\0", "TIFF"),
        (brands(b"heic", b"mif1", b"heic"), "HEIF"),
        (brands(b"mif1", b"mif1", b"heic"), "HEIF"),
        (brands(b"avif", b"mif1", b"miaf"), "AVIF"),
        (brands(b"mif1", b"miaf", b"avif"), "AVIF"),
        (brands(b"qt  ", b"qt  "), None),  # the video of a Live Photo
        (brands(b"isom", b"mp41"), None),
        (b"\0\0\0\x10ftyp", None),
    ],
)
def test_type_is_found_from_the_bytes(header, kind):
    assert find_image_type(header) == kind


def test_names_with_an_image_suffix():
    assert all(map(has_image_suffix, ("A.JPG", "scan.tiff", "IMG_0001.HEIC", "x.avif", "x.hif")))
    assert not has_image_suffix(".DS_Store")
    assert not has_image_suffix("notes.txt")


@pytest.mark.parametrize(("name", "expected"), [("a.tif", True), ("a", True), ("a.NEF", False), ("a.dng", False)])
def test_raw_files_of_cameras_are_no_images_though_they_begin_like_tiffs(name, expected):
    assert is_image(name, b"II*\0\x08\0\0\0") == expected


def test_a_jpeg_is_an_image_whatever_its_name():
    assert is_image("a.orig", b"\xff\xd8\xff\xe0" + b"\0" * 8)
    assert not is_image("a.txt", b"hello")


def test_a_missing_decoder_is_named_with_the_number_of_images_and_the_command(monkeypatch):
    monkeypatch.setattr(image_formats, "pillow_heif", None)
    monkeypatch.setattr(image_formats.features, "check", lambda name: False)
    missing = find_missing_decoders()
    for kind, needs in missing.items():
        monkeypatch.setitem(image_formats.MISSING_DECODERS, kind, needs)
    reasons = [explain_missing_decoder(kind) for kind in ("HEIF", "AVIF", "HEIF")]
    assert reasons[0] == "HEIC needs pillow-heif: pip install pillow-heif"
    assert describe_missing_decoders(["the file is empty", *reasons]) == [
        "2 HEIC images need pillow-heif: pip install pillow-heif",
        "1 AVIF image needs Pillow 11.3 or newer: pip install --upgrade pillow",
    ]
    assert explain_missing_decoder("JPEG") is None


def test_the_tests_are_run_with_all_decoders():
    assert find_missing_decoders() == {}
