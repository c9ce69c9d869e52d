"""Compare a fine-tuning step with plain Keras and with PyTorch: images a second.

    python -m benchmarks.finetune_step [CASE ...] [--python PYTHON] [--batch 32] [--rounds 4] [--float32] [--one-core]

The cases train all layers of ResNet50 (`all`) or of MobileNetV2 (`mobilenet`), or ResNet50's stages behind its first
39, 81 or 143 layers. The weights are random, the batch norms frozen. Frozen layers are computed in each step, except in
the line `stored features`, which is how first_k trains by default. PyTorch (benchmarks/peers/torch_finetune.py) runs in
a process of its own by the interpreter PYTHON; if that has no PyTorch, its side is left out.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workbench.runtime import load_tensorflow

load_tensorflow(threads=int("--one-core" in sys.argv))  # quietly, before an import below does it

import keras

from benchmarks.trainings import run_torch
from transfer.backbone import Network, build_network
from transfer.config import TransferConfig
from transfer.defaults import resolve
from transfer.finetune import build_trained_part
from transfer.freezing import find_last_frozen, freeze
from transfer.optimizer import build_optimizer
from transfer.precision import build_in_precision
from workbench.config import build
from workbench.training.optimizer import compile_model
from workbench.training.training_model import TrainingModel

CLASSES = 12
PEER = Path(__file__).parent / "peers" / "torch_finetune.py"

Step = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """What is trained.

    Attributes:
        backbone: name of the network.
        k: its first k layers are frozen.
        frozen_stages: these layers in stages, as PyTorch's side counts them.
    """

    backbone: str
    k: int = 0
    frozen_stages: int = 0


CASES = {
    "all": Case("ResNet50"),
    "39": Case("ResNet50", 39, 2),
    "81": Case("ResNet50", 81, 3),
    "143": Case("ResNet50", 143, 4),
    "mobilenet": Case("MobileNetV2"),
}


def measure(name: str, options: argparse.Namespace) -> None:
    """Measure a case and print its table."""
    case = CASES[name]
    rates = {**measure_rates(build_steps(case, options), options), **measure_torch_rates(case, options)}
    ours = max(rate for label, rate in rates.items() if label.startswith("ours"))
    print(f"\n{case.backbone}, layers from {case.k} on are trained: {options.size} px, batches of {options.batch}")
    for label, rate in rates.items():
        print(f"  {label:32s}{rate:8.2f} images/s   ours is {ours / rate:5.2f}x", flush=True)


def build_steps(case: Case, options: argparse.Namespace) -> dict[str, Step]:
    """Return training steps of Keras' own layers, of our model in two number formats, and on stored features."""
    mode = {"mode": "first_k", "k": case.k} if case.k else {"mode": "all"}
    config = resolve(build(TransferConfig, backbone=case.backbone, weights="none", image_size=options.size, **mode))
    network = build_network(config.backbone, options.size, CLASSES, config.training.seed)
    freeze(network, config.freezing)
    images = np.random.default_rng(0).integers(0, 256, (options.batch, options.size, options.size, 3), np.uint8)
    whole = network.model
    steps = {
        "plain Keras float32": build_step(
            TrainingModel(whole.input, whole.output, saved_as=whole), network, config, images
        ),
        "ours float32": build_step(build_in_precision(whole, "float32"), network, config, images),
    }
    if not options.float32:
        steps["ours bfloat16"] = build_step(build_in_precision(whole, "bfloat16"), network, config, images)
    if (cut := find_last_frozen(network)) is not None:
        part = build_trained_part(network, cut)
        features = np.random.default_rng(0).random((options.batch, *part.input_shape[1:]), np.float32)
        steps["stored features float32"] = build_step(build_in_precision(part, "float32"), network, config, features)
    return steps


def build_step(model: keras.Model, network: Network, config: TransferConfig, inputs: np.ndarray) -> Step:
    """Return a function that trains a model on one batch."""
    compile_model(model, config.training, build_optimizer(network, config.training, model))
    labels = np.arange(len(inputs)) % CLASSES
    return lambda: model.train_on_batch(inputs, labels)


def measure_rates(steps: dict[str, Step], options: argparse.Namespace) -> dict[str, float]:
    """Return the images a second of each step's fastest call after the first, which compiles; the steps take turns."""
    clock = time.process_time if options.one_core else time.perf_counter
    seconds: dict[str, list[float]] = {label: [] for label in steps}
    for _ in range(1 + options.rounds):
        for label, step in steps.items():
            start = clock()
            step()
            seconds[label].append(clock() - start)
    return {label: options.batch / min(times[1:]) for label, times in seconds.items()}


def measure_torch_rates(case: Case, options: argparse.Namespace) -> dict[str, float]:
    """Return the images a second of PyTorch's settings; nothing if the interpreter has no PyTorch."""
    numbers = {"size": options.size, "batch": options.batch, "rounds": options.rounds, "classes": CLASSES}
    words = [case.backbone, f"--frozen-stages={case.frozen_stages}"]
    words += [f"--{name}={value}" for name, value in numbers.items()]
    words += ["--float32"] * options.float32 + ["--one-core"] * options.one_core
    return run_torch(options.python, PEER, *words)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}; all by default")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has PyTorch")
    parser.add_argument("--size", type=int, default=224, help="side of the images in pixels")
    parser.add_argument("--batch", type=int, default=32, help="images of a training step")
    parser.add_argument("--rounds", type=int, default=4, help="how often each step is measured")
    parser.add_argument("--float32", action="store_true", help="leave bfloat16 out, where the processor has none")
    parser.add_argument("--one-core", action="store_true", help="measure CPU time of one thread, on a busy machine")
    options = parser.parse_args()
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"unknown case {', '.join(sorted(unknown))}; expected {', '.join(CASES)}")
    for name in options.cases or CASES:
        measure(name, options)
        keras.backend.clear_session()  # frees the memory of the case's networks


if __name__ == "__main__":
    main()
