"""Decoding: every format and colour mode becomes upright uint8 RGB, and damage is reported."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from workbench.data.decoding import (
    MAX_PIXELS,
    UnreadableImage,
    decode,
    read_dimensions,
)
from workbench.data.image_formats import HEADER_BYTES, find_image_type

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encoded(image, kind, **options):
    if kind == "TIFF" and "exif" in options:  # which are tags of its own
        exif = Image.Exif()
        exif.load(options.pop("exif"))
        options["tiffinfo"] = dict(exif)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def halves(left=RED, right=BLUE, width=40, height=20, mode="RGB"):
    """An image whose left half has one colour and whose right half another."""
    image = Image.new("RGB", (width, height), left)
    image.paste(right, (width // 2, 0, width, height))
    return image.convert(mode)


def assert_halves(pixels, left, right, tolerance=12):
    assert pixels.dtype == np.uint8
    size = pixels.shape[0]
    assert pixels.shape == (size, size, 3)
    np.testing.assert_allclose(pixels[:, : size // 3].mean((0, 1)), left, atol=tolerance)
    np.testing.assert_allclose(pixels[:, -size // 3 :].mean((0, 1)), right, atol=tolerance)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("JPEG", {"quality": 95, "progressive": True}),
        ("PNG", {}),
        ("GIF", {}),
        ("BMP", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "jpeg"}),
        ("AVIF", {"quality": 95}),
        ("HEIF", {"quality": 95}),
    ],
)
def test_every_format(kind, options):
    data = encoded(halves(), kind, **options)
    assert find_image_type(data[:HEADER_BYTES]) == kind
    assert_halves(decode(data, 10, "stretch"), RED, BLUE)


@pytest.mark.parametrize("mode", ["L", "LA", "1", "P", "RGBA", "I;16"])
def test_colour_modes_of_png(mode):
    image = halves((0, 0, 0), WHITE)
    if mode == "I;16":
        image = Image.fromarray((np.asarray(image.convert("L")).astype(np.uint16)) * 257)
        assert image.mode == "I;16"
    else:
        image = image.convert("L").convert(mode) if mode in ("LA", "1") else image.convert(mode)
    assert_halves(decode(encoded(image, "PNG"), 10, "stretch"), (0, 0, 0), WHITE)


def test_sixteen_bit_grey_keeps_its_shades():
    ramp = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    pixels = decode(encoded(Image.fromarray(ramp), "PNG"), 16, "stretch")
    np.testing.assert_allclose(pixels[..., 0], np.arange(256).reshape(16, 16), atol=1)
    assert (pixels[..., 0] == pixels[..., 2]).all()


def test_sixteen_bit_colour_png():
    row = b"\0" + struct.pack(">3H", 65535, 0, 0) * 2 + struct.pack(">3H", 0, 0, 65535) * 2
    data = png(4, 4, 16, 2, row * 4)
    assert_halves(decode(data, 4, "stretch"), RED, BLUE)


def test_cmyk():
    assert_halves(decode(encoded(halves(mode="CMYK"), "JPEG", quality=95), 10, "stretch"), RED, BLUE, tolerance=20)


def test_grey_jpeg():
    assert_halves(
        decode(encoded(halves((30,) * 3, (220,) * 3).convert("L"), "JPEG"), 10, "stretch"), (30,) * 3, (220,) * 3
    )


def test_transparent_pixels_become_white():
    image = halves(mode="RGBA")
    image.putalpha(Image.fromarray(np.repeat([[255] * 20 + [0] * 20], 20, 0).astype(np.uint8)))
    for kind in ("PNG", "WEBP", "TIFF", "AVIF", "HEIF"):
        assert_halves(decode(encoded(image, kind, lossless=True), 10, "stretch"), RED, WHITE)
    palette = halves().convert("P")
    transparent = palette.getpixel((39, 0))
    for kind in ("PNG", "GIF"):
        assert_halves(decode(encoded(palette, kind, transparency=transparent), 10, "stretch"), RED, WHITE)


def test_first_frame_of_an_animation():
    frames = [Image.new("RGB", (20, 20), colour) for colour in (GREEN, RED, BLUE)]
    for kind, options in (("GIF", {}), ("WEBP", {"lossless": True})):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert_halves(decode(data, 10, "stretch"), GREEN, GREEN)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_exif_orientation(kind, orientation):
    upright = halves(RED, BLUE, 64, 64)
    upright.paste(GREEN, (0, 48, 64, 64))
    as_stored = {
        1: (),
        2: (Image.Transpose.FLIP_LEFT_RIGHT,),
        3: (Image.Transpose.ROTATE_180,),
        4: (Image.Transpose.FLIP_TOP_BOTTOM,),
        5: (Image.Transpose.TRANSPOSE,),
        6: (Image.Transpose.ROTATE_90,),
        7: (Image.Transpose.TRANSVERSE,),
        8: (Image.Transpose.ROTATE_270,),
    }
    stored = upright
    for step in as_stored[orientation]:
        stored = stored.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = decode(encoded(stored, kind, exif=exif.tobytes(), quality=95), 16, "stretch")
    np.testing.assert_allclose(pixels[2, 2], RED, atol=20)
    np.testing.assert_allclose(pixels[2, 13], BLUE, atol=20)
    np.testing.assert_allclose(pixels[14, 8], GREEN, atol=20)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_dimensions_are_those_of_the_upright_image(kind):
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        shape = read_dimensions(encoded(halves(width=40, height=20), kind, exif=exif.tobytes()))
        assert shape == ((40, 20) if orientation < 5 else (20, 40))
    assert read_dimensions(np.zeros((8, 9), np.uint8)) == (9, 8)
    with pytest.raises(UnreadableImage):
        read_dimensions(b"")


def test_an_image_with_damaged_exif_is_decoded():
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x011A] = 6, "a flower", 72.5
    whole = np.frombuffer(exif.tobytes(), np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = whole.copy()
        damaged[rng.integers(6, len(whole), 2)] = rng.integers(0, 256, 2)
        data = encoded(halves(), "JPEG", quality=95, exif=damaged.tobytes())
        assert decode(data, 10, "stretch").shape == (10, 10, 3)


def test_crop_keeps_proportions_and_the_centre():
    image = Image.new("RGB", (90, 30), GREEN)
    image.paste(RED, (0, 0, 30, 30))
    image.paste(BLUE, (60, 0, 90, 30))
    assert_halves(decode(encoded(image, "PNG"), 15, "crop"), GREEN, GREEN)
    assert_halves(decode(encoded(image, "PNG"), 15, "stretch"), RED, BLUE)


def test_pad_keeps_proportions_and_the_whole_image():
    grey = (128,) * 3
    wide = decode(encoded(halves(width=40, height=20), "PNG"), 20, "pad")
    assert_halves(wide[5:15, 5:15], RED, BLUE)
    for bars in (wide[:5], wide[15:]):
        assert (bars == grey).all()
    tall = decode(encoded(halves(width=20, height=40), "PNG"), 20, "pad")
    assert (tall[:, :5] == grey).all()
    assert (tall[:, 15:] == grey).all()
    np.testing.assert_allclose(tall[10, 5:9], [RED] * 4, atol=12)
    small = decode(encoded(halves(width=8, height=8), "PNG"), 20, "pad")
    assert_halves(small, RED, BLUE)


def test_pad_turns_the_image_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = decode(encoded(halves(width=40, height=20), "JPEG", exif=exif.tobytes(), quality=95), 20, "pad")
    assert (pixels[:, :4] == 128).all()
    np.testing.assert_allclose(pixels[:8, 7:13].mean((0, 1)), RED, atol=20)
    np.testing.assert_allclose(pixels[12:, 7:13].mean((0, 1)), BLUE, atol=20)


def test_an_image_of_the_right_size_is_left_as_it_is():
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(pixels), "PNG"), 24, "crop"), pixels)


def test_large_jpeg_is_as_good_through_the_scaled_decoder():
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).resize((1600, 1200), Image.Resampling.BICUBIC)
    data = encoded(smooth, "JPEG", quality=95)
    full = Image.open(io.BytesIO(data)).convert("RGB").resize((64, 64), Image.Resampling.BILINEAR)
    assert np.abs(decode(data, 64, "stretch").astype(int) - np.asarray(full)).mean() < 1.5


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1)])
@pytest.mark.parametrize("resize", ["crop", "pad", "stretch"])
def test_one_pixel_wide(shape, resize):
    pixels = decode(encoded(Image.new("RGB", shape, RED), "PNG"), 12, resize)
    if resize == "pad" and shape != (1, 1):
        assert (pixels == RED).all(axis=2).sum() == 12
    else:
        assert_halves(pixels, RED, RED)


def test_arrays():
    grey = np.full((8, 8), 77, np.uint8)
    assert_halves(decode(grey, 32, "crop"), (77,) * 3, (77,) * 3)
    colour = np.full((8, 9, 3), RED, np.uint8)
    assert_halves(decode(colour, 8, "crop"), RED, RED)


def png(width, height, depth, colour_type, rows):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">2I5B", width, height, depth, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"hello, world, this is text", "not of a JPEG"),
        (b"II*\0" + b"\0" * 40, "header of the TIFF is damaged"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 40, "HEIF is damaged"),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + b"\0" * 40, "AVIF is damaged"),
        (png(100_000, 100_000, 8, 2, b"\0" * 100), "declares more than"),
        (png(0, 5, 8, 2, b"\0"), "PNG"),
        (b"\xff\xd8\xff", "JPEG is damaged"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", ""),
        (b"BM" + b"\0" * 60, "BMP"),
        (b"GIF89a", "GIF is damaged"),
    ],
)
def test_bad_bytes_are_unreadable(data, reason):
    with pytest.raises(UnreadableImage, match=reason) as error:
        decode(data, 32, "crop")
    assert "\n" not in str(error.value)
    assert "object at 0x" not in str(error.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_truncated_images_are_unreadable(kind):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = encoded(Image.fromarray(pixels), kind)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(UnreadableImage):
            decode(data[: int(share * len(data))], 32, "crop")


def test_declared_size_is_checked_before_decoding():
    side = int(MAX_PIXELS**0.5) + 1
    with pytest.raises(UnreadableImage, match="declares more than"):
        decode(png(side, side, 1, 0, b"\0" * 10), 32, "crop")
