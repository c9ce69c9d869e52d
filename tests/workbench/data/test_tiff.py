"""TIFFs: numbers of 8, 12 and 16 bits become 8 bits by their range, and other kinds are refused with a reason."""

import struct

import numpy as np
import pytest

from workbench.data.decoding import UnreadableImage, decode

RAMP = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=-1)


def tiff(pixels, order="<", *, planes=False, **tags):
    """Return an uncompressed TIFF of an array (height, width) or (height, width, channels), with these tags."""
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    values = {256: pixels.shape[1], 257: pixels.shape[0], 258: [8 * pixels.itemsize] * channels, 259: 1}
    values |= {262: 2 if channels == 3 else 1, 273: [8] * (channels if planes else 1), 277: channels}
    values |= {278: pixels.shape[0], 279: [pixels.nbytes // channels] * channels if planes else [pixels.nbytes]}
    values |= {284: 2 if planes else 1, 339: [kind] * channels} | {int(tag[1:]): value for tag, value in tags.items()}
    stored = (np.moveaxis(pixels, -1, 0) if planes else pixels).astype(pixels.dtype.newbyteorder(order)).tobytes()
    values[273] = [8 + place * len(stored) // len(values[273]) for place in range(len(values[273]))]
    start = 8 + len(stored) + 2 + 12 * len(values) + 4
    entries, more = b"", b""
    for tag, value in sorted(values.items()):
        numbers = value if isinstance(value, list) else [value]
        data = struct.pack(f"{order}{len(numbers)}I", *numbers)
        entries += struct.pack(f"{order}HHI", tag, 4, len(numbers))
        entries += data if len(data) == 4 else struct.pack(f"{order}I", start + len(more))
        more += data if len(data) > 4 else b""
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(stored))
    return header + stored + struct.pack(f"{order}H", len(values)) + entries + bytes(4) + more


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bits_are_scaled_by_their_range(order):
    grey = decode(tiff(RAMP, order), 16, "stretch")
    np.testing.assert_allclose(grey[..., 0], np.arange(256).reshape(16, 16), atol=1)
    assert (grey == grey[..., :1]).all()
    np.testing.assert_allclose(decode(tiff(COLOURS, order), 16, "stretch"), COLOURS // 257, atol=1)


@pytest.mark.parametrize("order", ["<", ">"])
def test_eight_bits_stay_as_they_are(order):
    pixels = (COLOURS // 257).astype(np.uint8)
    np.testing.assert_array_equal(decode(tiff(pixels, order), 16, "stretch"), pixels)
    np.testing.assert_array_equal(decode(tiff(pixels, order, planes=True), 16, "stretch"), pixels)
    np.testing.assert_array_equal(decode(tiff(pixels[..., 0], order), 16, "stretch")[..., 0], pixels[..., 0])


def test_twelve_bits_are_scaled_by_their_range():
    values = np.linspace(0, 4095, 256).round().astype(int).reshape(16, 16)
    first, second = values[:, ::2], values[:, 1::2]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1).astype(np.uint8)
    data = tiff(packed.reshape(16, 24), t256=16, t258=[12])
    np.testing.assert_allclose(decode(data, 16, "stretch")[..., 1], np.arange(256).reshape(16, 16), atol=1)


@pytest.mark.parametrize("bits", [8, 16])
def test_white_may_be_stored_as_zero(bits):
    pixels = RAMP if bits == 16 else (RAMP // 257).astype(np.uint8)
    np.testing.assert_allclose(
        decode(tiff(pixels, t262=0), 16, "stretch")[..., 0], 255 - np.arange(256).reshape(16, 16), atol=1
    )


@pytest.mark.parametrize("orientation", [3, 6])
def test_sixteen_bits_of_grey_are_turned_upright(orientation):
    turned = decode(tiff(RAMP, t274=orientation), 16, "stretch")[..., 0]
    turns = {3: 2, 6: 3}[orientation]
    np.testing.assert_allclose(turned, np.rot90(np.arange(256).reshape(16, 16), turns), atol=1)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (
            tiff(RAMP.astype(np.float32)),
            "it holds floating-point numbers of 32 bits; save it as unsigned numbers of 8 or 16 bits",
        ),
        (tiff(RAMP.astype(np.float64)), "of a kind that is not read"),
        (tiff(COLOURS.astype(np.float32)), "of a kind that is not read"),
        (
            tiff(RAMP.astype(np.int16)),
            "it holds signed numbers of 16 bits; save it as unsigned numbers of 8 or 16 bits",
        ),
        (tiff((RAMP // 257).astype(np.int8)), "signed numbers of 8 bits"),
        (tiff(RAMP.astype(np.uint32)), "it holds numbers of 32 bits; save it as unsigned numbers of 8 or 16 bits"),
        (tiff(RAMP.astype(np.int32)), "signed numbers of 32 bits"),
        (tiff(COLOURS, planes=True), "16-bit colours in separate planes"),
        (tiff(COLOURS)[:600], "TIFF"),
    ],
)
def test_other_numbers_are_refused(data, reason):
    with pytest.raises(UnreadableImage, match=reason) as error:
        decode(data, 16, "crop")
    assert "\n" not in str(error.value)
