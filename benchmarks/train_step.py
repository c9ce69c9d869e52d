"""Compare a training step with plain Keras, with PyTorch, and with what the convolutions alone allow: images a second.

    python -m benchmarks.train_step [relu gelu silu mish small] [--float32] [--python PYTHON] [--peer FILE]

The first four cases are 224 px, 64 filters in each block, by activation; `small` is 128 px, 32 filters doubling, ReLU.
All have batch norm, filters of 3x3 and batches of 32. FILE defines the same network for PyTorch as
`network(options, num_classes)`, by default benchmarks/peers/torch_baseline.py. PyTorch runs in a process of its own, by
the interpreter PYTHON, which needs benchmarks/peers/requirements.txt; if it has no PyTorch, that side is left out.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.runtime import load_tensorflow

load_tensorflow()  # quietly, before an import below does it

import keras
import tensorflow as tf

from benchmarks.trainings import run_torch
from cnn_scratch.config import NetworkConfig, list_block_filter_sizes, list_block_filters
from cnn_scratch.fast_model import build_fast_model
from cnn_scratch.model import build_cnn
from workbench.config import TrainingConfig
from workbench.training.optimizer import compile_model

BATCH, CLASSES, ROUNDS = 32, 12, 4
PEERS = Path(__file__).parent / "peers"

Step = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """A network and the side of its images in pixels."""

    network: NetworkConfig
    image_size: int


CASES = {name: Case(NetworkConfig(num_filters=64, activation=name), 224) for name in ("relu", "gelu", "silu", "mish")}
CASES["small"] = Case(NetworkConfig(num_filters=32, filter_org="double"), 128)


def measure(name: str, options: argparse.Namespace) -> None:
    """Measure a case and print its table."""
    case = CASES[name]
    formats = (tf.float32,) if options.float32 else (tf.float32, tf.bfloat16)
    steps: dict[str, Step] = {f"convolutions {dtype.name}": build_convolution_step(case, dtype) for dtype in formats}
    steps["plain Keras float32"] = build_keras_step(case, None)
    steps |= {f"ours {dtype.name}": build_keras_step(case, dtype.name) for dtype in formats}
    rates = {**measure_rates(steps), **measure_torch_rates(case, options)}
    ours = max(rate for label, rate in rates.items() if label.startswith("ours"))
    print(f"\n{name}: {case.image_size} px, {case.network.num_filters} filters {case.network.filter_org}")
    for label, rate in rates.items():
        print(f"  {label:32s}{rate:8.1f} images/s   ours is {ours / rate:5.2f}x", flush=True)


def measure_rates(steps: dict[str, Step]) -> dict[str, float]:
    """Return the images a second of each step's fastest call after the first, which compiles; the steps take turns."""
    seconds: dict[str, list[float]] = {label: [] for label in steps}
    for _ in range(1 + ROUNDS):
        for label, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[label].append(time.perf_counter() - start)
    return {label: BATCH / min(times[1:]) for label, times in seconds.items()}


def build_keras_step(case: Case, precision: str | None) -> Step:
    """Return a step of our network in a precision, or of the plain Keras network if `precision` is None."""
    model = build_cnn(case.network, case.image_size, CLASSES)
    if precision:
        model = build_fast_model(model, precision)
        compile_model(model, TrainingConfig())
    else:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"], jit_compile=False)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (BATCH, case.image_size, case.image_size, 3), np.uint8)
    labels = rng.integers(0, CLASSES, BATCH)
    return lambda: model.train_on_batch(images, labels)


def build_convolution_step(case: Case, dtype: tf.DType) -> Step:
    """Return a step of the five convolutions alone, by TensorFlow's own operations, forwards and backwards."""
    sides = [case.image_size // 2**block for block in range(5)]
    channels = [3, *list_block_filters(case.network)]
    maps = [_draw((BATCH, side, side, count), dtype) for side, count in zip(sides, channels, strict=False)]
    upstream = [_draw((BATCH, side, side, count), dtype) for side, count in zip(sides, channels[1:], strict=True)]
    sizes = zip(list_block_filter_sizes(case.network), channels, channels[1:], strict=False)
    kernels = [_draw((size, size, *in_and_out), dtype) for size, *in_and_out in sizes]

    @tf.function(autograph=False)
    def step() -> list[tf.Tensor]:
        results = []
        for block, (x, kernel, gradient) in enumerate(zip(maps, kernels, upstream, strict=True)):
            with tf.GradientTape() as tape:
                tape.watch([x, kernel])
                y = tf.nn.conv2d(x, kernel, 1, "SAME")
            sources = [x, kernel] if block else [kernel]  # the images need no gradient
            results += [y, *tape.gradient(y, sources, gradient)]
        return [tf.reshape(result, [-1])[0] for result in results]

    return step


def _draw(shape: tuple[int, ...], dtype: tf.DType) -> tf.Tensor:
    return tf.cast(tf.random.normal(shape), dtype)


def measure_torch_rates(case: Case, options: argparse.Namespace) -> dict[str, float]:
    """Return the images a second of PyTorch's settings; nothing if the interpreter has no PyTorch."""
    settings: dict[str, str | int | float] = {
        "size": case.image_size,
        "filters": case.network.num_filters,
        "filter-org": case.network.filter_org,
        "activation": case.network.activation,
        "kernel": list_block_filter_sizes(case.network)[0],
        "dropout": case.network.dropout,
        "recipe": "fixed",
        "batch": BATCH,
        "classes": CLASSES,
        "rounds": ROUNDS,
    }
    words = [f"--{name}={value}" for name, value in settings.items()] + ["--float32"] * options.float32
    return run_torch(options.python, PEERS / "torch_train_step.py", options.peer, *words)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; all by default")
    parser.add_argument("--float32", action="store_true", help="leave bfloat16 out, where the processor has none")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has PyTorch")
    parser.add_argument("--peer", default=str(PEERS / "torch_baseline.py"), help="file with the PyTorch network")
    options = parser.parse_args()
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"unknown case {', '.join(sorted(unknown))}; expected {', '.join(CASES)}")
    for name in options.cases or CASES:
        measure(name, options)


if __name__ == "__main__":
    main()
