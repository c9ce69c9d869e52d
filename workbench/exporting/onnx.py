"""ONNX, the format of ONNX Runtime and of many other programs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from workbench.exporting.format import Format, Predict

OPSET = 18
IMAGE, LOGITS = "image", "logits"  # names of the input and the output


def write_float32(model: keras.Model, path: Path, _: np.ndarray) -> None:
    """Convert a frozen graph.

    Keras' own ONNX export cannot be used: it makes inputs of the constants of the normalization, and has no Erfc, so
    that no network with GELU can be converted.
    """
    import tf2onnx  # may be missing; the command has looked for it

    image = tf.TensorSpec(model.inputs[0].shape, tf.uint8, name=IMAGE)
    frozen = convert_variables_to_constants_v2(tf.function(model).get_concrete_function(image))
    (images,), (logits,) = frozen.inputs, frozen.outputs
    tf2onnx.convert.from_graph_def(
        frozen.graph.as_graph_def(),
        input_names=[images.name],
        output_names=[logits.name],
        tensors_to_rename={images.name: IMAGE, logits.name: LOGITS},
        custom_op_handlers={"Erfc": (_convert_erfc, [])},
        opset=OPSET,
        output_path=str(path),
    )


def write_float16(model: keras.Model, path: Path, images: np.ndarray) -> None:
    """Convert weights and arithmetic to float16; the logits are float32."""
    import onnx  # may be missing, like the next one
    from onnxruntime.transformers.float16 import convert_float_to_float16

    write_float32(model, path, images)
    onnx.save(convert_float_to_float16(onnx.load(path), keep_io_types=True), path)


def write_int8(model: keras.Model, path: Path, images: np.ndarray) -> None:
    """Convert weights and arithmetic to int8, each channel of a convolution with a scale of its own.

    Batch norms are folded into the convolutions before: with a range of their own they would lose most of the accuracy.
    Weights use 7 of the 8 bits, because sums overflow on processors that multiply 8-bit numbers without VNNI.
    """
    from onnxruntime import quantization  # may be missing, like the next one
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Calibration(quantization.CalibrationDataReader):
        """Gives one image after the other."""

        def __init__(self) -> None:
            self._images: Iterator[np.ndarray] = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self._images, None)
            return None if image is None else {IMAGE: image[None]}

    exact, folded = path.with_name("float32.onnx"), path.with_name("folded.onnx")
    write_float32(model, exact, images)
    quant_pre_process(exact, folded, skip_symbolic_shape=True)
    quantization.quantize_static(folded, path, Calibration(), per_channel=True, reduce_range=True)


def load_onnx(path: Path) -> Predict:
    """Return a function that runs an ONNX model in ONNX Runtime."""
    import onnxruntime  # may be missing; the command has looked for it

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda images: session.run([LOGITS], {IMAGE: images})[0]


def _convert_erfc(graph: Any, node: Any, name: str, _: Any) -> None:
    """Replace Erfc, a part of GELU, by 1 - Erf: ONNX has only Erf. The arguments are those of tf2onnx."""
    erf = graph.make_node("Erf", node.input, shapes=node.output_shapes, dtypes=node.output_dtypes)
    one = graph.make_const(f"{name}/one", np.ones((), np.float32))
    graph.remove_node(name)
    graph.make_node("Sub", [one.output[0], erf.output[0]], outputs=node.output, name=name)


ONNX = Format(
    "model.onnx",
    {"float32": write_float32, "float16": write_float16, "int8": write_int8},
    load_onnx,
    {"tf2onnx": "tf2onnx", "onnxruntime": "onnxruntime"},
)
