"""Classify photos on a page. It needs the files next to it, and the packages of requirements.txt; nothing else."""

import html
import json
from pathlib import Path

import gradio as gr
import keras
import numpy as np
from PIL import ExifTags, Image, ImageOps

FOLDER = Path(__file__).parent
SETTINGS = json.loads((FOLDER / "settings.json").read_text(encoding="utf-8"))  # what `write_page` writes
MODEL = keras.saving.load_model(FOLDER / "model.keras", compile=False)
SIZE = MODEL.input_shape[1]


def prepare(photo: Image.Image) -> np.ndarray:
    """Return a photo as the model was trained: upright uint8 RGB (size, size, 3), transparent pixels on white."""
    tags = getattr(photo, "tag_v2", {})  # of a TIFF
    photo = ImageOps.exif_transpose(photo)
    if photo.mode.startswith("I"):  # grey of 12 or 16 bits, of which `convert` would make nearly all white
        (bits,) = tags.get(ExifTags.Base.BitsPerSample, (16,))
        grey = (np.asarray(photo) // ((2**bits - 1) // 255)).astype(np.uint8)
        is_inverted = tags.get(ExifTags.Base.PhotometricInterpretation) == 0
        photo = Image.fromarray(255 - grey if is_inverted else grey)
    elif photo.mode in ("RGBA", "LA", "PA") or "transparency" in photo.info:
        photo = photo.convert("RGBA")
        white = Image.new("RGB", photo.size, "white")
        white.paste(photo, mask=photo.getchannel("A"))
        photo = white
    photo = photo.convert("RGB")
    side = (SIZE, SIZE)
    if SETTINGS["resize"] == "crop":
        photo = ImageOps.fit(photo, side, Image.Resampling.BILINEAR)
    elif SETTINGS["resize"] == "pad":
        photo = ImageOps.pad(photo, side, Image.Resampling.BILINEAR, color=tuple(SETTINGS["pad_colour"]))
    else:
        photo = photo.resize(side, Image.Resampling.BILINEAR)
    return np.asarray(photo)


def classify(photo: Image.Image | None) -> dict[str, float]:
    """Return class -> probability of a photo; nothing without one."""
    if photo is None:
        return {}
    logits = np.asarray(MODEL.predict_on_batch(prepare(photo)[None])[0], np.float64)
    exponents = np.exp(logits - logits.max())
    probabilities = exponents / exponents.sum()
    return {name: float(share) for name, share in zip(SETTINGS["classes"], probabilities, strict=True)}


UNKNOWN_BELOW = SETTINGS["unknown_below"]
PAGE = gr.Interface(
    classify,
    gr.Image(type="pil", image_mode=None, label="Photo"),
    gr.Label(num_top_classes=min(5, len(SETTINGS["classes"])), label="Class"),
    examples=[[str(path)] for path in sorted((FOLDER / "examples").glob("*.png"))],
    cache_examples=False,
    description=f"Below {UNKNOWN_BELOW:.1%}, call the photo unknown." if UNKNOWN_BELOW else None,
    title=html.escape(SETTINGS["name"]),
    flagging_mode="never",
)

if __name__ == "__main__":
    PAGE.launch()
