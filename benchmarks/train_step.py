"""Images a second of one training step, beside plain Keras, PyTorch, and what the convolutions alone allow.

    python -m benchmarks.train_step [relu gelu silu mish small] [--peer FILE]

The first four are 224 px, 64 filters in each block, by activation; `small` is 128 px, 32 filters doubling, ReLU; all
with batch norm, filters of 3x3, batches of 32. FILE defines the same network for PyTorch, as `network(a, classes)`
with a's filters, filter_org, activation, kernel, dropout and recipe; without it that part is left out.
"""

import argparse
import dataclasses
import importlib.util
import time
from pathlib import Path

import numpy as np

from cnn_scratch.config import TrainConfig
from cnn_scratch.model import block_filter_sizes, block_filters, build_cnn
from workbench import cli
from workbench.config import build
from workbench.runtime import load_tensorflow

CASES = {
    name: build(TrainConfig, image_size=224, num_filters=64, activation=name)
    for name in ("relu", "gelu", "silu", "mish")
}
CASES["small"] = build(TrainConfig, image_size=128, num_filters=32, filter_org="double")
BATCH, CLASSES, ROUNDS = 32, 12, 4
PEER = Path(__file__).parents[2] / "shared" / "peers" / "torch_baseline.py"


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """Benchmark.

    Args:
        cases: Which of relu, gelu, silu, mish and small to measure; all by default.
        peer: Python file with the PyTorch network.
    """

    cases: list[str] = cli.positional([], optional=True)
    peer: str = str(PEER)


def main(argv=None):
    """Run the command line."""
    cli.main(measure, BenchmarkConfig, prog="python -m benchmarks.train_step", description=__doc__, argv=argv)


def measure(config):
    """Measure the cases and print a table for each."""
    load_tensorflow()
    for name in config.cases or CASES:
        case = CASES[name]
        steps = {f"convolutions {dtype}": convolution_step(case, dtype) for dtype in ("float32", "bfloat16")}
        steps["plain Keras float32"] = keras_step(case, None)
        steps.update({f"ours {precision}": keras_step(case, precision) for precision in ("float32", "bfloat16")})
        steps.update(torch_steps(case, config.peer))
        measured = rates(steps)
        ours = max(rate for label, rate in measured.items() if label.startswith("ours"))
        print(f"\n{name}: {case.image_size} px, {case.num_filters} filters {case.filter_org}, {case.activation}")
        for label, rate in measured.items():
            print(f"  {label:32s}{rate:8.1f} images/s   ours is {ours / rate:5.2f}x", flush=True)


def rates(steps):
    """Images a second of each step's fastest call, after one that compiles; the steps take turns."""
    seconds = {label: [] for label in steps}
    for _ in range(1 + ROUNDS):
        for label, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[label].append(time.perf_counter() - start)
    return {label: BATCH / min(times[1:]) for label, times in seconds.items()}


def images_and_labels(case):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (BATCH, case.image_size, case.image_size, 3), np.uint8), rng.integers(0, CLASSES, BATCH)


def keras_step(case, precision):
    """Of our network in a precision, or of plain Keras where that is None."""
    import keras

    from cnn_scratch.fast_model import build_fast_model
    from workbench.training.optimizer import compile_model

    model = build_cnn(case, case.image_size, CLASSES)
    if precision:
        model = build_fast_model(model, precision)
        compile_model(model, case)
    else:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(case.learning_rate), loss, metrics=["accuracy"], jit_compile=False)
    images, labels = images_and_labels(case)
    return lambda: model.train_on_batch(images, labels)


def convolution_step(case, dtype):
    """Of the five convolutions alone, forwards and backwards, each on random maps."""
    import tensorflow as tf

    sides = [case.image_size // 2**block for block in range(5)]
    channels = [3, *block_filters(case)]
    maps = [tf.cast(tf.random.normal((BATCH, s, s, c)), dtype) for s, c in zip(sides, channels, strict=False)]
    shapes = zip(block_filter_sizes(case), channels, channels[1:], strict=False)
    kernels = [tf.cast(tf.random.normal((size, size, *shape)), dtype) for size, *shape in shapes]
    upstream = [tf.cast(tf.random.normal((BATCH, s, s, c)), dtype) for s, c in zip(sides, channels[1:], strict=True)]

    @tf.function(autograph=False)
    def step():
        results = []
        for block, (x, kernel, gradient) in enumerate(zip(maps, kernels, upstream, strict=True)):
            with tf.GradientTape() as tape:
                tape.watch([x, kernel])
                y = tf.nn.conv2d(x, kernel, 1, "SAME")
            wanted = [x, kernel] if block else [kernel]
            results += [y, *tape.gradient(y, wanted, gradient)]
        return [tf.reshape(result, [-1])[0] for result in results]

    return step


def torch_steps(case, peer):
    """Of the PyTorch network: plain, channels-last, bfloat16, and both."""
    if not (Path(peer).is_file() and importlib.util.find_spec("torch")):
        print(f"PyTorch is left out: it is not installed, or there is no {peer}")
        return {}
    import torch

    spec = importlib.util.spec_from_file_location("peer", peer)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    names = argparse.Namespace(
        filters=case.num_filters,
        filter_org=case.filter_org,
        activation=case.activation,
        kernel=case.filter_size,
        dropout=case.dropout,
        recipe="fixed",
    )
    images, labels = images_and_labels(case)
    x, y = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 128 - 1, torch.from_numpy(labels)
    steps = {}
    for layout in (torch.contiguous_format, torch.channels_last):
        for reduced in (False, True):
            model = module.network(names, CLASSES)
            model(torch.zeros(2, 3, case.image_size, case.image_size))
            model, inputs = model.to(memory_format=layout), x.contiguous(memory_format=layout)
            label = "PyTorch" + " channels-last" * (layout == torch.channels_last) + " bfloat16" * reduced
            steps[label] = _torch_step(model, inputs, y, reduced)
    return steps


def _torch_step(model, x, y, reduced):
    import torch

    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=reduced):
            loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
